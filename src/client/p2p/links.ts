/** The connections of a node to others: dialled or accepted, each side proved to be a member of the newest roster that either has. */
import { randomBytes } from 'node:crypto';
import { io } from 'socket.io-client';
import type { Egress } from '../../egress.ts';
import { type Refusal, refuse } from '../../errors.ts';
import { type Handshake, handshakeText, isProved } from '../../p2p/handshake.ts';
import type { Roster } from '../../protocol/p2p.ts';
import { type PeerPacket, peerPacketBytes } from '../../protocol/p2p-peers.ts';
import type { NodeClock } from '../clock.ts';
import { HubUnreachable } from '../connection.ts';
import type { NodeKey } from '../key-file.ts';
import { answer, ask, Link, type PeerHandlers, type PeerSocket } from './link.ts';
import { peerPath, type Stranger } from './listener.ts';
import type { RosterKeeper } from './roster.ts';

export interface LinksParts {
  readonly nodeId: string;
  readonly clock: NodeClock;
  readonly roster: RosterKeeper;
  readonly egress: Pick<Egress, 'check' | 'agent'>;
  key(): Promise<NodeKey>;
  /** Whom this node talks to at all. */
  talksTo(nodeId: string): boolean;
  /** What a proved node may ask. */
  handlers(peer: string): PeerHandlers;
  /** There is a connection to a node that there was none to. */
  linked(link: Link): void;
  /** Another roster came from a node. */
  renewed(): void;
  trouble(error: Error): void;
}

const dialMs = 5_000;
/** How long a node that could not be dialled is left alone; doubled each time. */
const restMs = { first: 1_000, most: 60_000 };
const mostParts = 64;

export class Links {
  readonly #parts: LinksParts;
  readonly #links = new Map<string, Link>();
  readonly #dialling = new Set<string>();
  /** When a node may be dialled again, monotonic milliseconds, and after how long a wait. */
  readonly #rests = new Map<string, { readonly until: number; readonly ms: number }>();
  #closed = false;

  constructor(parts: LinksParts) {
    this.#parts = parts;
  }

  get(peer: string): Link | undefined {
    const link = this.#links.get(peer);
    return link?.alive ? link : undefined;
  }

