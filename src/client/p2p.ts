/**
 * A node without its hub: when the hub was silent for a while, it talks to the members of the newest roster directly, keeps what it
 * says and hears in a signed chain, and hands that in when the hub is back.
 */
import { randomBytes } from 'node:crypto';
import { openEgress } from '../egress.ts';
import { isRefusal } from '../errors.ts';
import { checker } from '../input.ts';
import { contentHash, messageIdOf } from '../p2p/entry.ts';
import { mostReturnedBytes, type ReceiptEntry, type Returned } from '../protocol/p2p.ts';
import { type ClientPacket, clientPackets, type HubPacket } from '../protocol.ts';
import { isoNow, wallClock } from './clock.ts';
import { HubRefusal } from './connection.ts';
import type { NodeKey } from './key-file.ts';
import type { DirectMail } from './mail.ts';
import type { Detour, Sent } from './outbox.ts';
import { Chain } from './p2p/chain.ts';
import { Home } from './p2p/home.ts';
import { Inbox } from './p2p/inbox.ts';
import type { PeerHandlers } from './p2p/link.ts';
import { Links } from './p2p/links.ts';
import { type Listener, listen } from './p2p/listener.ts';
import { Post } from './p2p/post.ts';
import { RosterKeeper } from './p2p/roster.ts';
import { type Came, type Own, P2pStore } from './p2p/store.ts';
import type { Line } from './sender.ts';

/** How a node goes on without the hub. */
export interface P2pOptions {
  /** Where to listen for other nodes; 0: any free port. Without it this node dials others, and is reached by those it dialled. */
  readonly port?: number;
  /** Address to listen on. Default 127.0.0.1. */
  readonly host?: string;
  /** How others reach it, when not as `http://<host>:<port>`: through a proxy, or where `host` is no address of its own. */
  readonly url?: string;
  /** Addresses and networks that may be dialled though they are not public, such as `10.0.0.0/8`. */
  readonly allow?: readonly string[];
  /** Where roster and chain lie, so that they outlive the process. Without it they lie in memory, and what is not home is lost with it. */
  readonly folder?: string;
  /** How long the hub may be silent before others are dialled. Default 30 s. */
  readonly silentMs?: number;
  /** Whom this node talks to directly. Default: every member. */
  readonly with?: (nodeId: string) => boolean;
}

/** What a node says when it goes on without the hub, and when that is over. */
export interface FallbackChange {
  readonly active: boolean;
  /** `hub_silent`, `hub_back` or `roster_expired`. */
  readonly reason: 'hub_silent' | 'hub_back' | 'roster_expired';
  /** ISO 8601: until when the roster counts. */
  readonly expiresAt: string;
}

/** The hub did not take an entry of this node. */
export interface RefusedEntry {
  readonly messageId: string;
  readonly kind: 'message' | 'receipt' | 'read' | 'refusal';
  readonly code: string;
  readonly reason: string;
}

export interface P2pParts {
  readonly line: Pick<Line, 'nodeId' | 'clock' | 'ask' | 'trouble'>;
  key(): Promise<NodeKey>;
  /** Hands over a message; `handled` when it need not come again. */
  hand(message: HubPacket<'federation:message'>, handled: () => void): void;
  state(packet: HubPacket<'federation:message:state'>): void;
  knownFromHub(messageId: string): boolean;
  /** What waits for the hub may go another way now. */
  turned(): void;
  changed(change: FallbackChange): void;
  refused(entry: RefusedEntry): void;
}

const silentDefaultMs = 30_000;
const lookEveryMs = 1_000;
const dayMs = 86_400_000;
/** What the hub takes for a message that says nothing of its time. */
const keptMs = 7 * dayMs;
/** Nodes ask for a new roster within this, not all at once. */
const spreadMs = 1_000;
const rememberedRefusals = 10_000;

/** What is written into the chain is what the hub takes: one entry that it cannot read would keep all behind it from coming home. */
const asked = checker(clientPackets['federation:message'].packet);
type NewMessage = ClientPacket<'federation:message'>;

