/**
 * The views as everyone else sees them: queries that can wait for a position, maps in memory, and where it all stands.
 *
 * What fills them runs in a thread of its own (projector-thread.ts); it tells this side each time it moved.
 */
import type { Kysely } from 'kysely';
import { v5 } from 'uuid';
import { Fault } from '../errors.ts';
import { encode } from '../events/catalog.ts';
import type { EventLog, Subscription } from '../events/log.ts';
import { type Cancel, isoTime, type Kernel } from '../kernel.ts';
import { Thread } from '../thread.ts';
import type { Tracer } from '../tracing.ts';
import { allProjections, type DeadLetter, fingerprintOf, type ViewTables } from './catalog.ts';
import type { Projection } from './define.ts';
import type { ViewsDigest } from './digest.ts';
import { type LiveOptions, type LiveViews, openLive } from './live.ts';
import type { ProjectorState, Rebuilt } from './projector.ts';
import type { ProjectorApi, ProjectorNote, ProjectorThreadData } from './projector-thread.ts';
import type { Standing, ViewReader } from './view-reader.ts';
import { PostgresViewReader } from './view-reader-postgres.ts';
import { SqliteViewReader } from './view-reader-sqlite.ts';

export interface ViewsState extends Standing {
  /** Position of the last event of the log. */
  readonly head: number;
  /** This replica holds the lease of the projector. */
  readonly projecting: boolean;
  /** Streams that are parked, counted once a view. */
  readonly deadLetters: number;
  /** Why this replica does not project: the log holds an event of a newer hub. */
  readonly newerEvent: string | null;
  /** The fault the projector of this replica is getting over. */
  readonly fault: string | null;
}

export interface Answer<T> {
  readonly value: T;
  /** The answer is at least as new as this. */
  readonly position: number;
  /** The position asked for was not reached in time. */
  readonly stale: boolean;
}

export interface Views {
  /** Over the generation that serves. `json` columns come back as values; selected under another name, as text. */
  readonly db: Kysely<ViewTables>;
  /** Runs a query once the views hold `minPosition`, or after two seconds without it. */
  read<T>(minPosition: number | undefined, query: (db: Kysely<ViewTables>) => Promise<T>): Promise<Answer<T>>;
  state(): Promise<ViewsState>;
  /** Newest first. */
  deadLetters(limit: number): Promise<DeadLetter[]>;
  /** Projections as maps in memory, up with the log as it was when asked for. Close them before the log. */
  live<Rows extends Readonly<Record<string, object>>>(
    projections: { readonly [Name in keyof Rows]: Projection<Rows[Name]> },
    log: EventLog,
    options?: LiveOptions,
  ): Promise<LiveViews<Rows>>;
  /** One hash over all rows of all views, as of one moment. `views_unavailable` while they are of another version of the hub. */
  digest(): Promise<ViewsDigest>;
  close(): Promise<void>;
}

export interface ViewsOptions {
  /** `sqlite:<folder>` or `postgres://…`. */
  readonly url: string;
  /** Of the log, in the same form: the projector opens it for itself. */
  readonly logUrl: string;
  readonly log: EventLog;
  readonly kernel: Kernel;
  /** Of the projector's thread. Default `info`. */
  readonly logLevel?: string;
  readonly tracing?: Tracer;
}

const minPositionMs = 2_000;
const pollMs = 20;
/** How long the views may take to be there at all. */
const openMs = 30_000;
const checkThreadMs = 1_000;
/** Of the objects of a page, so that those that end with it are not copied: MiB. */
const youngHeapMb = 128;
/** Namespace of ids of `views.rebuilt`: told twice, it is written once. */
const rebuiltNamespace = '6f1d3c52-6a0e-4c55-9d0e-3d1b7c7a5a11';

/** Opens the views: starts the projector, and returns when there is a generation that serves. */
export async function startViews(options: ViewsOptions): Promise<Views> {
  const views = new RunningViews(options);
  try {
    await views.open();
  } catch (error) {
    await views.close();
    throw error;
  }
  return views;
}

