/**
 * Syncs of nodes with this hub. The node leads: it asks about ranges of its set, fetches what it lacks, brings what the hub lacks. A replica
 * keeps of each sync the set that may move to the node, and counts; both are made again wherever the node asks next, from the log and views.
 */
import type { About, Executed } from '../../commands/execute.ts';
import {
  endSync,
  type KnownSync,
  pauseSync,
  progressSync,
  resumeSync,
  type SyncOutcome,
  startSync,
  sync,
  syncStream,
} from '../../commands/sync.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import { decode } from '../../events/decode.ts';
import type { SyncDirection, SyncProgress, SyncScope } from '../../events/knowledge.ts';
import type { Recorded, Subscription } from '../../events/log.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import { answer, BadFrame } from '../../negentropy.ts';
import type { Document } from '../../protocol/knowledge.ts';
import { type DocumentParts, giveDocuments, type RefusedVersion, takeDocuments } from './sync-documents.ts';
import { SyncPlaces } from './sync-places.ts';
import { Session } from './sync-session.ts';
import { type OfferedSet, offeredSet, refuseScope } from './sync-set.ts';
import { Stragglers } from './sync-stragglers.ts';

/** Bytes of a frame at most. */
const frameBytes = 60_000;
/** A set is made anew after this long. */
const setMs = 300_000;
/** A sync that asks for nothing this long rests. */
const restMs = 300_000;
const sweepEveryMs = 15_000;

export interface SyncParts extends DocumentParts {
  readonly hub: Hub;
  /** Tells a node how far its sync is, where it can hear that. */
  tell(nodeId: string, progress: SyncProgress & { sync_id: string; status: string }): void;
}

export interface SyncAsked {
  readonly direction: SyncDirection;
  readonly scope: SyncScope;
  /** Goes on with this one, as it was begun. */
  readonly sync_id?: string | undefined;
}

export interface SyncBegun {
  readonly sync_id: string;
  /** All that the hub had by then is offered, as far as it may be. */
  readonly position: number;
  readonly offered: number;
  readonly frame_bytes: number;
}

export class Syncs {
  readonly #parts: SyncParts;
  readonly #places = new SyncPlaces();
  readonly #stragglers: Stragglers;
  readonly #opening = new Map<string, Promise<Session | Refusal>>();
  readonly #subscription: Subscription;
  readonly #stops: Cancel[];
  /** One set is made at a time: it takes most of a processor. */
  #making: Promise<unknown> = Promise.resolve();

