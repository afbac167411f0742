/**
 * One sync with a hub, from this side: compares the versions here with those that the hub offers, fetches what is lacking here, brings what
 * the hub lacks. It goes on over reconnects, at whichever replica, for each step says all that the hub needs to know.
 */
import type { SyncDirection, SyncScope } from '../events/knowledge.ts';
import { clockMs } from '../knowledge.ts';
import { BadFrame, Initiator, ItemSet } from '../negentropy.ts';
import type { Document } from '../protocol/knowledge.ts';
import type { Ack, ClientPacket, ClientPacketName, HubPacket } from '../protocol.ts';
import { HubRefusal, HubUnreachable } from './connection.ts';
import { flawOf } from './document-check.ts';
import { isPassing } from './retry.ts';
import type { Line } from './sender.ts';

type Awaitable<T> = T | Promise<T>;

/** A version, as far as it is compared. */
export interface SyncItem {
  readonly version: string;
  readonly clock: string;
}

/** A version that the other side did not take, and why. */
export type RefusedVersion = Ack<'federation:knowledge:push'>['refused'][number];

/** Whoever keeps versions, as a sync sees it: `KnowledgeStore`s have one, a program with a database of its own may bring another. */
export interface SyncSide {
  /**
   * The versions to compare: those that none replaces, that are in scope, and that the hub may know of. Their ids and fingerprints over them
   * are all that it is told of before it lacks one.
   */
  items(scope: SyncScope, direction: SyncDirection): Awaitable<Iterable<SyncItem> | AsyncIterable<SyncItem>>;
  /** Of versions that the hub has, those to fetch. */
  wanted(versions: readonly string[]): Awaitable<readonly string[]>;
  /** Keeps versions that came. The hub had them by `position` of its log, or got them while the sync went on. */
  take(documents: readonly Document[], position: number): Awaitable<void>;
  /** Of versions that the hub lacks, the documents to bring; the others are left out. */
  give(versions: readonly string[]): Awaitable<readonly Document[]>;
  /** The sync is through. `cursor`: where the next incremental one begins, when this one was about everything. */
  finished?(end: FinishedSync): Awaitable<void>;
  /** These memories are to go. Answers whether they went. */
  withdraw(
    memoryIds: readonly string[],
    cause: HubPacket<'federation:knowledge:withdraw'>['cause'],
  ): Awaitable<boolean>;
}

export interface FinishedSync {
  readonly direction: SyncDirection;
  readonly scope: SyncScope;
  /** Of what is in scope, all that the hub had by this position of its log was compared. */
  readonly cursor: number;
  /** The hub has what it took by this position. */
  readonly position: number;
  /** Versions that were compared and that the hub lacked; of these, those that it has now. */
  readonly lacked: readonly string[];
  readonly pushed: readonly string[];
}

export interface SyncOptions {
  /** Default `both`. */
  readonly direction?: SyncDirection;
  /** Default `{ mode: 'full' }`. */
  readonly scope?: SyncScope;
  /** Goes on with this sync, which was paused. */
  readonly syncId?: string;
  readonly onProgress?: (progress: SyncState) => void;
  /** When it aborts the sync is paused at the hub, and `sync` rejects with its reason. */
  readonly signal?: AbortSignal;
}

/** How far a sync is. */
export interface SyncState {
  readonly syncId: string;
  /** Versions that the hub offers. */
  readonly offered: number;
  /** Frames of fingerprints that were answered, and their bytes both ways. */
  readonly rounds: number;
  readonly frameBytes: number;
  readonly pulled: number;
  readonly toPull: number;
  readonly pushed: number;
  readonly toPush: number;
  readonly refused: readonly RefusedVersion[];
}

/** What a sync did. */
export type SyncResult = Omit<SyncState, 'toPull' | 'toPush'> & { readonly cursor: number };

const answerMs = 60_000;
const backoffFirstMs = 100;
const backoffMaxMs = 5_000;
/** One answer, one packet. */
const pullVersions = 256;
const pushDocuments = 64;
const pushBytes = 256 * 1024;
/** Below what a hub takes of members in one packet. */
const pushMembers = 8_000;
/** Versions that a hub may say it has: far beyond what one keeps. */
const mostVersions = 4_000_000;
const mostRefusedTold = 1_000;

/** Throws `HubRefusal`, `HubUnreachable` when the node was closed, and the reason of `signal`. */
export async function runSync(
  line: Pick<Line, 'ask' | 'clock'>,
  side: SyncSide,
  options: SyncOptions,
  closed: () => boolean,
): Promise<SyncResult> {
  const run = new Run(line, side, options, closed);
  try {
    return await run.through();
  } catch (error) {
    await run.leave(error);
    throw error;
  }
}