type ProjectorThread = Thread<ProjectorApi, ProjectorNote>;

class RunningViews implements Views {
  readonly #options: ViewsOptions;
  readonly #kernel: Kernel;
  readonly #moved = new Set<() => void>();
  readonly #stops: Cancel[] = [];
  #thread: ProjectorThread;
  #projector: ProjectorState = idleProjector;
  readonly #reader: ViewReader;
  readonly #wake = new Nudge(() => this.#thread.call('wake'));
  readonly #hurry = new Nudge(() => this.#thread.call('hurry'));
  #following: Subscription | undefined;
  #restarting = false;
  #closed = false;

  constructor(options: ViewsOptions) {
    this.#options = options;
    this.#kernel = options.kernel;
    const { url, kernel } = options;
    this.#thread = this.#start();
    this.#reader = url.startsWith('sqlite:')
      ? new SqliteViewReader(url.slice('sqlite:'.length))
      : new PostgresViewReader(url, kernel);
  }

  async open(): Promise<void> {
    const { log, kernel } = this.#options;
    this.#see(await this.#thread.call('state')); // fails with the thread's own reason when it could not open log or views
    const until = kernel.monotonicMs() + openMs;
    while ((await this.#reader.standing()).generation === 0) {
      if (kernel.monotonicMs() > until) {
        throw new Error(`the views did not open: ${this.#projector.fault ?? 'no replica projects'}`);
      }
      await kernel.sleep(5);
    }
    this.#stops.push(kernel.every(checkThreadMs, () => void this.#check()));
    this.#following = log.subscribe(await log.head(), () => this.#wake.give(), { types: [] });
  }

  get db(): Kysely<ViewTables> {
    return this.#reader.db;
  }

  async read<T>(minPosition: number | undefined, query: (db: Kysely<ViewTables>) => Promise<T>): Promise<Answer<T>> {
    const position = await this.#reach(minPosition ?? 0);
    return { value: await query(this.db), position, stale: position < (minPosition ?? 0) };
  }

  async state(): Promise<ViewsState> {
    const [standing, head, { streams }] = await Promise.all([
      this.#reader.standing(),
      this.#options.log.head(),
      this.db
        .selectFrom('federation_dead_letters')
        .select((build) => build.fn.countAll<number>().as('streams'))
        .executeTakeFirstOrThrow(),
    ]);
    const { projecting, newerEvent, fault } = this.#projector;
    return { ...standing, head, projecting, deadLetters: streams, newerEvent, fault };
  }

  deadLetters(limit: number): Promise<DeadLetter[]> {
    return this.db
      .selectFrom('federation_dead_letters')
      .selectAll()
      .orderBy('last_position', 'desc')
      .limit(limit)
      .execute();
  }

  live<Rows extends Readonly<Record<string, object>>>(
    projections: { readonly [Name in keyof Rows]: Projection<Rows[Name]> },
    log: EventLog,
    options?: LiveOptions,
  ): Promise<LiveViews<Rows>> {
    return openLive(projections, log, this.#kernel, (table) => this.#reader.snapshot(table), options);
  }

  async digest(): Promise<ViewsDigest> {
    const summed = await this.#reader.digest().catch((error: unknown) => {
      throw new Fault('views_unavailable', 'the views could not be summed up', error);
    });
    if (summed.fingerprint === fingerprintOf(allProjections)) return summed;
    throw new Fault('views_unavailable', 'the views are of another version of the hub until they are rebuilt');
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const stop of this.#stops) stop();
    this.#wake.end();
    this.#hurry.end();
    await this.#following?.close();
    await this.#reader.close();
    await this.#thread.call('close').catch(() => {}); // it may be dead already
    await this.#thread.end();
  }

