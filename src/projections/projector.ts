/**
 * The projector: under the lease, brings the views up with the log, and fills the next generation beside the one that serves.
 *
 * A tenure begins by claiming what serves. Then it takes turns: a page for the views that serve, a page for those that are
 * being rebuilt. When the new ones have caught up they serve, and the log is told. Faults of a database end the tenure's
 * turn, never its place: it is in the checkpoint, and the next turn begins by reading that again.
 */
import { NewerEvent } from '../events/decode.ts';
import type { Kernel } from '../kernel.ts';
import type { Lease, Leases } from '../lease.ts';
import { tracedIn } from '../tracing/traceparent.ts';
import type { Together } from '../tracing.ts';
import { type AnyProjection, fingerprintOf } from './catalog.ts';
import { Fenced, type Generation, type RebuildNote, type ViewStore } from './generation.ts';
import { type Batch, foldContext, foldPage } from './project.ts';
import type { LogSource } from './source.ts';

export interface ProjectorState {
  /** This replica holds the lease and has claimed the views. */
  readonly projecting: boolean;
  /** Of the lease. */
  readonly epoch: number;
  /** Generation that serves, 0 before the first. */
  readonly generation: number;
  readonly position: number;
  readonly rebuild: { readonly rebuildId: string; readonly position: number; readonly target: number } | null;
  /** Why it yields: the log holds an event of a newer hub. */
  readonly newerEvent: string | null;
  /** The fault it is getting over. */
  readonly fault: string | null;
}

/** A rebuild that now serves: `views.rebuilt` is to be appended, then `Projector.announced` called. */
export interface Rebuilt {
  readonly rebuildId: string;
  readonly causation: string | null;
  readonly generation: number;
  readonly events: number;
  readonly digest: string;
}

export interface ProjectorOptions {
  readonly source: LogSource;
  readonly store: ViewStore;
  readonly leases: Leases;
  readonly views: readonly AnyProjection[];
  readonly kernel: Kernel;
  /** Called when the views moved on, with `state()`. */
  readonly onMoved: () => void;
  readonly onRebuilt: (rebuilt: Rebuilt) => void;
  /** Called when a page that holds something of a trace is in the views that serve. Absent: nobody traces. */
  readonly onTraced?: (page: Together) => void;
}

/** Events of one transaction: near the head, and when far behind, where larger batches touch fewer rows an event. */
const pageEvents = { near: 2_000, far: 8_000 };
/**
 * Rest after a small batch, as a multiple of what it took, and at most in ms: under load the projector is then busy a fifth
 * of the time, and rows touched often are written less often. Who waits for a position ends the rest.
 */
const rest = { timesWork: 4, most: 50 };
const pollMs = 1_000;
/** Events of a page whose traces are told of it. */
const mostTraced = 64;
const retireEveryMs = 2_000;
const newerPauseMs = 5_000;
const backoffMs = { first: 100, most: 5_000 };

export class Projector {
  readonly #options: ProjectorOptions;
  readonly #kernel: Kernel;
  readonly #fingerprint: string;
  #lease: Lease;
  #serving: Generation | undefined;
  #building: Generation | undefined;
  #rebuild: RebuildNote | undefined;
  /** Requests up to here were there when the views were begun anew: history, not wishes. */
  #historyUntil = 0;
  /** `views.rebuilt` of this rebuild is in the log. */
  #announcedId: string | undefined;
  #behind = true;
  #eventsBuilt = 0;
  #claimed = false;
  #newerEvent: string | null = null;
  #fault: string | null = null;
  #retireAt = 0;
  #closed = false;
  #written = true;
  #awaited = false;
  #rouse: () => void = () => {};
  #endRest: () => void = () => {};
  readonly #done: Promise<void>;

  constructor(options: ProjectorOptions) {
    this.#options = options;
    this.#kernel = options.kernel;
    this.#fingerprint = fingerprintOf(options.views);
    this.#lease = this.#acquire();
    this.#done = this.#run();
  }