class Run {
  readonly #line: Pick<Line, 'ask' | 'clock'>;
  readonly #side: SyncSide;
  readonly #options: SyncOptions;
  readonly #closed: () => boolean;
  readonly #direction: SyncDirection;
  readonly #scope: SyncScope;
  #state: SyncState | undefined;
  #position = 0;

  constructor(line: Pick<Line, 'ask' | 'clock'>, side: SyncSide, options: SyncOptions, closed: () => boolean) {
    this.#line = line;
    this.#side = side;
    this.#options = options;
    this.#closed = closed;
    this.#direction = options.direction ?? 'both';
    this.#scope = options.scope ?? { mode: 'full' };
  }

  async through(): Promise<SyncResult> {
    const { syncId } = this.#options;
    const asked = { direction: this.#direction, scope: this.#scope, ...(syncId !== undefined && { sync_id: syncId }) };
    const { sync_id, offered, frame_bytes, position } = await this.#ask('federation:knowledge:sync', asked);
    const begun = { syncId: sync_id, offered, rounds: 0, frameBytes: 0, pulled: 0, toPull: 0, pushed: 0, toPush: 0 };
    this.#tell({ ...begun, refused: [] });
    this.#position = position;
    const { have, need } = await this.#compare(frame_bytes);
    if (this.#direction !== 'push') await this.#pull(need);
    const pushed = this.#direction === 'pull' ? [] : await this.#push(have);
    const end = await this.#ask('federation:knowledge:end', { sync_id, outcome: 'completed' });
    const about = { direction: this.#direction, scope: this.#scope, cursor: position };
    await this.#side.finished?.({ ...about, position: end.position, lacked: have, pushed });
    const { toPull: _, toPush: __, ...state } = this.#state!; // told above
    return { ...state, cursor: position };
  }

  /** Tells the hub that it goes on no more, as far as it can be told. */
  async leave(error: unknown): Promise<void> {
    const sync_id = this.#state?.syncId;
    if (sync_id === undefined || this.#closed()) return;
    const over = error instanceof HubRefusal && (error.code === 'sync_over' || error.code === 'not_found');
    if (over) return;
    const paused = this.#options.signal?.aborted;
    const said = error instanceof Error ? error.message : String(error);
    await (paused
      ? this.#line.ask('federation:knowledge:pause', { sync_id })
      : this.#line.ask('federation:knowledge:end', { sync_id, outcome: 'failed', error: said.slice(0, 512) })
    ).catch(() => {}); // a hub that cannot be told finds out by itself
  }

  /** Finds out in what the two sides differ. */
  async #compare(frameBytes: number): Promise<{ have: string[]; need: string[] }> {
    const entries: { timestamp: number; id: Uint8Array }[] = [];
    for await (const { version, clock } of await this.#side.items(this.#scope, this.#direction)) {
      entries.push({ timestamp: clockMs(clock), id: Buffer.from(version, 'hex') });
    }
    const initiator = new Initiator(ItemSet.of(entries), { frameBytes: Math.max(4_096, Math.min(frameBytes, 60_000)) });
    const have: string[] = [];
    const need: string[] = [];
    let frame: Uint8Array | undefined = initiator.first();
    while (frame) {
      const sent: Uint8Array = frame;
      const { frame: answer } = await this.#ask('federation:knowledge:reconcile', {
        sync_id: this.#state!.syncId, // told before
        frame: Buffer.from(sent), // sent as an attachment
      });
      const step = this.#next(initiator, answer);
      for (const id of step.have) have.push(hex(id));
      for (const id of step.need) need.push(hex(id));
      if (need.length > mostVersions) throw new HubUnreachable(`the hub says that it has ${need.length} versions`);
      frame = step.message;
      const { rounds, frameBytes: before } = this.#state!; // told before
      this.#tell({ rounds: rounds + 1, frameBytes: before + sent.length + answer.byteLength });
    }
    return { have, need };
  }

  #next(initiator: Initiator, answer: Uint8Array) {
    try {
      return initiator.next(new Uint8Array(answer));
    } catch (error) {
      if (error instanceof BadFrame) throw new HubUnreachable(`the hub's answer is no frame: ${error.message}`, error);
      throw error;
    }
  }

