/**
 * Projections in memory: loaded from its table at the table's checkpoint, then the same fold over the log from there.
 *
 * Rows and checkpoint are read in one snapshot, and the log is followed from that very position, so every event is folded
 * once: by the projector into the table, or here. Streams that are dead letters there are passed over here.
 */

import { Fault } from '../errors.ts';
import { catalog, type EventType, type LogEvent } from '../events/catalog.ts';
import { decode, NewerEvent } from '../events/decode.ts';
import type { EventLog, Page, Recorded } from '../events/log.ts';
import type { Cancel, Kernel } from '../kernel.ts';
import { type AnyProjection, allProjections, anyProjection, fingerprintOf, type Row } from './catalog.ts';
import type { FoldContext, Projection } from './define.ts';
import { deadLetterId, foldContext, foldOne, keysIn } from './project.ts';
import { fromStored } from './rows.ts';
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
}

/** Maps that follow the log together: no event is in one of them before all that came earlier are in the others. */
export interface LiveViews<Rows extends Readonly<Record<string, object>>> {
  readonly maps: { readonly [Name in keyof Rows]: LiveView<Rows[Name]> };
  close(): Promise<void>;
}

export interface LiveOptions {
  /** Event types to follow. Default: those of the projections that lie in kept streams. */
  readonly types?: readonly EventType[];
}

/** How long it may take to come up with the log: a million events are read in seconds. */
const openMs = 300_000;

/** Loads the maps and returns when they are where the log was when they were asked for. They read the log once, together. */
export async function openLive<Rows extends Readonly<Record<string, object>>>(
  projections: { readonly [Name in keyof Rows]: Projection<Rows[Name]> },
  log: EventLog,
  kernel: Kernel,
  snapshot: (table: string) => Promise<StoredSnapshot>,
  options: LiveOptions = {},
): Promise<LiveViews<Rows>> {
  const context = foldContext(log.segmentSize);
  const named = Object.entries(projections) as [string, Projection][]; // which rows are whose is forgotten until the end
  const opening = named.map(async ([name, projection]) => {
    const view = anyProjection(projection);
    if (view.table.appendOnly || view.sweep) throw new TypeError(`${view.table.name} cannot be followed in memory`);
    const start = await usable(await snapshot(view.table.name), log);
    return [name, new Live(view, kernel, context, start)] as const;
  });
  const opened = await Promise.all(opening);
  const lives = opened.map(([, live]) => live);
  const types = options.types ?? [...new Set(lives.flatMap((live) => live.types))];
  const from = Math.min(...lives.map(({ position }) => position));
  const subscription = log.subscribe(from, (page) => take(page, lives), { types });
  const close = async () => {
    await subscription.close();
    for (const live of lives) live.close();
  };
  try {
    const head = await log.head();
    for (const live of lives) await live.waitFor(head, openMs);
  } catch (error) {
    await close();
    throw error;
  }
  return { maps: Object.fromEntries(opened) as unknown as LiveViews<Rows>['maps'], close }; // each came from the projection of its name
}

/** Rows of other tables, of another log or of a log that was restored to before them are of no use: the log alone gives the same map. */
async function usable(stored: StoredSnapshot, log: EventLog): Promise<Start> {
  const ours = stored.logId === log.id && stored.position <= (await log.head());
  const same = stored.fingerprint === fingerprintOf(allProjections);
  return ours && same ? stored : { position: 0, rows: [], parkedIds: [] };
}

/** A page that fails half-way is given again: what was folded of it is passed over by its position. */
function take(page: Page, lives: readonly Live[]): void {
  for (const recorded of page.events) for (const live of lives) live.take(recorded);
  for (const live of lives) live.reached(page.through);
}

type Start = Pick<StoredSnapshot, 'position' | 'rows' | 'parkedIds'>;

class Live implements LiveView<Row> {
  readonly #view: AnyProjection;
  readonly #kernel: Kernel;
  readonly #context: FoldContext;
  readonly #rows = new Map<string, Row>();
  readonly #parked: Set<string>;
  readonly #listeners = new Set<LiveListener<Row>>();
  readonly #waiting = new Set<{ position: number; resolve: () => void; reject: (error: Error) => void }>();
  #position: number;

  constructor(view: AnyProjection, kernel: Kernel, context: FoldContext, start: Start) {
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

  /** Types of kept streams that it folds. */
  get types(): EventType[] {
    return (Object.keys(this.#view.on) as EventType[]).filter((type) => catalog[type].class === 'kept');
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

  close(): void {
    for (const { reject } of this.#waiting) reject(new Fault('views_unavailable', 'the view in memory was closed'));
    this.#waiting.clear();
    this.#listeners.clear();
  }

  /** Folds an event, once. */
  take(recorded: Recorded): void {
    if (recorded.position <= this.#position) return;
    this.#fold(recorded);
    this.#position = recorded.position;
  }

  /** Nothing up to here is missing. */
  reached(position: number): void {
    this.#position = Math.max(this.#position, position);
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
    const changes: [key: string, after: Row | undefined][] = [];
    try {
      event = decode(recorded);
      for (const key of keysIn(this.#view, event, this.#context)) {
        const before = this.#rows.get(key);
        const after = foldOne(this.#view, key, before, event, this.#context);
        if (after !== before) changes.push([key, after]);
      }
    } catch (error) {
      if (error instanceof NewerEvent) throw error; // this replica must be replaced; until then the map stands
      this.#parked.add(deadLetterId(this.#view, recorded.stream));
      return;
    }
    for (const [key, after] of changes) {
      if (after) this.#rows.set(key, after);
      else this.#rows.delete(key);
      for (const listener of this.#listeners) this.#tell(listener, key, after, event);
    }
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
