/**
 * Sees to it that mail is handed over the moment its node is back, on whichever replica. The replica that the node comes to begins at once;
 * besides, a job is owed for each node that has mail and a socket, in case that replica did not notice, or failed: whichever replica does the
 * job tells the one that has the socket.
 */
import type { LogEvent } from '../../events/catalog.ts';
import type { Hub } from '../../hub.ts';
import type { JobQueue, Jobs } from '../../jobs.ts';
import type { Cancel } from '../../kernel.ts';
import type { Lease } from '../../lease.ts';
import type { SessionRow } from '../../projections/sessions.ts';
import type { Cluster } from '../websocket-pool.ts';
import type { Mailroom } from './mailroom.ts';

const concurrency = 32;
/** Tries at 1, 2, 4 … s; then the sweep sees to it. */
const attempts = 6;
const backoff = { type: 'exponential', delay: 1_000 };
const sweepEveryMs = 30_000;
const batch = 500;
const answerMs = 2_000;
const topic = 'mail';

interface Drain {
  readonly node: string;
}

export class Drains {
  readonly #hub: Hub;
  readonly #room: Mailroom;
  readonly #lease: Lease;
  readonly #cluster: Cluster;
  readonly #kick: (nodeId: string) => boolean;
  readonly #stops: Cancel[];
  #queue: JobQueue | undefined;

  /** `kick`: hands over to a node whose socket is here; false when it is not. */
  constructor(hub: Hub, room: Mailroom, lease: Lease, cluster: Cluster, kick: (nodeId: string) => boolean) {
    this.#hub = hub;
    this.#room = room;
    this.#lease = lease;
    this.#cluster = cluster;
    this.#kick = kick;
    this.#stops = [
      lease.onChange(() => void this.#sweep()),
      hub.kernel.every(sweepEveryMs, () => void this.#sweep()),
      cluster.handle(topic, (word) => {
        const { node } = word as Drain; // as #drain below says it
        return kick(node) ? Promise.resolve({}) : undefined;
      }),
    ];
  }

  /** Every replica does the jobs. */
  use(jobs: Jobs): void {
    this.#queue = jobs.queue('mail');
    jobs.worker<Drain>('mail', ({ data }) => this.#drain(data.node), { concurrency });
    this.#stops.push(jobs.onDoubt(() => void this.#sweep()));
    void this.#sweep();
  }

  /** A node came back. Its job has the name of its session, so that whoever adds it adds the same one. */
  opened({ data: { node_id, transport, session_id } }: LogEvent<'session.opened'>): void {
    if (transport !== 'socket' || !this.#lease.held() || this.#room.box(node_id).size === 0) return;
    this.#queue?.addBulk([jobOf(node_id, session_id)]).catch(() => {}); // the sweep adds it
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  async #drain(nodeId: string): Promise<void> {
    const session = this.#session(nodeId);
    if (!session || this.#room.box(nodeId).size === 0 || this.#kick(nodeId)) return;
    const answer = await this.#cluster.ask(session.replica, topic, { node: nodeId } satisfies Drain, answerMs);
    if (typeof answer === 'object' && answer !== null && 'refused' in answer && this.#session(nodeId))
      throw new Error(`the replica that has the socket of ${nodeId} does not answer`);
  }

  /** Its live socket, wherever it is. */
  #session(nodeId: string): SessionRow | undefined {
    const row = this.#hub.live.sessions.get(`${nodeId}/socket`);
    return row?.status === 'open' ? row : undefined;
  }

  /** Holds the mail against the jobs. */
  async #sweep(): Promise<void> {
    if (!this.#lease.held() || !this.#queue) return;
    const owed = [...this.#room.waiting()].flatMap(([nodeId]) => {
      const session = this.#session(nodeId);
      return session ? [jobOf(nodeId, session.session_id)] : [];
    });
    try {
      for (let at = 0; at < owed.length; at += batch) await this.#queue.addBulk(owed.slice(at, at + batch));
    } catch (error) {
      this.#hub.kernel.log.debug({ err: error }, 'jobs for mail were not added; the next sweep tries again');
    }
  }
}

function jobOf(node: string, sessionId: string): Parameters<JobQueue['addBulk']>[0][number] {
  const opts = { jobId: `${node}.${sessionId}`, attempts, backoff, removeOnFail: true };
  return { name: 'drain', data: { node } satisfies Drain, opts };
}