  state(): ProjectorState {
    const rebuild = this.#rebuild && { rebuildId: this.#rebuild.rebuildId, target: this.#rebuild.target };
    return {
      projecting: this.#claimed && this.#lease.held(),
      epoch: this.#lease.epoch,
      generation: this.#serving?.number ?? 0,
      position: this.#serving?.position ?? 0,
      rebuild: rebuild ? { ...rebuild, position: (this.#building ?? this.#serving)?.position ?? 0 } : null,
      newerEvent: this.#newerEvent,
      fault: this.#fault,
    };
  }

  /** Something may have been written: look. */
  wake(): void {
    this.#written = true;
    this.#rouse();
  }

  /** Someone waits for what is in the log by now: look at once. */
  hurry(): void {
    this.#awaited = true;
    this.#endRest();
    this.wake();
  }

  /** `views.rebuilt` is in the log: the rebuild is forgotten. */
  announced(rebuildId: string): void {
    this.#announcedId = rebuildId;
    this.wake();
  }

  /** Ends after the batch under way. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#endRest();
    this.#rouse();
    await this.#done;
    await this.#lease.release();
  }

  async #run(): Promise<void> {
    for (let failures = 0; !this.#closed; ) {
      try {
        while (!this.#lease.held() && !this.#closed) await this.#idle(pollMs);
        if (this.#closed) return;
        await this.#begin();
        this.#newerEvent = null;
        while (this.#lease.held() && !this.#closed) {
          const began = this.#kernel.monotonicMs();
          this.#written = false;
          this.#awaited = false;
          const worked = await this.#turn();
          this.#fault = null;
          failures = 0;
          if (worked === 0 && !this.#written) await this.#idle(pollMs);
          else if (worked < pageEvents.near / 2) await this.#rest(this.#kernel.monotonicMs() - began);
        }
      } catch (error) {
        await this.#recover(error, failures++);
      } finally {
        this.#claimed = false;
      }
    }
  }

  /** Claims what serves, and decides what is to be built. */
  async #begin(): Promise<void> {
    const { store, source } = this.#options;
    const epoch = this.#lease.epoch;
    this.#building = undefined;
    this.#rebuild = undefined;
    let serving = await store.current(epoch);
    const head = await source.head();
    if (!serving || serving.checkpoint.logId !== source.id || serving.position > head) {
      if (serving)
        this.#kernel.log.warn(
          { views: serving.checkpoint, log: source.id, head },
          'the views are of another log: begun anew',
        );
      const next = await store.create((serving?.number ?? 0) + 1, epoch, this.#start());
      await store.serve(next, null);
      serving = next;
      this.#historyUntil = head;
    }
    this.#serving = serving;
    const note = serving.checkpoint.rebuild;
    if (serving.checkpoint.fingerprint !== this.#fingerprint) {
      await this.#startRebuild({ rebuildId: this.#kernel.uuid(), causation: null, target: head });
    } else if (note?.status === 'filling') {
      await this.#startRebuild({ ...note, target: head });
    } else if (note) {
      this.#rebuild = note;
      this.#announce(serving, note);
    }
    this.#claimed = true;
    this.#retireAt = this.#kernel.monotonicMs();
    this.#options.onMoved();
  }

  /** One page for each. Answers how many events went into the views. */
  async #turn(): Promise<number> {
    const served = await this.#serve();
    const built = this.#building ? await this.#build(served === 0) : 0;
    if (this.#announcedId !== undefined && this.#announcedId === this.#rebuild?.rebuildId) {
      await this.#serving!.note(null);
      this.#rebuild = undefined;
      this.#options.onMoved();
    }
    await this.#retire();
    return served + built;
  }

  /** Brings what serves up by a page, unless its tables are of another version: then it stands until the next is ready. */
  async #serve(): Promise<number> {
    const serving = this.#serving!;
    if (serving.checkpoint.fingerprint !== this.#fingerprint) return 0;
    const limit = this.#behind ? pageEvents.far : pageEvents.near;
    const beganMs = this.#kernel.now();
    const { batch, read, traceparents } = await this.#fold(serving, limit, this.#options.onTraced !== undefined);
    this.#behind = read >= limit;
    if (batch === undefined) return 0;
    const request = batch.rebuildRequests.find((event) => event.position > this.#historyUntil);
    if (request && !this.#rebuild) {
      const asked = { rebuildId: request.data.rebuild_id, causation: request.id, target: batch.through };
      await this.#startRebuild(asked, batch);
    } else {
      await serving.commit(batch);
    }
    if (traceparents.length > 0) {
      const attributes = { 'federation.events': read, 'federation.position': batch.through };
      const tookMs = Math.max(0, this.#kernel.now() - beganMs);
      this.#options.onTraced?.({ traceparents, beganMs, tookMs, attributes });
    }
    this.#options.onMoved();
    return read;
  }

  /** Fills the next generation by a page, and lets it serve when it is where the one that serves is. */
  async #build(servingIsUp: boolean): Promise<number> {
    const building = this.#building!;
    const { batch, read } = await this.#fold(building, pageEvents.far);
    if (batch) await building.commit(batch);
    this.#eventsBuilt += read;
    const stands = this.#serving!.checkpoint.fingerprint !== this.#fingerprint;
    const caughtUp = stands ? read === 0 : servingIsUp && building.position >= this.#serving!.position;
    if (caughtUp) {
      const note: RebuildNote = { ...this.#rebuild!, status: 'switched' };
      await this.#options.store.serve(building, note);
      this.#serving = building;
      this.#building = undefined;
      this.#rebuild = note;
      this.#retireAt = this.#kernel.monotonicMs() + retireEveryMs;
      this.#announce(building, note);
    }
    this.#options.onMoved();
    return Math.max(read, 1);
  }

  /** @param traced whether it is wanted what of the page belongs to traces. */
  async #fold(generation: Generation, limit: number, traced = false) {
    const { source, views } = this.#options;
    const page = await source.readAll(generation.position, limit);
    if (page.through <= generation.position) return { batch: undefined, read: 0, traceparents: [] };
    const batch = await foldPage(page, views, generation, foldContext(source.segmentSize));
    const traceparents = traced ? page.events.flatMap(({ meta }) => tracedIn(meta) ?? []).slice(0, mostTraced) : [];
    return { batch, read: page.events.length, traceparents };
  }

  /** The wish is written down with the batch that held it, so that whoever comes next fulfils it. */
  async #startRebuild(asked: Pick<RebuildNote, 'rebuildId' | 'causation' | 'target'>, batch?: Batch): Promise<void> {
    const serving = this.#serving!;
    const { rebuildId, causation, target } = asked;
    const note: RebuildNote = { rebuildId, causation, target, generation: serving.number + 1, status: 'filling' };
    if (batch) await serving.commit(batch, note);
    else await serving.note(note);
    this.#rebuild = note;
    this.#eventsBuilt = 0;
    this.#building = await this.#options.store.create(note.generation, this.#lease.epoch, this.#start());
  }

