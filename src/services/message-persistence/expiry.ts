/**
 * The end of messages: who did not fetch one in time, and whose sender is told; and what is let go of a day later. A job is owed for the
 * moment when the next one expires; besides, it is looked at each half minute.
 */

import type { Kysely } from 'kysely';
import { mail, mailStream, purge } from '../../commands/mailbox.ts';
import { expire, message, messageStream } from '../../commands/message.ts';
import { isRefusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { JobQueue, Jobs } from '../../jobs.ts';
import { type Cancel, isoTime } from '../../kernel.ts';
import type { Lease } from '../../lease.ts';
import type { ViewTables } from '../../projections/catalog.ts';
import { receiptsKeptMs } from '../../projections/message-receipts.ts';
import type { Expired, OfflineQueue } from '../offline-queue.ts';

const lookEveryMs = 1_000;
const sweepEveryMs = 30_000;
const purgeEveryMs = 600_000;
/** So long after it expired it can still be asked what became of a message. */
const rememberedMs = 86_400_000;
const together = 100;
/** Jobs are made for what expires within this; later ones when it is nearer. */
const aheadMs = 3_600_000;

export class Expiry {
  readonly #hub: Hub;
  readonly #queue: OfflineQueue;
  readonly #lease: Lease;
  readonly #stops: Cancel[];
  #jobs: JobQueue | undefined;
  /** The second that a job was added for last. */
  #planned = 0;
  #running = false;
  #closed = false;
  #purgedAt = Number.NEGATIVE_INFINITY;

  constructor(hub: Hub, queue: OfflineQueue, lease: Lease) {
    this.#hub = hub;
    this.#queue = queue;
    this.#lease = lease;
    this.#stops = [
      hub.kernel.every(lookEveryMs, () => void this.#plan()),
      hub.kernel.every(sweepEveryMs, () => void this.#sweep()),
    ];
  }

  use(jobs: Jobs): void {
    this.#jobs = jobs.queue('expiry');
    jobs.worker('expiry', () => this.#run(), { concurrency: 1 });
    this.#stops.push(
      jobs.onDoubt(() => {
        this.#planned = 0;
      }),
    );
  }

  close(): void {
    this.#closed = true;
    for (const stop of this.#stops) stop();
  }

  /** The replica with the lease sees to it that the next expiry has its job. Named by its second, so that it is added once. */
  async #plan(): Promise<void> {
    const next = this.#queue.nextExpiry();
    const now = this.#hub.kernel.now();
    if (next === undefined || next - now > aheadMs || !this.#lease.held()) return;
    const second = Math.max(Math.ceil(next / 1_000), Math.ceil(now / 1_000));
    if (second === this.#planned || !this.#jobs) return;
    const opts = { jobId: `second.${second}`, delay: Math.max(0, second * 1_000 - now), removeOnFail: true };
    await this.#jobs.addBulk([{ name: 'expire', data: {}, opts }]).then(
      () => {
        this.#planned = second;
      },
      () => {}, // the sweep does its work
    );
  }

  async #sweep(): Promise<void> {
    if (!this.#lease.held()) return;
    try {
      await this.#run();
      if (this.#hub.kernel.monotonicMs() - this.#purgedAt > purgeEveryMs) await this.#purge();
    } catch (error) {
      this.#hub.kernel.log.warn({ err: error }, 'messages that expired could not be seen to; it is tried again');
    }
  }

  /** Writes down what expired and was not fetched. Twice is harmless. */
  async #run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    try {
      for (let first = 0; !this.#closed; ) {
        const due = this.#queue.expired(together);
        if (due.length === 0 || due[0]!.position === first) return; // what is still there is for the next time
        first = due[0]!.position;
        const ends = await Promise.all(due.map((over) => this.#expire(over)));
        if (!(await this.#queue.reached(Math.max(...ends)))) return;
      }
    } finally {
      this.#running = false;
      this.#planned = 0; // those behind them want a job of their own
    }
  }

  /** Answers the position where it is written. */
  async #expire({ messageId, position, unreached }: Expired): Promise<number> {
    const command = { sentPosition: position, unreached };
    const { executor } = this.#hub;
    const done = await executor.execute(messageStream(messageId), message, expire, command, { actor: 'hub' });
    return isRefusal(done) ? 0 : done.position; // a conflict: others are at it
  }

  /** What expired a day ago leaves the views, with all that became of it. */
  async #purge(): Promise<void> {
    const { executor, kernel, views } = this.#hub;
    this.#purgedAt = kernel.monotonicMs();
    const before = kernel.now() - rememberedMs;
    const old = await hasOld(views.db, isoTime(before), isoTime(before - receiptsKeptMs));
    if (old) await executor.execute(mailStream, mail, purge, { before: isoTime(before) }, { actor: 'hub' });
  }
}

/** Whether there are messages, or receipts of such, that expired before these times. */
async function hasOld(db: Kysely<ViewTables>, messages: string, receipts: string): Promise<boolean> {
  const message = db.selectFrom('federation_messages').select('entry').where('entry', '<', messages).limit(1);
  const receipt = db
    .selectFrom('federation_message_receipts')
    .select('receipt')
    .where('receipt', '<', receipts)
    .limit(1);
  return (await message.executeTakeFirst()) !== undefined || (await receipt.executeTakeFirst()) !== undefined;
}
