/**
 * A generation of views: all tables, filled from one log in one order, with one checkpoint. What keeps them (SQLite file,
 * PostgreSQL schema) implements this port; what fills them is projector.ts.
 *
 * Every write of a generation moves its checkpoint in the same transaction and names the epoch of the lease it is made
 * under; where the generation was claimed under a newer epoch meanwhile, nothing is written and `Fenced` is thrown. So a
 * replica that was paused in mid-batch cannot write over its successor's work.
 */
import { LRUCache } from 'lru-cache';
import type { DeadLetter, Row } from './catalog.ts';
import type { TableSpec } from './define.ts';
import type { Batch, Ground } from './project.ts';

/** Another replica projects now, under a newer epoch. Nothing was written. */
export class Fenced extends Error {
  constructor() {
    super('another replica took the projection over');
    this.name = 'Fenced';
  }
}

/** A rebuild, as the generation that serves remembers it until `views.rebuilt` is in the log. */
export interface RebuildNote {
  readonly rebuildId: string;
  /** Id of the event that asked for it; null when the tables changed. */
  readonly causation: string | null;
  /** The generation being filled. */
  readonly generation: number;
  /** Head of the log when it began: what progress is measured against. */
  readonly target: number;
  /** `filling` beside the one that serves, or `switched`: it serves, and the log is to be told. */
  readonly status: 'filling' | 'switched';
}

/** What the checkpoint of a generation holds. */
export interface Checkpoint {
  readonly logId: string;
  readonly fingerprint: string;
  readonly position: number;
  readonly rebuild: RebuildNote | null;
}

const absent = Symbol('no such row');

/** Rows of each table that are kept in memory, those touched last. */
const cachedRows = 10_000;

export abstract class Generation implements Ground {
  readonly number: number;
  /** The tenure that writes it. */
  readonly epoch: number;
  #checkpoint: Checkpoint;
  #parked: Map<string, DeadLetter>;
  /** What lies in the tables, or `absent`. True as long as each commit succeeds: nobody else writes here. */
  readonly #cache = new Map<TableSpec, LRUCache<string, Row | typeof absent>>();

  constructor(number: number, epoch: number, checkpoint: Checkpoint, parked: Iterable<DeadLetter>) {
    this.number = number;
    this.epoch = epoch;
    this.#checkpoint = checkpoint;
    this.#parked = new Map(Array.from(parked, (letter) => [letter.id, letter]));
  }

  get checkpoint(): Checkpoint {
    return this.#checkpoint;
  }

  get position(): number {
    return this.#checkpoint.position;
  }

  get parked(): ReadonlyMap<string, DeadLetter> {
    return this.#parked;
  }

  /** Writes a batch and the checkpoint behind it, all or nothing. Throws `Fenced`; after any throw, open it again. */
  async commit(batch: Batch, rebuild: RebuildNote | null = this.#checkpoint.rebuild): Promise<void> {
    const next = { ...this.#checkpoint, position: batch.through, rebuild };
    await this.write(batch, next);
    this.#checkpoint = next;
    for (const [id, letter] of batch.parked) this.#parked.set(id, letter);
    for (const table of batch.sweeps.keys()) this.#cache.delete(table);
    for (const [table, rows] of batch.changes) {
      if (table.appendOnly) continue; // nobody will ask for them
      const cache = this.#cacheOf(table);
      for (const [key, row] of rows) cache.set(key, row ?? absent);
    }
  }

  /** The rows that are there, of those asked for. */
  async load(table: TableSpec, keys: readonly string[]): Promise<ReadonlyMap<string, Row>> {
    const cache = this.#cacheOf(table);
    const found = new Map<string, Row>();
    const unknown: string[] = [];
    for (const key of keys) {
      const row = cache.get(key);
      if (row === undefined) unknown.push(key);
      else if (row !== absent) found.set(key, row);
    }
    if (unknown.length === 0) return found;
    const fetched = await this.fetch(table, unknown);
    for (const key of unknown) {
      const row = fetched.get(key);
      if (row) found.set(key, row);
      cache.set(key, row ?? absent);
    }
    return found;
  }

  /** Remembers where its rebuild stands. Throws `Fenced`. */
  async note(rebuild: RebuildNote | null): Promise<void> {
    await this.commit(
      {
        through: this.position,
        events: 0,
        changes: new Map(),
        sweeps: new Map(),
        parked: new Map(),
        rebuildRequests: [],
      },
      rebuild,
    );
  }

  /** SHA-256 over all rows of all views as of one moment, hex; written to meanwhile or not. */
  abstract digest(): Promise<string>;
  abstract close(): Promise<void>;
  protected abstract fetch(table: TableSpec, keys: readonly string[]): Promise<ReadonlyMap<string, Row>>;
  protected abstract write(batch: Batch, checkpoint: Checkpoint): Promise<void>;

  #cacheOf(table: TableSpec): LRUCache<string, Row | typeof absent> {
    let cache = this.#cache.get(table);
    if (!cache) {
      cache = new LRUCache({ max: cachedRows });
      this.#cache.set(table, cache);
    }
    return cache;
  }
}

/** Where generations lie. One of them serves. */
export interface ViewStore {
  /** The generation that serves, claimed under `epoch`: older epochs can no longer write to it. */
  current(epoch: number): Promise<Generation | undefined>;
  /** An empty one, beside the one that serves; what lay there under its number is gone. */
  create(number: number, epoch: number, start: Omit<Checkpoint, 'position'>): Promise<Generation>;
  /** Lets a generation serve from now on, in one step that a kill cannot halve. `rebuild` becomes its note. Throws `Fenced`. */
  serve(generation: Generation, rebuild: RebuildNote | null): Promise<void>;
  /** Drops all generations but these. Answers false when readers still held one: try again later. */
  retireAllBut(numbers: readonly number[]): Promise<boolean>;
  close(): Promise<void>;
}