  all(): Link[] {
    return [...this.#links.values()].filter(({ alive }) => alive);
  }

  /** Dialled now, or being so. */
  get dialled(): number {
    return this.#dialling.size + this.all().filter(({ dialer }) => dialer === this.#parts.nodeId).length;
  }

  /** Dials a member that listens, unless it was tried a moment ago. */
  dial(peer: string): void {
    const { clock, roster, talksTo } = this.#parts;
    const url = roster.member(peer)?.p2p_url;
    if (this.#closed || url === undefined || this.get(peer) || this.#dialling.has(peer) || !talksTo(peer)) return;
    const rest = this.#rests.get(peer);
    if (rest && clock.monotonicMs() < rest.until) return;
    this.#dialling.add(peer);
    this.#dial(peer, url)
      .then(() => this.#rests.delete(peer))
      .catch(() => {
        const ms = Math.min(restMs.most, rest ? 2 * rest.ms : restMs.first);
        this.#rests.set(peer, { ms, until: clock.monotonicMs() + ms * (0.5 + clock.random() / 2) });
      })
      .finally(() => this.#dialling.delete(peer));
  }

  /** A connection came in. */
  welcome({ socket, proved }: Stranger): void {
    const { clock, roster } = this.#parts;
    let shake: Handshake | undefined;
    let position = 0;
    let handlers: PeerHandlers = {
      'p2p:hello': async (hello) => {
        const mine = roster.valid;
        const refused = this.#whyNot(hello, mine);
        if (refused || !mine) return refused ?? refuse('not_ready', 'there is no roster to go by');
        if (shake) return refuse('conflict', 'say hello once');
        const listenerNonce = randomBytes(32).toString('base64url');
        shake = this.#shake(hello, mine.roster_id, listenerNonce);
        position = hello.roster_position;
        const signature = await this.#sign('listener', shake);
        const { roster_id, position: roster_position } = mine;
        return { nonce: listenerNonce, roster_id, roster_position, signature };
      },
      'p2p:prove': ({ signature }) => {
        const member = shake && roster.valid && roster.member(shake.dialer);
        if (!shake || !member || !isProved('dialer', shake, member.public_key, signature)) {
          clock.after(0, () => socket.disconnect(true));
          return refuse('signature_invalid', 'the proof is not good for what was said before');
        }
        proved();
        const peer = shake.dialer;
        handlers = this.#parts.handlers(peer);
        const about = { peer, publicKey: member.public_key, dialer: peer, rosterPosition: position };
        const link = new Link(socket, about);
        clock.after(0, () => this.#add(link)); // once it was answered
        return {};
      },
    };
    answer(socket, clock, () => handlers);
  }

  /** Lets go of whom the newest roster does not name with the key it proved, and of whom this node talks to no more. */
  review(): void {
    const { roster, talksTo } = this.#parts;
    for (const link of this.all()) if (!roster.valid || !this.#isMember(link) || !talksTo(link.peer)) link.close();
  }

  closeAll(): void {
    for (const link of this.all()) link.close();
    this.#links.clear();
    this.#rests.clear();
  }

  close(): void {
    this.#closed = true;
    this.closeAll();
  }

  async #dial(peer: string, url: string): Promise<void> {
    const { egress, clock, nodeId, roster } = this.#parts;
    const refused = egress.check(url);
    if (refused) throw new HubUnreachable(refused.detail);
    const { origin, pathname } = new URL(url);
    const socket = io(origin, {
      path: `${pathname.replace(/\/+$/, '')}${peerPath}`,
      transports: ['websocket'],
      reconnection: false,
      forceNew: true,
      timeout: dialMs,
      agent: await egress.agent(url),
      maxPayload: peerPacketBytes,
      perMessageDeflate: false,
    } as unknown as Parameters<typeof io>[1]); // handed on to `ws`, whatever the types say
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve);
        socket.once('connect_error', reject);
      });
      const mine = roster.valid;
      const member = roster.member(peer);
      if (!mine || !member || this.#closed) throw new HubUnreachable('there is no roster to go by');
      const dialerNonce = randomBytes(32).toString('base64url');
      const hello: PeerPacket<'p2p:hello'> = {
        version: 1,
        federation_id: mine.federation_id,
        node_id: nodeId,
        to: peer,
        nonce: dialerNonce,
        roster_id: mine.roster_id,
        roster_position: mine.position,
      };
      const said = await ask(socket as unknown as PeerSocket, 'p2p:hello', hello); // it has these members
      const shake = this.#shake(hello, said.roster_id, said.nonce);
      if (!isProved('listener', shake, member.public_key, said.signature))
        throw new HubUnreachable(`${peer} did not prove its key`);
      const handlers = this.#parts.handlers(peer);
      answer(socket as unknown as PeerSocket, clock, () => handlers); // as above
      await ask(socket as unknown as PeerSocket, 'p2p:prove', { signature: await this.#sign('dialer', shake) });
      const about = { peer, publicKey: member.public_key, dialer: nodeId, rosterPosition: said.roster_position };
      this.#add(new Link(socket as unknown as PeerSocket, about));
    } catch (error) {
      socket.disconnect();
      throw error;
    }
  }

  #add(link: Link): void {
    const { peer } = link;
    const older = this.get(peer);
    // Both dialled at once: the one of the lesser name stays. One who dials again has lost what it had.
    const superfluous = older !== undefined && older.dialer !== link.dialer && older.dialer < link.dialer;
    if (this.#closed || !link.alive || !this.#isMember(link) || superfluous) {
      link.close();
      return;
    }
    this.#links.set(peer, link);
    older?.close();
    link.onGone(() => {
      if (this.#links.get(peer) === link) this.#links.delete(peer);
    });
    this.#parts.linked(link);
    void this.#renew(link);
  }

  #isMember({ peer, publicKey }: Link): boolean {
    return this.#parts.roster.member(peer)?.public_key === publicKey;
  }

  /** Takes the roster of the other side when it is newer. */
  async #renew(link: Link): Promise<void> {
    const { roster, renewed, trouble } = this.#parts;
    if (link.rosterPosition <= (roster.newest?.position ?? 0)) return;
    try {
      let document = '';
      for (let part = 0, parts = 1; part < parts; part++) {
        const said = await link.ask('p2p:roster', { part });
        parts = Math.min(mostParts, said.parts);
        document += said.text;
      }
      await roster.fromPeer(document);
      this.review();
      renewed();
    } catch (error) {
      trouble(new Error(`the roster of ${link.peer} was not taken`, { cause: error }));
    }
  }

  #whyNot({ federation_id, node_id, to }: PeerPacket<'p2p:hello'>, mine: Roster | undefined): Refusal | undefined {
    const { nodeId, roster, talksTo } = this.#parts;
    if (!mine) return refuse('roster_expired', 'the roster here counts no more, and the hub makes the next');
    if (federation_id !== mine.federation_id || to !== nodeId) return refuse('not_found', 'this is another node');
    if (node_id === nodeId || !roster.member(node_id)) return refuse('not_in_roster', 'the roster does not name it');
    return talksTo(node_id) ? undefined : refuse('forbidden', 'this node does not talk to it');
  }

  #shake(hello: PeerPacket<'p2p:hello'>, listenerRoster: string, listenerNonce: string): Handshake {
    return {
      federationId: hello.federation_id,
      dialer: hello.node_id,
      listener: hello.to,
      dialerNonce: hello.nonce,
      listenerNonce,
      dialerRoster: hello.roster_id,
      listenerRoster,
    };
  }

  async #sign(as: 'dialer' | 'listener', shake: Handshake): Promise<string> {
    const key = await this.#parts.key();
    return Buffer.from(await key.sign(Buffer.from(handshakeText(as, shake)))).toString('base64url');
  }
}