  /** @param head of the log, from where it is followed. */
  constructor(parts: SyncParts, head: number) {
    this.#parts = parts;
    const { hub, members } = parts;
    this.#subscription = hub.log.subscribe(head, ({ events }) => this.#follow(events), {
      types: ['knowledge.sync-paused', 'knowledge.sync-resumed', 'knowledge.sync-ended'],
    });
    this.#stragglers = new Stragglers(hub);
    this.#stops = [
      members.onChange((subject) => this.#doubt(subject)),
      hub.kernel.every(sweepEveryMs, () => this.#sweep()),
    ];
  }

  /** Begins a sync of a node, or goes on with one. Refuses `invalid_input`, `forbidden`, `limit_reached`, `overloaded`, `not_found`, `sync_over`. */
  async begin(nodeId: string, asked: SyncAsked, about: About): Promise<SyncBegun | Refusal> {
    const refused =
      refuseScope(asked.direction, asked.scope) ?? this.#places.full(nodeId, asked.sync_id, this.#opening.size);
    if (refused) return refused;
    const begun = await this.#begun(nodeId, asked, about);
    if (isRefusal(begun)) return begun;
    const session = await this.#open(begun.syncId, begun.known);
    if (isRefusal(session)) {
      await this.end(
        nodeId,
        begun.syncId,
        { outcome: 'failed', error: session.detail.slice(0, 512) },
        { actor: 'hub' },
      );
      return session;
    }
    const { set, position } = session.offered;
    session.cursor = position;
    return { sync_id: begun.syncId, position, offered: set.size, frame_bytes: frameBytes };
  }

  /** Answers a frame of fingerprints. Refuses `invalid_input` for what is none, and as `begin`. */
  async reconcile(nodeId: string, syncId: string, frame: Uint8Array): Promise<{ frame: Uint8Array } | Refusal> {
    const session = await this.#session(nodeId, syncId);
    if (isRefusal(session)) return session;
    try {
      const answered = answer(session.offered.set, frame, { frameBytes });
      session.count({ rounds: 1, bytes: frame.length + answered.length });
      return { frame: answered };
    } catch (error) {
      if (error instanceof BadFrame) return refuse('invalid_input', error.message);
      throw error;
    }
  }

  /** Documents by their versions, as many as fit into an answer. Refuses `forbidden` for a sync that only pushes, and as `begin`. */
  async pull(
    nodeId: string,
    syncId: string,
    versions: readonly string[],
    about: About,
  ): Promise<{ documents: Document[]; refused: RefusedVersion[] } | Refusal> {
    const session = await this.#session(nodeId, syncId);
    if (isRefusal(session)) return session;
    if (session.direction === 'push') return refuse('forbidden', 'this sync only pushes');
    const given = await giveDocuments(this.#parts, nodeId, versions, about, syncId);
    session.count({ pulled: given.documents.length, bytes: sizeOf(given.documents) });
    return given;
  }

  /** Takes documents. Refuses `forbidden` for a sync that only pulls, and as `begin`. */
  async push(
    nodeId: string,
    syncId: string,
    documents: readonly Document[],
    about: About,
  ): Promise<{ taken: string[]; refused: RefusedVersion[] } | Refusal> {
    const session = await this.#session(nodeId, syncId);
    if (isRefusal(session)) return session;
    if (session.direction === 'pull') return refuse('forbidden', 'this sync only pulls');
    const { taken, fresh, refused } = await takeDocuments(this.#parts, `node:${nodeId}`, documents, about);
    session.count({ pushed: fresh, refused: refused.length, bytes: sizeOf(documents) });
    return { taken, refused };
  }

  /** Lets a sync rest until somebody goes on with it. `nodeId` undefined: by who governs. Refuses `not_found`, `sync_over`. */
  async pause(nodeId: string | undefined, syncId: string, about: About): Promise<Executed<undefined> | Refusal> {
    await this.#places.closeFor(nodeId, syncId)?.written();
    const command = { syncId, nodeId, cause: 'asked' as const };
    return this.#parts.hub.executor.execute(syncStream(syncId), sync, pauseSync, command, about);
  }

  /** Ends a sync. Answers where an incremental one after it begins. Refuses `not_found`, `sync_over`. */
  async end(
    nodeId: string | undefined,
    syncId: string,
    { outcome, error }: { outcome: SyncOutcome; error?: string | undefined },
    about: About,
  ): Promise<Executed<{ cursor: number }> | Refusal> {
    const session = this.#places.closeFor(nodeId, syncId);
    await session?.written();
    const cursor = outcome === 'completed' ? session?.cursor : undefined;
    const command = { syncId, nodeId, outcome, error, cursor, progress: session?.progress };
    const done = await this.#parts.hub.executor.execute(syncStream(syncId), sync, endSync, command, about);
    return isRefusal(done) ? done : { ...done, reply: { cursor: done.reply.cursor ?? 0 } };
  }

  /** The connection of a node here is gone: what it was at rests. */
  async nodeGone(nodeId: string): Promise<void> {
    const gone = this.#places.all().filter((session) => session.nodeId === nodeId);
    await Promise.all(gone.map((session) => this.#rest(session)));
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops) stop();
    await Promise.all(this.#places.all().map((session) => this.#rest(session)));
    await this.#subscription.close();
    await this.#stragglers.close();
  }

  /** The sync as it goes on, and where that is written. */
  async #begun(
    nodeId: string,
    { sync_id, direction, scope }: SyncAsked,
    about: About,
  ): Promise<{ syncId: string; known: KnownSync } | Refusal> {
    const { executor, kernel } = this.#parts.hub;
    if (sync_id !== undefined) {
      this.#places.closeFor(nodeId, sync_id);
      const resumed = await executor.execute(syncStream(sync_id), sync, resumeSync, { syncId: sync_id, nodeId }, about);
      return isRefusal(resumed) ? resumed : { syncId: sync_id, known: resumed.reply };
    }
    const made = kernel.uuid();
    const command = { syncId: made, nodeId, direction, scope };
    const started = await executor.execute(syncStream(made), sync, startSync, command, about);
    if (isRefusal(started)) return started;
    const { syncId } = started.reply;
    const known = await executor.state(syncStream(syncId), sync);
    return known.there ? { syncId, known } : refuse('not_found', 'the sync was not written');
  }

  /** The session of a sync that runs, with a set that is still good; opened here when the node came from another replica. */
  async #session(nodeId: string, syncId: string): Promise<Session | Refusal> {
    const session = this.#places.get(syncId);
    if (session) {
      if (session.nodeId !== nodeId) return refuse('not_found', `there is no sync ${syncId}`);
      if (session.good(setMs)) return session.used();
    }
    const { executor } = this.#parts.hub;
    const known = await executor.state(syncStream(syncId), sync);
    if (!known.there || known.nodeId !== nodeId) return refuse('not_found', `there is no sync ${syncId}`);
    if (known.ended) return refuse('sync_over', `the sync is ${known.ended}`);
    if (known.paused === 'asked') return refuse('sync_over', 'the sync was paused; begin with its sync_id to go on');
    if (session) return this.#open(syncId, known);
    const refused = this.#places.full(nodeId, syncId, this.#opening.size);
    if (refused) return refused;
    if (known.paused === undefined) return this.#open(syncId, known);
    const about = { actor: `node:${nodeId}` };
    const resumed = await executor.execute(syncStream(syncId), sync, resumeSync, { syncId, nodeId }, about);
    return isRefusal(resumed) ? resumed : this.#open(syncId, resumed.reply);
  }

  /** Makes the set of a sync, once at a time, and keeps it. */
  #open(syncId: string, known: KnownSync): Promise<Session | Refusal> {
    const under = this.#opening.get(syncId);
    if (under) return under;
    const before = this.#places.get(syncId);
    const opening = this.#make(known).then((offered) => {
      if (isRefusal(offered)) return offered;
      if (before && this.#places.get(syncId) === before) return before.renew(offered);
      const session = new Session(this.#parts, syncId, known, offered, (progress) => this.#write(syncId, progress));
      this.#places.put(session);
      return session;
    });
    this.#opening.set(syncId, opening);
    return opening.finally(() => this.#opening.delete(syncId));
  }

  #make({ nodeId, scope }: KnownSync): Promise<OfferedSet | Refusal> {
    const { hub, members } = this.#parts;
    const making = this.#making.then(() => offeredSet(hub, members, nodeId, scope));
    this.#making = making.catch(() => {});
    return making;
  }

  /** Writes down how far it was and that it rests, unless the node goes on with it elsewhere. */
  async #rest({ syncId, tenure }: Session): Promise<void> {
    const session = this.#places.close(syncId);
    if (!session) return;
    await session.written();
    const command = { syncId, nodeId: undefined, cause: 'node_gone' as const, tenure };
    const { executor, kernel } = this.#parts.hub;
    await executor
      .execute(syncStream(syncId), sync, pauseSync, command, { actor: 'hub' })
      .catch((error: unknown) => kernel.log.warn({ err: error, syncId }, 'that a sync rests was not written'));
  }

  async #write(syncId: string, progress: SyncProgress): Promise<void> {
    const { executor, kernel } = this.#parts.hub;
    const command = { syncId, nodeId: undefined, progress };
    await executor
      .execute(syncStream(syncId), sync, progressSync, command, { actor: 'hub' })
      .catch((error: unknown) => kernel.log.warn({ err: error, syncId }, 'how far a sync is was not written'));
  }

  /** Rules changed: what was offered under them is judged anew before any more of it is told. */
  #doubt(subject: string): void {
    for (const session of this.#places.all()) {
      if (session.offered.subjects.has(subject)) session.doubt();
    }
  }

  /** What happened to a sync at another replica. */
  #follow(events: readonly Recorded[]): void {
    for (const recorded of events) {
      const { data, type, meta } = decode(recorded);
      if (meta.replica === this.#parts.hub.kernel.replica || !('sync_id' in data) || !data.sync_id) continue;
      const session = this.#places.get(data.sync_id);
      if (!session || (type === 'knowledge.sync-paused' && data.cause === 'node_gone')) continue;
      this.#places.close(data.sync_id);
    }
  }

  /** A node that lives by HTTP says no goodbye. */
  #sweep(): void {
    for (const session of this.#places.all()) if (session.idleMs() > restMs) void this.#rest(session);
  }
}

function sizeOf(documents: readonly Document[]): number {
  return documents.reduce((sum, document) => sum + Buffer.byteLength(JSON.stringify(document)), 0);
}
