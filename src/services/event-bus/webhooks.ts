/**
 * Subscriptions that are sent: a job each, so that one worker of one replica at a time sends, in order, and goes on when it was taken.
 *
 * The job says only that there is something to look for; where to go on from is in the log. The replica with the lease adds the
 * jobs, and each half minute holds them against the subscriptions. The one that worked on a subscription a moment ago adds one as
 * well: what came in while its job was ending would find the id taken.
 */
import type { Job } from 'bullmq';
import { advance, pause, subscription, subscriptionStream } from '../../commands/subscription.ts';
import { isRefusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { JobQueue, Jobs, JobWorker } from '../../jobs.ts';
import type { Cancel } from '../../kernel.ts';
import type { Lease } from '../../lease.ts';
import type { SubscriptionRow } from '../../projections/subscriptions.ts';
import type { Facts } from './facts.ts';
import type { Fanout } from './fanout.ts';
import { type History, readHistory } from './history.ts';
import { fits, typesOf } from './patterns.ts';
import { standingOfOwner } from './standing.ts';
import { oneMore, type Trouble } from './trouble.ts';
import { callWebhook } from './webhook-call.ts';

/** Subscriptions that are sent to at once by one replica. */
const concurrency = 32;
/** Of them, to those of one owner while half of the places are taken: receivers that are slow do not keep others waiting. */
const mostOfOwner = 4;
const crowdedMs = 250;
/** The jobs were lost, and one that is under way was added anew. */
const doubledMs = 1_000;
const batch = { mostEvents: 100, mostBytes: 512 * 1024, mostMs: 1_000 };
/** Batches of one subscription before others have their turn. */
const batchesInTurn = 10;
/** So far without anything to send, and the way is written down. */
const stepWithout = 10_000;
const addEveryMs = 25;
const addTogether = 500;
const sweepEveryMs = 30_000;
/** For so long a replica looks after what it worked on last. */
const recentMs = 15_000;
const reopenMs = 2_000;
/** A guard is not running, or the log is away: nothing was sent, and nothing counted. */
const waitMs = 5_000;

interface Watched {
  /** The newest event that may be for it, as far as this replica knows. */
  newest: number;
  /** What was sent, or found not to be for it, here. */
  looked: number;
  /** When it was worked on here, monotonic. */
  workedAt: number;
  stop: Cancel;
}

/** `again`: the job is done again in so many milliseconds. */
type Next = { readonly again?: number; readonly trouble?: Trouble | undefined };

export class Webhooks {
  readonly #hub: Hub;
  readonly #fanout: Fanout;
  readonly #facts: Facts;
  readonly #lease: Lease;
  readonly #isOrphan: (subscriptionId: string) => boolean;
  readonly #watched = new Map<string, Watched>();
  /** Subscriptions that a job is to be added for. */
  readonly #owed = new Set<string>();
  /** Owners of those that are being sent, by id. */
  readonly #running = new Map<string, string>();
  readonly #stops: Cancel[];
  readonly #stopping = new AbortController();
  #jobs: { readonly queue: JobQueue; readonly worker: JobWorker<Partial<Trouble>>; readonly stop: Cancel } | undefined;
  #opening = false;
  #adding = false;

  /** `isOrphan`: its node was removed, and it is about to go. */
  constructor(
    hub: Hub,
    fanout: Fanout,
    facts: Facts,
    { lease, isOrphan }: { lease: Lease; isOrphan: (subscriptionId: string) => boolean },
  ) {
    this.#hub = hub;
    this.#fanout = fanout;
    this.#facts = facts;
    this.#lease = lease;
    this.#isOrphan = isOrphan;
    const { live, kernel } = hub;
    for (const row of live.subscriptions.values()) this.#look(row.subscription_id, row);
    this.#stops = [
      live.subscriptions.onChange((id, row, event) => {
        this.#look(id, row);
        const moved = event.type === 'subscription.advanced' && event.meta.actor !== 'hub';
        if (row && (moved || event.type === 'subscription.resumed')) void this.#begin(id);
        else if (event.type === 'subscription.created') this.#owe(id);
      }),
      lease.onChange(() => this.sweep()),
      kernel.every(addEveryMs, () => void this.#add()),
      kernel.every(sweepEveryMs, () => this.sweep()),
    ];
    this.sweep();
  }

  /** Holds what is owed against the jobs. */
  sweep(): void {
    for (const [id, { newest }] of this.#watched) {
      const { position = 0 } = this.#hub.live.subscriptions.get(id) ?? {};
      if (newest > position) this.#owe(id);
    }
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    for (const stop of this.#stops) stop();
    for (const { stop } of this.#watched.values()) stop();
    this.#jobs?.stop();
    void this.#jobs?.worker.close().catch(() => {}); // it takes nothing new; who opened the jobs waits for what runs
  }

  /** Watches those, and only those, that are to be sent. */
  #look(id: string, row: SubscriptionRow | undefined): void {
    const watched = this.#watched.get(id);
    const wanted = row?.status === 'active' && row.delivery.kind === 'webhook';
    if (wanted && !watched) this.#watch(id, row);
    if (!wanted && watched) {
      watched.stop();
      this.#watched.delete(id);
      this.#owed.delete(id);
    }
  }

  #watch(id: string, { patterns, filter }: SubscriptionRow): void {
    // What lies before is not known here: something may be owed.
    const newest = Number.POSITIVE_INFINITY;
    const watched: Watched = { newest, looked: 0, workedAt: Number.NEGATIVE_INFINITY, stop: () => {} };
    watched.stop = this.#fanout.add({
      types: typesOf(patterns),
      take: (shown) => {
        if (!fits(filter, shown.view('full').event.data as object)) return; // data of events are objects
        watched.newest = shown.position;
        this.#owe(id);
      },
    });
    this.#watched.set(id, watched);
    void this.#open();
  }

  #owe(id: string): void {
    const watched = this.#watched.get(id);
    if (!watched) return;
    const recent = this.#hub.kernel.monotonicMs() - watched.workedAt < recentMs;
    if (this.#lease.held() || recent) this.#owed.add(id);
  }

  /** Its owner moved or resumed it: a job that waits out a failure is of the past. */
  async #begin(id: string): Promise<void> {
    if (!this.#lease.held()) return;
    try {
      const job = await this.#jobs?.queue.getJob(id);
      if (job && !(await job.isActive())) await job.remove();
    } catch (error) {
      this.#hub.kernel.log.debug(
        { err: error, subscription: id },
        'a waiting job could not be removed; it ends by itself',
      );
    }
    this.#owe(id);
  }

  /** Opens the jobs when there is something to send; in the background, and again until that works. */
  async #open(): Promise<void> {
    if (this.#opening || this.#jobs) return;
    this.#opening = true;
    while (!this.#jobs && !this.#stopping.signal.aborted) {
      try {
        this.#take(await this.#hub.jobs());
      } catch (error) {
        this.#hub.kernel.log.warn({ err: error }, 'webhooks wait for the jobs');
        await this.#hub.kernel.sleep(reopenMs);
      }
    }
  }

  #take(jobs: Jobs): void {
    if (this.#stopping.signal.aborted) return;
    const queue = jobs.queue('webhooks');
    const worker = jobs.worker<Partial<Trouble>>('webhooks', (job) => this.#work(job), { concurrency });
    worker.on('completed', (job) => {
      const watched = this.#watched.get(job.id ?? '');
      if (watched && watched.newest > watched.looked) this.#owe(job.id!); // it came while the job was ending
    });
    const stop = jobs.onDoubt(() => this.sweep());
    this.#jobs = { queue, worker, stop };
  }

  /** Adds what is owed, together. What could not be added stays owed. */
  async #add(): Promise<void> {
    if (this.#adding || !this.#jobs || this.#owed.size === 0) return;
    this.#adding = true;
    const some = [...this.#owed].slice(0, addTogether);
    for (const id of some) this.#owed.delete(id);
    try {
      const options = { removeOnComplete: true, removeOnFail: true };
      await this.#jobs.queue.addBulk(some.map((id) => ({ name: 'send', data: {}, opts: { jobId: id, ...options } })));
    } catch (error) {
      for (const id of some) if (this.#watched.has(id)) this.#owed.add(id);
      this.#hub.kernel.log.debug({ err: error }, 'jobs for webhooks could not be added; they are tried again');
      await this.#hub.kernel.sleep(reopenMs);
    } finally {
      this.#adding = false;
    }
  }

  async #work(job: Job<Partial<Trouble>>): Promise<void> {
    const next = await this.#turn(job.id ?? '', job.data);
    if (next.again === undefined) return;
    const { DelayedError } = await import('bullmq');
    await job.updateData(next.trouble ? { ...next.trouble } : {});
    await job.moveToDelayed(this.#hub.kernel.now() + next.again, job.token);
    throw new DelayedError();
  }

  /** Sends, unless it has to wait for its turn. */
  async #turn(id: string, { failures, since }: Partial<Trouble>): Promise<Next> {
    const trouble = failures !== undefined && since !== undefined ? { failures, since } : undefined;
    const owner = this.#hub.live.subscriptions.get(id)?.owner ?? '';
    if (this.#running.has(id)) return { again: doubledMs, trouble };
    if (this.#crowds(owner)) return { again: crowdedMs, trouble };
    this.#running.set(id, owner);
    try {
      return await this.#send(id, trouble);
    } catch (error) {
      this.#hub.kernel.log.warn({ err: error, subscription: id }, 'events could not be sent; it is tried again');
      return { again: waitMs, trouble };
    } finally {
      this.#running.delete(id);
    }
  }

  #crowds(owner: string): boolean {
    if (this.#running.size < concurrency / 2) return false;
    let own = 0;
    for (const running of this.#running.values()) if (running === owner) own++;
    return own >= mostOfOwner;
  }

  /** Sends what there is, a batch at a time. */
  async #send(id: string, known: Trouble | undefined): Promise<Next> {
    const { live, executor } = this.#hub;
    let trouble = known;
    for (let sent = 0; sent < batchesInTurn; sent++) {
      if (this.#stopping.signal.aborted) return { again: 0, trouble };
      const row = live.subscriptions.get(id);
      const watched = this.#watched.get(id);
      if (!row || !watched || this.#isOrphan(id)) return {};
      watched.workedAt = this.#hub.kernel.monotonicMs();
      const state = await executor.state(subscriptionStream(id), subscription);
      if (!state.there || state.status === 'paused') return {};
      const found = await this.#read(row, state.position, trouble);
      if ('next' in found) return found.next;
      const { views, through } = found;
      if (views.length > 0) {
        const outcome = await callWebhook(this.#hub, row, views, this.#stopping.signal);
        if (this.#stopping.signal.aborted && outcome.kind !== 'taken') return { again: 0, trouble };
        if (outcome.kind === 'gone')
          return this.#pause(id, 'the receiver answered 410 Gone', (trouble?.failures ?? 0) + 1);
        if (outcome.kind === 'failed') return this.#failed(id, outcome, views[0]!.event.position, trouble);
        trouble = undefined;
      }
      if (views.length > 0 || found.more || through - state.position > stepWithout) {
        await this.#advance(id, state.position, through);
      }
      watched.looked = Math.max(through, watched.looked);
      if (!found.more) {
        if (watched.newest === Number.POSITIVE_INFINITY) watched.newest = through;
        return {};
      }
    }
    return { again: 0, trouble };
  }

  /** The next batch; one event alone after a failure, so that those before one that is refused get through. */
  async #read(row: SubscriptionRow, from: number, trouble: Trouble | undefined): Promise<History | { next: Next }> {
    const { subscription_id: id, owner, patterns, filter } = row;
    const found = await readHistory(this.#hub, this.#facts, from, {
      types: typesOf(patterns),
      filter,
      actor: owner,
      standing: () => standingOfOwner(this.#hub, owner),
      ...batch,
      ...(trouble && { mostEvents: 1 }),
    });
    if (!isRefusal(found)) return found;
    if (found.refused === 'guard_unavailable') return { next: { again: waitMs, trouble } };
    return { next: await this.#pause(id, `its owner may not be told: ${found.refused}`, trouble?.failures ?? 0) };
  }

  async #advance(subscriptionId: string, from: number, to: number): Promise<void> {
    const command = { subscriptionId, from, to };
    const { executor } = this.#hub;
    await executor.execute(subscriptionStream(subscriptionId), subscription, advance, command, { actor: 'hub' });
  }

  async #failed(
    id: string,
    { reason, retryAfterMs }: { reason: string; retryAfterMs: number | undefined },
    position: number,
    before: Trouble | undefined,
  ): Promise<Next> {
    const { kernel } = this.#hub;
    const { trouble, againMs } = oneMore(before, { now: kernel.now(), chance: kernel.random(), retryAfterMs });
    const { failures } = trouble;
    if (againMs === undefined) return this.#pause(id, `the event at ${position} was not taken: ${reason}`, failures);
    kernel.log.debug({ subscription: id, reason, failures }, 'a webhook did not take its events');
    return { again: againMs, trouble };
  }

  async #pause(subscriptionId: string, reason: string, failures: number): Promise<Next> {
    const asker = { actor: 'hub', governs: true };
    const command = { subscriptionId, asker, reason, failures };
    const { executor, kernel } = this.#hub;
    await executor.execute(subscriptionStream(subscriptionId), subscription, pause, command, { actor: 'hub' });
    kernel.log.info({ subscription: subscriptionId, reason, failures }, 'a subscription was paused');
    return {};
  }
}