  /** The position the views have, at `min` or beyond if that is reached in time. */
  async #reach(min: number): Promise<number> {
    const until = this.#kernel.monotonicMs() + minPositionMs;
    for (let tries = 0; ; tries++) {
      const { position } = await this.#reader.standing();
      const left = until - this.#kernel.monotonicMs();
      if (position >= min || left <= 0) return position;
      if (tries === 0) this.#hurry.give();
      await this.#nextMove(Math.min(pollMs, left));
    }
  }

  /** Until this replica's projector moved, at most `ms`: on other replicas nobody tells, so the checkpoint is looked at again. */
  #nextMove(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        cancel();
        this.#moved.delete(done);
        resolve();
      };
      const cancel = this.#kernel.after(ms, done);
      this.#moved.add(done);
    });
  }

  #start(): ProjectorThread {
    const { url, logUrl, logLevel = 'info', kernel, tracing } = this.#options;
    const traced = tracing?.on === true;
    const data: ProjectorThreadData = { url, logUrl, logLevel, replica: kernel.replica, traced };
    const onNote = (note: ProjectorNote) => {
      if ('moved' in note) this.#see(note.moved);
      else if ('traced' in note) tracing?.together('project batch', note.traced, 'project');
      else void this.#tellLog(note.rebuilt);
    };
    return new Thread('projections/projector-thread', data, onNote, { maxYoungGenerationSizeMb: youngHeapMb });
  }

  #see(state: ProjectorState): void {
    this.#projector = state;
    this.#reader.moved(state);
    for (const done of [...this.#moved]) done();
  }

  /** Writes `views.rebuilt`, however long the log is away, and lets the projector forget the rebuild. */
  async #tellLog(rebuilt: Rebuilt): Promise<void> {
    const { rebuildId, causation, generation, events, digest } = rebuilt;
    const meta = {
      actor: 'hub',
      correlation: rebuildId,
      ...(causation && { causation }),
      replica: this.#kernel.replica,
    };
    const event = encode(
      { type: 'views.rebuilt', data: { rebuild_id: rebuildId, generation, events, digest } },
      { id: v5(rebuildId, rebuiltNamespace), time: isoTime(this.#kernel.now()), meta: JSON.stringify(meta) },
    );
    for (let attempt = 0; !this.#closed; attempt++) {
      try {
        await this.#options.log.append('views', 'any', [event]);
        await this.#thread.call('announced', rebuildId);
        return;
      } catch (error) {
        this.#kernel.log.warn({ err: error, rebuildId }, 'the end of the rebuild could not be written; trying again');
        await this.#kernel.sleep(Math.min(5_000, 100 * 2 ** Math.min(attempt, 10)));
      }
    }
  }

  /** A projector whose thread died is started again; its place is in the checkpoint. */
  async #check(): Promise<void> {
    if (this.#restarting || this.#closed) return;
    this.#restarting = true;
    try {
      await this.#thread.call('state');
    } catch (error) {
      if (this.#closed) return;
      this.#kernel.log.error({ err: error }, 'the projector died; starting it again');
      this.#see({ ...this.#projector, projecting: false, fault: String(error) });
      await this.#thread.end();
      this.#thread = this.#start();
    } finally {
      this.#restarting = false;
    }
  }
}

/** Tells a thread something of which once is enough: one call is under way at a time, and one more follows what came meanwhile. */
class Nudge {
  readonly #call: () => Promise<unknown>;
  #running = false;
  #again = false;
  #ended = false;

  constructor(call: () => Promise<unknown>) {
    this.#call = call;
  }

  give(): void {
    this.#again = this.#running;
    if (this.#running || this.#ended) return;
    this.#running = true;
    const done = () => {
      this.#running = false;
      if (this.#again) this.give();
    };
    this.#call().then(done, done); // a dead thread is noticed by the check
  }

  end(): void {
    this.#ended = true;
  }
}

const idleProjector: ProjectorState = {
  projecting: false,
  epoch: 0,
  generation: 0,
  position: 0,
  rebuild: null,
  newerEvent: null,
  fault: null,
};
