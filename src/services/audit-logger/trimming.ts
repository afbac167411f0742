/** Lets go of rows of the audit log that are older than the operator's policy. The log keeps their events. */
import { auditStream } from '../../commands/audit.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { Lease } from '../../lease.ts';
import { firstSince, momentOf, oldestPosition } from '../../projections/audit-queries.ts';

const lookEveryMs = 60_000;
const trimEveryMs = 3_600_000;
const dayMs = 86_400_000;
/** Positions that one event trims at most: its rows go in one transaction of the views. */
const trimPositions = 100_000;
/** Events a run at most; the rest goes an hour later. */
const trimsLimit = 100;

export interface TrimmingOptions extends Pick<Hub, 'views' | 'executor' | 'kernel'> {
  readonly lease: Lease;
  /** Undefined: everything stays. */
  readonly days: number | undefined;
}

export class Trimming {
  readonly #options: TrimmingOptions;
  readonly #cancel: Cancel;
  #trimmedAt = Number.NEGATIVE_INFINITY;
  #running: Promise<void> | undefined;

  constructor(options: TrimmingOptions) {
    this.#options = options;
    this.#cancel = options.kernel.every(lookEveryMs, () => {
      if (options.kernel.monotonicMs() - this.#trimmedAt < trimEveryMs) return;
      this.#running ??= this.run().finally(() => {
        this.#running = undefined;
      });
    });
  }

  /** Does once what is due. Does nothing without the lease or a policy; what fails is tried again a minute later. */
  async run(): Promise<void> {
    const { views, executor, kernel, lease, days } = this.#options;
    if (days === undefined || !lease.held()) return;
    try {
      const oldest = await oldestPosition(views.db);
      const through = (await firstSince(views.db, momentOf(kernel.now() - days * dayMs))) - 1;
      let from = oldest ?? Number.POSITIVE_INFINITY;
      for (let trims = 0; trims < trimsLimit && from <= through && lease.held(); trims++) {
        const to = Math.min(through, from + trimPositions - 1);
        const trimmed = { type: 'audit.trimmed', data: { through: to } } as const;
        const position = await executor.note(auditStream, [trimmed], { actor: 'hub' });
        // One such transaction of the views at a time: whoever waits for them waits for one step.
        if ((await views.read(position, async () => {})).stale) break;
        from = to + 1;
      }
      this.#trimmedAt = kernel.monotonicMs();
    } catch (error) {
      kernel.log.warn({ err: error }, 'the audit log was not trimmed; it is tried again');
    }
  }

  async close(): Promise<void> {
    this.#cancel();
    await this.#running;
  }
}