  #start() {
    return { logId: this.#options.source.id, fingerprint: this.#fingerprint, rebuild: null };
  }

  /** Beside the projecting: the digest reads every row. A failure is made good by the next tenure, which finds the note. */
  #announce(generation: Generation, note: RebuildNote): void {
    const events = this.#eventsBuilt;
    generation.digest().then(
      (digest) => {
        if (this.#closed) return;
        this.#options.onRebuilt({
          rebuildId: note.rebuildId,
          causation: note.causation,
          generation: generation.number,
          events,
          digest,
        });
      },
      (error) => this.#kernel.log.warn({ err: error }, 'the rebuilt views could not be summed up'),
    );
  }

  async #retire(): Promise<void> {
    if (this.#kernel.monotonicMs() < this.#retireAt) return;
    const needed = [this.#serving!.number, ...(this.#building ? [this.#building.number] : [])];
    const gone = await this.#options.store.retireAllBut(needed);
    this.#retireAt = gone ? Number.POSITIVE_INFINITY : this.#kernel.monotonicMs() + retireEveryMs;
  }

  async #recover(error: unknown, failures: number): Promise<void> {
    if (error instanceof Fenced) {
      this.#kernel.log.info({}, error.message);
      return this.#yieldLease(0);
    }
    if (error instanceof NewerEvent) {
      this.#newerEvent = error.message;
      this.#kernel.log.error({ err: error }, 'the log is newer than this hub: projecting is left to others');
      return this.#yieldLease(newerPauseMs);
    }
    this.#fault = error instanceof Error ? error.message : String(error);
    const pause = Math.min(backoffMs.most, backoffMs.first * 2 ** Math.min(failures, 10));
    this.#kernel.log.warn({ err: error, pause }, 'projecting failed; trying again');
    this.#options.onMoved();
    await this.#pause(pause);
  }

  /** Others may have the lease; after a while this replica is one that tries for it again. */
  async #yieldLease(ms: number): Promise<void> {
    await this.#lease.release();
    this.#options.onMoved();
    await this.#pause(ms);
    this.#lease = this.#acquire();
  }

  #acquire(): Lease {
    const lease = this.#options.leases.acquire('projector');
    lease.onChange(() => this.wake());
    return lease;
  }

  /** Waits out `ms`; only closing cuts it short. */
  async #pause(ms: number): Promise<void> {
    const until = this.#kernel.monotonicMs() + ms;
    for (let left = ms; left > 0 && !this.#closed; left = until - this.#kernel.monotonicMs()) await this.#idle(left);
  }

  /** After work of `took` ms; not when someone came to wait since it began. */
  async #rest(took: number): Promise<void> {
    if (this.#awaited || this.#closed) return;
    await this.#until(Math.min(rest.most, rest.timesWork * took), (end) => {
      this.#endRest = end;
    });
  }

  /** Waits until roused, at most `ms`. */
  #idle(ms: number): Promise<void> {
    return this.#until(ms, (end) => {
      this.#rouse = end;
    });
  }

  /** Waits `ms`, or until what `keep` is given is called. */
  #until(ms: number, keep: (end: () => void) => void): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#kernel.after(ms, resolve);
      keep(() => {
        cancel();
        resolve();
      });
    });
  }
}
