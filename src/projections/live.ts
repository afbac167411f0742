/**
 * A projection in memory: loaded from its table at the table's checkpoint, then the same fold over the log from there.
 *
 * Rows and checkpoint are read in one snapshot, and the log is followed from that very position, so every event is folded
 * once: by the projector into the table, or here. Streams that are dead letters there are passed over here.
 */

import { Fault } from '../errors.ts';
import { catalog, type EventType, type LogEvent } from '../events/catalog.ts';
import { decode, NewerEvent } from '../events/decode.ts';
import type { EventLog, Page, Recorded, Subscription } from '../events/log.ts';
import type { Cancel, Kernel } from '../kernel.ts';
import { type AnyProjection, allProjections, anyProjection, fingerprintOf, type Row } from './catalog.ts';
import type { FoldContext, Projection } from './define.ts';
import { deadLetterId, foldContext, foldOne } from './project.ts';
import { fittingText, fromStored } from './rows.ts';
import type { StoredSnapshot } from './view-reader.ts';

export type LiveListener<R> = (key: string, row: R | undefined, event: LogEvent) => void;

export interface LiveView<R> {
  /** Everything in the log up to here is in the map (events of types that are not followed aside). */
  readonly position: number;
  readonly size: number;
  get(key: string): R | undefined;
  values(): IterableIterator<R>;
  /** Called after each change, in the order of the log; `row` is undefined when it went. A listener that throws is logged. */
  onChange(listener: LiveListener<R>): Cancel;
  /** Resolves at a position. Throws `views_unavailable` when that takes longer than `timeoutMs` or the view is closed. */
  waitFor(position: number, timeoutMs?: number): Promise<void>;
  close(): Promise<void>;
}

export interface LiveOptions {
  /** Event types to follow. Default: those of the projection that lie in kept streams. */
  readonly types?: readonly EventType[];
}

/** Loads a live view and returns when it is where the log was when it was asked for. */
export async function openLive<R extends object>(
  projection: Projection<R>,
  log: EventLog,
  kernel: Kernel,
  snapshot: (table: string) => Promise<StoredSnapshot>,
  options: LiveOptions = {},
): Promise<LiveView<R>> {
  const view = anyProjection(projection);
  const types = options.types ?? (Object.keys(view.on) as EventType[]).filter((type) => catalog[type].class === 'kept');
  const stored = await snapshot(view.table.name);
  // Rows of other tables or of another log are of no use: then the log alone gives the same map.
  const usable = stored.logId === log.id && stored.fingerprint === fingerprintOf(allProjections);
  const start = usable ? stored : { position: 0, rows: [], parkedIds: [] };
  const live = new Live(view, kernel, foldContext(log.segmentSize), start);
  live.follow(log, types);
  await live.waitFor(await log.head(), 60_000);
  return live as unknown as LiveView<R>; // its rows came from this projection's table and fold
}

class Live implements LiveView<Row> {
  readonly #view: AnyProjection;
  readonly #kernel: Kernel;
  readonly #context: FoldContext;
  readonly #rows = new Map<string, Row>();
  readonly #parked: Set<string>;
  readonly #listeners = new Set<LiveListener<Row>>();
  readonly #waiting = new Set<{ position: number; resolve: () => void; reject: (error: Error) => void }>();
  #position: number;
  #subscription: Subscription | undefined;

  constructor(
    view: AnyProjection,
    kernel: Kernel,
    context: FoldContext,
    start: Pick<StoredSnapshot, 'position' | 'rows' | 'parkedIds'>,
  ) {
    this.#view = view;
    this.#kernel = kernel;
    this.#context = context;
    this.#position = start.position;
    this.#parked = new Set(start.parkedIds);
    for (const stored of start.rows) {
      const row = fromStored(view.table, stored);
      this.#rows.set(row[view.table.key] as string, row); // keys are text
    }
  }

  get position(): number {
    return this.#position;
  }

  get size(): number {
    return this.#rows.size;
  }

  get(key: string): Row | undefined {
    return this.#rows.get(key);
  }

  values(): IterableIterator<Row> {
    return this.#rows.values();
  }

  onChange(listener: LiveListener<Row>): Cancel {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  waitFor(position: number, timeoutMs = 5_000): Promise<void> {
    if (this.#position >= position) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const waiter = { position, resolve, reject };
      const cancel = this.#kernel.after(timeoutMs, () => {
        this.#waiting.delete(waiter);
        reject(
          new Fault('views_unavailable', `${this.#view.table.name} in memory is at ${this.#position}, not ${position}`),
        );
      });
      waiter.resolve = () => {
        cancel();
        resolve();
      };
      this.#waiting.add(waiter);
    });
  }

  async close(): Promise<void> {
    await this.#subscription?.close();
    for (const { reject } of this.#waiting) reject(new Fault('views_unavailable', 'the view in memory was closed'));
    this.#waiting.clear();
    this.#listeners.clear();
  }

  follow(log: EventLog, types: readonly EventType[]): void {
    this.#subscription = log.subscribe(this.#position, (page) => this.#take(page), { types });
  }

  /** A page that fails half-way is given again: what was folded of it is passed over by its position. */
  #take(page: Page): void {
    for (const recorded of page.events) {
      if (recorded.position <= this.#position) continue;
      this.#fold(recorded);
      this.#position = recorded.position;
    }
    this.#position = Math.max(this.#position, page.through);
    for (const waiter of this.#waiting) {
      if (waiter.position > this.#position) continue;
      this.#waiting.delete(waiter);
      waiter.resolve();
    }
  }

  #fold(recorded: Recorded): void {
    const handler = this.#view.on[recorded.type as EventType]; // a type that no handler lists gives undefined
    if (!handler || this.#parked.has(deadLetterId(this.#view, recorded.stream))) return;
    let event: LogEvent;
    let key: string;
    let after: Row | undefined;
    try {
      event = decode(recorded);
      key = fittingText(handler.key(event, this.#context));
      const before = this.#rows.get(key);
      after = foldOne(this.#view, key, before, event, this.#context);
      if (after === before) return;
    } catch (error) {
      if (error instanceof NewerEvent) throw error; // this replica must be replaced; until then the map stands
      this.#parked.add(deadLetterId(this.#view, recorded.stream));
      return;
    }
    if (after) this.#rows.set(key, after);
    else this.#rows.delete(key);
    for (const listener of this.#listeners) this.#tell(listener, key, after, event);
  }

  #tell(listener: LiveListener<Row>, key: string, row: Row | undefined, event: LogEvent): void {
    try {
      listener(key, row, event);
    } catch (error) {
      this.#kernel.log.error(
        { err: error, view: this.#view.table.name, event: event.id },
        'a listener of a live view failed',
      );
    }
  }
}