  async #pull(need: readonly string[]): Promise<void> {
    let waiting: string[] = [...(await this.#side.wanted(need))];
    this.#tell({ toPull: waiting.length });
    while (waiting.length > 0) {
      const versions = waiting.slice(0, pullVersions);
      const { documents, refused } = await this.#ask('federation:knowledge:pull', {
        sync_id: this.#state!.syncId, // told before
        versions,
      });
      if (documents.length > 0) await this.#side.take(documents, this.#position);
      const done = new Set([...documents, ...refused].map(({ version }) => version));
      const rest = versions.filter((version) => !done.has(version));
      if (rest.length === versions.length) throw new HubUnreachable('the hub gives nothing of what it has');
      waiting = [...rest, ...waiting.slice(versions.length)];
      this.#tell({ pulled: this.#state!.pulled + documents.length, toPull: waiting.length });
    }
  }

  async #push(have: readonly string[]): Promise<string[]> {
    const pushed: string[] = [];
    this.#tell({ toPush: have.length });
    for (let at = 0; at < have.length; at += pushDocuments) {
      const given = await this.#side.give(have.slice(at, at + pushDocuments));
      const { sound, flawed } = sifted(given);
      this.#tell({ refused: [...this.#state!.refused, ...flawed].slice(0, mostRefusedTold) });
      for (const documents of inPackets(sound)) {
        const { taken, refused } = await this.#ask('federation:knowledge:push', {
          sync_id: this.#state!.syncId, // told before
          documents,
        });
        for (const version of taken) pushed.push(version);
        const all = [...this.#state!.refused, ...refused];
        this.#tell({ pushed: pushed.length, refused: all.slice(0, mostRefusedTold) });
      }
      this.#tell({ toPush: Math.max(0, have.length - at - pushDocuments) });
    }
    return pushed;
  }

  /** Asks until the hub answers, over reconnects, for as long as nobody gives up. */
  async #ask<N extends ClientPacketName>(name: N, packet: ClientPacket<N>): Promise<Ack<N>> {
    const { clock } = this.#line;
    for (let tries = 0; ; tries++) {
      this.#options.signal?.throwIfAborted();
      try {
        return await this.#orAborted(this.#line.ask(name, packet, answerMs));
      } catch (error) {
        if (this.#options.signal?.aborted || this.#closed() || !isPassing(error)) throw error;
        const backoffMs = Math.min(backoffMaxMs, backoffFirstMs * 2 ** Math.min(tries, 16));
        const askedMs = error instanceof HubRefusal ? (error.retryAfterMs ?? 0) : 0;
        const waitMs = Math.max(askedMs, backoffMs) * (1 + clock.random() / 2);
        await this.#orAborted(new Promise<void>((resolve) => void clock.after(waitMs, resolve)));
      }
    }
  }

  async #orAborted<T>(promise: Promise<T>): Promise<T> {
    const { signal } = this.#options;
    if (!signal) return promise;
    let stop = () => {};
    const aborted = new Promise<never>((_, reject) => {
      stop = () => reject(signal.reason);
      signal.addEventListener('abort', stop);
    });
    aborted.catch(() => {}); // nobody may wait for it
    try {
      return await Promise.race([promise, aborted]);
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  #tell(changes: Partial<SyncState> & ({ syncId: string } | object)): void {
    this.#state = { ...this.#state, ...changes } as SyncState; // the first call names all members
    this.#options.onProgress?.(this.#state);
  }
}

/** Those that a hub may take, and those that none does: a packet with one of these is refused as a whole. */
function sifted(documents: readonly Document[]): { sound: Document[]; flawed: RefusedVersion[] } {
  const sound: Document[] = [];
  const flawed: RefusedVersion[] = [];
  for (const document of documents) {
    const flaw = flawOf(document);
    if (flaw) flawed.push({ version: document.version, code: flaw.code, detail: flaw.message });
    else sound.push(document);
  }
  return { sound, flawed };
}

/** As many documents as one packet takes, in order. */
function* inPackets(documents: readonly Document[]): Generator<ClientPacket<'federation:knowledge:push'>['documents']> {
  let packet: ClientPacket<'federation:knowledge:push'>['documents'] = [];
  let [bytes, members] = [0, 0];
  for (const { receipt: _, ...document } of documents) {
    const text = JSON.stringify(document);
    const size = Buffer.byteLength(text);
    const count = text.split(/[:,[{]/).length; // no fewer than it has members
    const full = packet.length === pushDocuments || bytes + size > pushBytes || members + count > pushMembers;
    if (packet.length > 0 && full) {
      yield packet;
      packet = [];
      [bytes, members] = [0, 0];
    }
    packet.push(document);
    bytes += size;
    members += count;
  }
  if (packet.length > 0) yield packet;
}

const hex = (id: Uint8Array): string => Buffer.from(id.buffer, id.byteOffset, id.length).toString('hex');