export class P2p implements Detour, DirectMail {
  readonly #options: P2pOptions;
  readonly #parts: P2pParts;
  #open: Opened | undefined;
  #active = false;
  /** The hub session is open. */
  #online = false;
  #closed = false;
  #cancelSilence: (() => void) | undefined;
  #cancelLook = () => {};
  #homing: Promise<void> | undefined;
  #owed = false;
  /** Of this node now; it may be changed in a session. */
  #publicKey = '';
  readonly #refused = new Set<string>();
  readonly #heardRefusals = new Set<string>();

  constructor(options: P2pOptions, parts: P2pParts) {
    this.#options = options;
    this.#parts = parts;
  }

  get active(): boolean {
    return this.#active;
  }

  /** Opens store and listener, once; answers the URL to be named in the profile. Rejects when it cannot. */
  async open(): Promise<string | undefined> {
    const { port, host = '127.0.0.1', url, allow = [], folder } = this.#options;
    const { line, key } = this.#parts;
    const { nodeId, clock, trouble } = line;
    const { agree, publicKey } = await key();
    this.#publicKey = publicKey;
    if (!agree) throw new TypeError('without the hub, content is sealed: the key of this node must `agree`');
    const store = await P2pStore.open(folder);
    const roster = new RosterKeeper(store, wallClock);
    await roster
      .open()
      .catch((error: Error) => trouble(new Error('the roster that was kept is of no use', { cause: error })));
    const chain = new Chain({ nodeId, store, roster, key });
    const links = new Links({
      nodeId,
      clock,
      roster,
      key,
      trouble,
      egress: openEgress(allow),
      talksTo: this.#options.with ?? (() => true),
      handlers: (peer) => this.#handlers(peer),
      linked: (link) => this.#open?.post.linked(link),
      renewed: () => this.#open?.post.kick(),
    });
    const post = new Post({ nodeId, clock, store, roster, links, key, active: () => this.#active });
    const inbox = new Inbox({
      nodeId,
      clock,
      store,
      roster,
      key,
      trouble,
      knownFromHub: (messageId) => this.#parts.knownFromHub(messageId),
      hand: (came) => this.#hand(came),
      refused: (entry) => this.#heardRefusal(entry),
    });
    const { ask } = line;
    const refused = (own: Own, result: Returned) => this.#tellRefused(own, result);
    const begunAnew = () => post.forget();
    const home = new Home({ clock, store, chain, ask, refused, begunAnew, trouble });
    const listener =
      port === undefined ? undefined : await listen({ port, host }, clock, (stranger) => links.welcome(stranger));
    this.#open = { store, roster, chain, links, post, inbox, home, listener };
    if (this.#closed) await this.#shut();
    for (const came of store.came('handled')) this.#owe(came);
    for (const came of store.came('open')) this.#hand(came);
    this.#waitForSilence();
    return url ?? (listener && `http://${host.includes(':') ? `[${host}]` : host}:${listener.port}`);
  }

  /** A session with the hub is open. */
  opened(): void {
    this.#online = true;
    this.#cancelSilence?.();
    this.#cancelSilence = undefined;
    this.#end('hub_back');
    this.#goHome();
  }

  /** There is no session with the hub. */
  dropped(): void {
    this.#online = false;
    this.#parts.key().then(
      ({ publicKey }) => {
        this.#publicKey = publicKey;
      },
      () => {}, // whoever needs it is told
    );
    this.#waitForSilence();
  }

  /** The hub has another roster. */
  renew(): void {
    const { clock } = this.#parts.line;
    clock.after(clock.random() * spreadMs, () => void this.#renew().catch((error: Error) => this.#lateTrouble(error)));
  }

  close(): void {
    this.#closed = true;
    this.#active = false;
    this.#cancelSilence?.();
    this.#cancelLook();
    void this.#shut();
  }

  // The outbox asks which way a message goes.

  takes({ to, persist }: NewMessage): boolean {
    const { valid } = this.#open?.roster ?? {};
    if (!this.#active || !valid || persist === false || !this.#isNamed()) return false;
    if ('everyone' in to) return true;
    return 'node' in to && to.node !== this.#parts.line.nodeId && this.#open!.roster.member(to.node) !== undefined; // it is valid
  }

  async send(packet: NewMessage): Promise<Sent> {
    const { to, content, key, ttl_seconds, correlation_id, reply_to } = packet;
    const { store, chain, post } = this.#open!; // `takes` said so
    const { nodeId } = this.#parts.line;
    const named = key!; // the outbox gives one
    const messageId = messageIdOf(nodeId, named);
    if (store.hasKey(named)) return { messageId };
    const sound = asked(packet);
    if (isRefusal(sound)) throw new HubRefusal(sound.refused, sound.detail);
    const text = JSON.stringify(content);
    if (Buffer.byteLength(JSON.stringify(text)) > mostReturnedBytes)
      throw new HubRefusal('payload_too_large', 'without the hub a message holds 256 KiB, its quotes counted twice');
    const salt = randomBytes(16).toString('base64url');
    const said = {
      kind: 'message' as const,
      to: 'everyone' in to ? { everyone: true as const } : { node: (to as { node: string }).node }, // `takes` lets no others pass
      key: named,
      content_hash: contentHash(salt, text),
      bytes: Buffer.byteLength(text),
      expires_at: isoNow(ttl_seconds === undefined ? keptMs : ttl_seconds * 1_000),
      ...(correlation_id !== undefined && { correlation_id }),
      ...(reply_to && { reply_to }),
    };
    const target = 'everyone' in said.to ? '*' : (said.to.node as string);
    await chain.append(said, { target, content: text, salt });
    if (this.#online) this.#goHome();
    else post.kick();
    return { messageId };
  }

  async settled({ to }: NewMessage, ms: number): Promise<void> {
    const target = 'everyone' in to ? '*' : 'node' in to ? to.node : undefined;
    if (!this.#homing || target === undefined || !this.#open?.home.holds(target)) return;
    let cancel = () => {};
    const late = new Promise<void>((resolve) => {
      cancel = this.#parts.line.clock.after(ms, resolve);
    });
    await Promise.race([this.#homing, late]);
    cancel();
  }

  // Mail asks what came directly.

  had(messageId: string): boolean {
    return this.#open?.store.had(messageId) === true;
  }

  heardRefusal(messageId: string): boolean {
    return this.#heardRefusals.has(messageId);
  }

  read(messageId: string): Promise<void> | undefined {
    return this.#say(messageId, 'read', undefined);
  }

  refuse(messageId: string, reason: string | undefined): Promise<void> | undefined {
    return this.#say(messageId, 'refusal', reason);
  }

  #say(messageId: string, kind: 'read' | 'refusal', reason: string | undefined): Promise<void> | undefined {
    const came = this.#open?.store.byMessage(messageId);
    if (!came) return undefined;
    if (kind === 'refusal') this.#refused.add(came.hash);
    return this.#append(came, kind, reason);
  }

  #hand(came: Came): void {
    const message = this.#open!.inbox.packetOf(came); // it is open by then
    this.#parts.hand(message, () => {
      if (this.#closed || this.#refused.delete(came.hash)) return;
      this.#open?.store.handled(came.hash);
      this.#owe(came);
    });
  }

  #owe(came: Came): void {
    this.#append(came, 'receipt', undefined).catch((error: Error) => this.#lateTrouble(error));
  }

  async #append({ entry, hash, messageId }: Came, kind: ReceiptEntry['kind'], reason: string | undefined) {
    const { chain, post } = this.#open!; // something came
    const of = { of: hash, from: entry.author, message_id: messageId };
    const said = { kind, ...of, ...(reason && { reason: reason.slice(0, 512) }) };
    await chain.append(said, { target: kind === 'refusal' ? entry.author : '' });
    if (kind === 'refusal') post.kick(entry.author);
    if (this.#online) this.#goHome();
  }

  /** Of a message that this node sent to who says it; what others say of it counts for nothing. */
  #heardRefusal({ message_id, author, reason, time, of }: ReceiptEntry): void {
    const own = this.#open?.store.written(of, author);
    if (own?.kind !== 'message' || messageIdOf(own.author, own.key) !== message_id) return;
    this.#heardRefusals.add(message_id);
    const [oldest] = this.#heardRefusals;
    if (this.#heardRefusals.size > rememberedRefusals && oldest !== undefined) this.#heardRefusals.delete(oldest);
    const said = { message_id, state: 'refused' as const, nodes: [author], others: 0, code: 'declined' };
    this.#parts.state({ position: 0, time, ...said, reason: reason ?? 'declined' }); // it has no place in the log yet
  }

  #tellRefused({ entry }: Own, { code = 'refused', reason = '' }: Returned): void {
    const messageId = entry.kind === 'message' ? messageIdOf(entry.author, entry.key) : entry.message_id;
    this.#parts.refused({ messageId, kind: entry.kind, code, reason });
  }

  #handlers(peer: string): PeerHandlers {
    const { inbox, post, roster } = this.#open!; // there is a connection
    return {
      'p2p:deliver': (packet) => inbox.take(peer, packet),
      'p2p:carry': (packet) => post.carry(peer, packet),
      'p2p:roster': ({ part }) => roster.part(part),
    };
  }

  #waitForSilence(): void {
    if (this.#closed || this.#active || this.#online || this.#cancelSilence || !this.#open) return;
    const ms = this.#options.silentMs ?? silentDefaultMs;
    this.#cancelSilence = this.#parts.line.clock.after(ms, () => {
      this.#cancelSilence = undefined;
      this.#begin();
    });
  }

