/**
 * Puts what was told into the log, in few appends, and keeps it while the log is away. What a failed append may have
 * written is written again: after a fault a count may be told twice, never silently lost. What the log will never take is let go,
 * by itself and loudly.
 */
import { auditStream, readsStream } from '../../commands/audit.ts';
import type { Executor } from '../../commands/execute.ts';
import { Fault } from '../../errors.ts';
import type { DomainEvent } from '../../events/catalog.ts';
import type { Kernel } from '../../kernel.ts';

export type Fact = Extract<DomainEvent, { type: 'audit.refused' | 'audit.reads-counted' }>;

/** Events of one append. */
const appendEvents = 100;
/** Appends under way; all go into one flush of the log. */
const appendsAtOnce = 50;
/** Facts that are kept while the log is away; of those beyond only the number is known. */
export const waitingLimit = 20_000;

interface Batch {
  readonly stream: string;
  readonly actor: string;
  readonly facts: readonly Fact[];
}

export class Writer {
  readonly #executor: Pick<Executor, 'note'>;
  readonly #kernel: Kernel;
  #waiting: Fact[] = [];
  #dropped = 0;
  #running: Promise<void> | undefined;

  constructor(executor: Pick<Executor, 'note'>, kernel: Kernel) {
    this.#executor = executor;
    this.#kernel = kernel;
  }

  /** Facts that are not in the log yet. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Writes these and what still waits. Resolves when that was tried; never rejects. One run at a time. */
  async write(facts: readonly Fact[]): Promise<void> {
    this.#keep(facts);
    while (this.#running) await this.#running;
    if (this.#waiting.length === 0) return;
    this.#running = this.#run();
    await this.#running;
  }

  async #run(): Promise<void> {
    const batches = batched(this.#waiting);
    this.#waiting = [];
    try {
      for (let from = 0; from < batches.length; from += appendsAtOnce) {
        const together = batches.slice(from, from + appendsAtOnce);
        const faults = (await Promise.all(together.map((batch) => this.#put(batch)))).filter(
          (fault) => fault !== undefined,
        );
        if (faults.length === 0) continue;
        if (faults.length === together.length)
          for (const { facts } of batches.splice(from + appendsAtOnce)) this.#keep(facts); // the log is away
        this.#kernel.log.warn(
          { err: faults[0], waiting: this.#waiting.length },
          'the audit log waits for the event log',
        );
      }
      if (this.#waiting.length > 0) return;
      if (this.#dropped > 0)
        this.#kernel.log.error({ facts: this.#dropped }, 'refusals and reads were not written down');
      this.#dropped = 0;
    } finally {
      this.#running = undefined;
    }
  }

  #keep(facts: readonly Fact[]): void {
    const room = Math.max(0, waitingLimit - this.#waiting.length);
    this.#waiting.push(...facts.slice(0, room));
    this.#dropped += Math.max(0, facts.length - room);
  }

  /** Writes a batch, or keeps it and answers the fault that it met. One that holds what the log will not take is written fact by fact. */
  async #put(batch: Batch): Promise<Fault | undefined> {
    const { facts } = batch;
    try {
      await this.#append(batch);
      return undefined;
    } catch (error) {
      if (error instanceof Fault) {
        this.#keep(facts);
        return error;
      }
      if (facts.length === 1) {
        this.#kernel.log.error({ err: error, fact: facts[0] }, 'the event log does not take a fact of the audit log');
        return undefined;
      }
    }
    for (const [at, fact] of facts.entries()) {
      const fault = await this.#put({ ...batch, facts: [fact] });
      if (!fault) continue;
      this.#keep(facts.slice(at + 1));
      return fault;
    }
    return undefined;
  }

  async #append({ stream, actor, facts }: Batch): Promise<void> {
    await this.#executor.note(stream, facts, { actor });
  }
}

/** Facts of one append share their actor in `meta`; counts of reads are the hub's own finding. */
function batched(facts: readonly Fact[]): Batch[] {
  const groups = new Map<string, { stream: string; actor: string; facts: Fact[] }>();
  for (const fact of facts) {
    const counted = fact.type === 'audit.reads-counted';
    const [stream, actor] = counted ? [readsStream, 'hub'] : [auditStream, fact.data.actor];
    const key = `${stream} ${actor}`;
    const group = groups.get(key) ?? { stream, actor, facts: [] };
    group.facts.push(fact);
    groups.set(key, group);
  }
  const batches: Batch[] = [];
  for (const { stream, actor, facts: all } of groups.values()) {
    for (let from = 0; from < all.length; from += appendEvents)
      batches.push({ stream, actor, facts: all.slice(from, from + appendEvents) });
  }
  return batches;
}
