/** Brings the entries of a node to whom they are for: directly, else over a third node that reaches it or keeps them until it does. */
import { type Refusal, refuse } from '../../errors.ts';
import { envelopeText } from '../../p2p/entry.ts';
import type { RosterMember } from '../../protocol/p2p.ts';
import { type Envelope, mostEnvelopes, type PeerAck, type PeerPacket } from '../../protocol/p2p-peers.ts';
import { type NodeClock, wallClock } from '../clock.ts';
import { HubRefusal } from '../connection.ts';
import type { NodeKey } from '../key-file.ts';
import type { Link } from './link.ts';
import type { Links } from './links.ts';
import type { RosterKeeper } from './roster.ts';
import type { Own, P2pStore } from './store.ts';

export interface PostParts {
  readonly nodeId: string;
  readonly clock: NodeClock;
  readonly store: P2pStore;
  readonly roster: RosterKeeper;
  readonly links: Links;
  key(): Promise<NodeKey>;
  /** Whether this node says anything to others now. */
  active(): boolean;
}

/** Letters of one packet; a single larger entry goes by itself. */
const mostLetters = 384 * 1024;
/** Third nodes that are tried for one recipient at a time. */
const mostRelays = 3;
/** Nodes that are dialled by this one, and to how many it wants to be connected without any need. */
const mostDialled = 64;
const company = 8;
/** How long entries of others are carried. */
const carriedMs = 3_600_000;
const mostCarriedAtOnce = 4;
/** After how long it is handed on again what a node that is there did not take. */
const againMs = 2_000;

export class Post {
  readonly #parts: PostParts;
  readonly #driving = new Set<string>();
  readonly #again = new Set<string>();
  /** By recipient and third node: up to where that one keeps entries for it. */
  readonly #kept = new Map<string, number>();
  /** To whom is handed on what others wrote, now or by and by. */
  readonly #handing = new Set<string>();

  constructor(parts: PostParts) {
    this.#parts = parts;
  }