  #begin(): void {
    const roster = this.#open?.roster.valid;
    if (this.#online || this.#closed) return;
    if (!roster || !this.#isNamed()) {
      this.#without(roster ? 'does not name this node with its key' : 'counts no more');
      return;
    }
    this.#active = true;
    this.#parts.changed({ active: true, reason: 'hub_silent', expiresAt: roster.expires_at });
    this.#parts.turned();
    this.#look();
  }

  /** A node that never met the hub has nothing to go by, and waits for it as ever. */
  #without(why: string): void {
    if (this.#open?.roster.newest) this.#parts.line.trouble(new Error(`the hub is silent, and the roster ${why}`));
  }

  /** Others take nothing from a node that the roster does not name so, and the hub would not have what it says either. */
  #isNamed(): boolean {
    return this.#open?.roster.member(this.#parts.line.nodeId)?.public_key === this.#publicKey;
  }

  #look(): void {
    if (!this.#active) return;
    const { roster, post, links } = this.#open!; // it began
    if (!roster.valid) {
      links.closeAll();
      this.#end('roster_expired');
      return;
    }
    links.review();
    post.look();
    this.#cancelLook = this.#parts.line.clock.after(lookEveryMs, () => this.#look());
  }

  #end(reason: 'hub_back' | 'roster_expired'): void {
    if (!this.#active) return;
    this.#active = false;
    this.#cancelLook();
    this.#parts.changed({ active: false, reason, expiresAt: this.#open?.roster.newest?.expires_at ?? '' });
  }

  /** One at a time; what is written meanwhile is brought by the next. */
  #goHome(): void {
    if (this.#homing) {
      this.#owed = true;
      return;
    }
    this.#owed = false;
    this.#homing = this.#bring().finally(() => {
      this.#homing = undefined;
      if (this.#owed && this.#online) this.#goHome();
    });
  }

  async #bring(): Promise<void> {
    await this.#renew().catch((error: Error) => this.#lateTrouble(error));
    const home = await this.#open?.home.bring(() => this.#online && !this.#closed);
    if (home) this.#open?.post.forget();
  }

  async #renew(): Promise<void> {
    const { roster, links } = this.#open ?? {};
    if (!roster || !links || !this.#online) return;
    const known = roster.newest?.roster_id;
    const {
      roster: document,
      keys,
      federation_id,
    } = await this.#parts.line.ask('federation:p2p:roster', known === undefined ? {} : { known }, 30_000);
    await roster.fromHub(document, keys, federation_id);
    links.review();
  }

  /** What a connection that went, or a hub that has no time, makes fail is no trouble: it is tried again. */
  #lateTrouble(error: Error): void {
    if (this.#online && !this.#closed) this.#parts.line.trouble(error);
  }

  async #shut(): Promise<void> {
    const { links, listener, chain, store } = this.#open ?? {};
    links?.close();
    await listener?.close();
    await chain?.inTurn(() => store?.close());
  }
}

interface Opened {
  readonly store: P2pStore;
  readonly roster: RosterKeeper;
  readonly chain: Chain;
  readonly links: Links;
  readonly post: Post;
  readonly inbox: Inbox;
  readonly home: Home;
  readonly listener: Listener | undefined;
}