  /** There may be something for a node; unsaid: for any. */
  kick(peer?: string): void {
    if (peer === undefined) for (const one of this.#recipients()) this.kick(one);
    else if (this.#driving.has(peer)) this.#again.add(peer);
    else void this.#drive(peer);
  }

  /** Now and then: what waits is tried again, and some company is looked for. */
  look(): void {
    const { links, roster, nodeId, store, clock, active } = this.#parts;
    if (!active()) return;
    store.carried.dropOld(wallClock() - carriedMs);
    this.kick();
    const others = [...roster.members()].filter(({ node_id, p2p_url }) => p2p_url !== undefined && node_id !== nodeId);
    const wanted = Math.min(company, others.length) - links.all().length;
    for (let at = 0; at < wanted && links.dialled < mostDialled; at++) {
      const one = others[Math.floor(clock.random() * others.length)];
      if (one) links.dial(one.node_id);
    }
  }

  /** There is a connection: what waits for the node goes over it, and what is carried for it. */
  linked(link: Link): void {
    void this.#meet(link).catch(() => {}); // what is for it waits, and what is carried is kept until the next connection
  }

  /** Everything is home, or goes into another chain: what others keep of this one counts no more. */
  forget(): void {
    this.#kept.clear();
  }

  /** Entries of a node for a third one. Refuses `not_found` for one that the roster does not name. */
  async carry(
    from: string,
    { to, chain, envelopes }: PeerPacket<'p2p:carry'>,
  ): Promise<Omit<PeerAck<'p2p:carry'>, 'ok'> | Refusal> {
    const { links, roster, store, nodeId, clock } = this.#parts;
    if (to === nodeId || to === from || !roster.member(to)) return refuse('not_found', `there is no third node ${to}`);
    if (envelopes.some(({ entry }) => entry.author !== from || entry.chain !== chain))
      return refuse('forbidden', 'only what a node wrote itself is carried for it');
    const link = links.get(to);
    if (link) {
      try {
        const { have } = await link.ask('p2p:deliver', { author: from, chain, envelopes });
        store.carried.delivered(to, from, chain, have);
        return { have };
      } catch {
        // it went just now: they are kept
      }
    }
    links.dial(to);
    const kept = store.carried.keep(to, chain, from, envelopes, wallClock());
    if (link?.alive) clock.after(againMs, () => void this.#handOn(link).catch(() => {})); // as above
    return { kept };
  }

  /** What it has of this node's chain it says itself: third nodes that said so are not believed for longer than that. */
  async #meet(link: Link): Promise<void> {
    const { store, nodeId } = this.#parts;
    if (store.lastFor(link.peer) > 0) {
      const { chain } = store;
      const { have } = await link.ask('p2p:deliver', { author: nodeId, chain, envelopes: [] });
      if (chain === store.chain) store.setHave(link.peer, have);
    }
    this.kick(link.peer);
    await this.#handOn(link);
  }

  /** Nodes that there is something for. */
  #recipients(): Set<string> {
    const { store, roster, nodeId } = this.#parts;
    const targets = store.targets();
    const all = targets.includes('*') ? [...roster.members()].map(({ node_id }) => node_id) : [];
    const waiting = [...new Set([...targets, ...all])].filter(
      (peer) => peer !== '*' && peer !== nodeId && store.lastFor(peer) > store.have(peer),
    );
    return new Set(waiting);
  }

  async #drive(peer: string): Promise<void> {
    this.#driving.add(peer);
    try {
      do {
        this.#again.delete(peer);
        while (await this.#step(peer));
      } while (this.#again.has(peer));
    } catch {
      // the connection went, or the node answers nothing: it is tried again by and by
    } finally {
      this.#driving.delete(peer);
    }
  }

  /** Sends the next entries. Answers whether there may be more to do at once. */
  async #step(peer: string): Promise<boolean> {
    const { store, roster, links, nodeId, active } = this.#parts;
    const member = roster.member(peer);
    const have = store.have(peer);
    if (!active() || !member || store.lastFor(peer) <= have) return false;
    const link = links.get(peer);
    if (!link) {
      if (links.dialled < mostDialled) links.dial(peer);
      return this.#stepOver(member, have);
    }
    const chain = store.chain;
    const envelopes = await this.#envelopes(member, have);
    const answer = await link.ask('p2p:deliver', { author: nodeId, chain, envelopes });
    if (chain !== store.chain || answer.have === have) return false; // it is home meanwhile; or it takes nothing more now
    store.setHave(peer, answer.have); // less than before when the node lost what it had
    return true;
  }

  /** By way of third nodes: one that reaches it takes them there; the others keep them. */
  async #stepOver(member: RosterMember, have: number): Promise<boolean> {
    const { links, store, clock } = this.#parts;
    const peer = member.node_id;
    const relays = links
      .all()
      .filter((link) => link.peer !== peer)
      .map((link) => ({ link, turn: clock.random() }))
      .sort((a, b) => a.turn - b.turn)
      .slice(0, mostRelays);
    for (const { link } of relays) {
      const name = `${peer} ${link.peer}`;
      const after = Math.max(have, this.#kept.get(name) ?? 0);
      const chain = store.chain;
      const envelopes = await this.#envelopes(member, after);
      const answer = await link.ask('p2p:carry', { to: peer, chain, envelopes }).catch(() => undefined);
      if (chain !== store.chain) return false;
      if (answer?.kept !== undefined) this.#kept.set(name, Math.max(after, answer.kept));
      if (answer?.have !== undefined && answer.have < after) this.#kept.set(name, answer.have);
      if (links.get(peer)) return true; // it is there now, and says itself what it has
      if (answer?.have === undefined || answer.have === have) continue;
      store.setHave(peer, answer.have);
      return true;
    }
    return false;
  }

  /** What is kept here for a node goes to it, a chain after another. */
  async #handOn(link: Link): Promise<void> {
    if (this.#handing.has(link.peer)) return;
    this.#handing.add(link.peer);
    try {
      for (const { author, chain } of this.#parts.store.carried.chainsFor(link.peer))
        await this.#handOnChain(link, author, chain).catch(unlessRefused);
    } finally {
      this.#handing.delete(link.peer);
    }
  }

  async #handOnChain(link: Link, author: string, chain: string): Promise<void> {
    const { carried } = this.#parts.store;
    for (;;) {
      const envelopes = carried.next(link.peer, author, chain, mostCarriedAtOnce);
      if (envelopes.length === 0) return;
      const { have } = await link.ask('p2p:deliver', { author, chain, envelopes });
      carried.delivered(link.peer, author, chain, have);
      if (have < envelopes.at(-1)!.entry.seq) return; // something before is missing: its author brings that
    }
  }

  async #envelopes(member: RosterMember, after: number): Promise<Envelope[]> {
    const key = await this.#parts.key();
    const envelopes: Envelope[] = [];
    let letters = 0;
    for (const { own, before } of this.#parts.store.pending(member.node_id, after, mostEnvelopes)) {
      const sealed = isOver(own) ? undefined : await sealedFor(member, own);
      letters += (sealed?.length ?? 0) + 1_024;
      if (letters > mostLetters && envelopes.length > 0) break;
      const { entry, signature, hash } = own;
      const text = envelopeText({ recipient: member.node_id, entry: hash, after: before, sealed });
      const envelope_signature = Buffer.from(await key.sign(Buffer.from(text))).toString('base64url');
      envelopes.push({ entry, signature, after: before, envelope_signature, ...(sealed !== undefined && { sealed }) });
    }
    return envelopes;
  }
}

/** Who will not have what one member wrote is given what others did. */
function unlessRefused(error: unknown): void {
  if (!(error instanceof HubRefusal)) throw error;
}

/** By the clock that it was written by, its time is over: then its place is told, and nothing of what it says. */
function isOver({ entry }: Own): boolean {
  return entry.kind === 'message' && Date.parse(entry.expires_at) <= wallClock();
}

async function sealedFor(member: RosterMember, { hash, content, salt }: Own): Promise<string | undefined> {
  if (content === null) return undefined;
  const { seal } = await import('../../p2p/seal.ts'); // most nodes have no use for it
  const { node_id: recipient, public_key: publicKey } = member;
  return seal(JSON.stringify({ salt, content }), { recipient, publicKey, entry: hash });
}
