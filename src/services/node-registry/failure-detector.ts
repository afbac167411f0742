/**
 * Decides which nodes are doubted, lost and back. Every replica listens and can say how suspicious a node is; the one
 * that holds the lease writes judgements.
 *
 * It holds its judgement while it may be the one that is late: for one hard limit after it took the lease, and while the log
 * is slow to answer or it has heartbeats still to read. A node that was lost must be heard twice in rhythm to count as back, and more
 * often when it keeps coming and going.
 */
import { heartbeatStream, type Judgement, judge, node, nodeStream } from '../../commands/node.ts';
import type { Page, Subscription } from '../../events/log.ts';
import type { Hub } from '../../hub.ts';
import type { Lease } from '../../lease.ts';
import type { NodeRow } from '../../projections/nodes.ts';
import { PhiAccrual } from './phi-accrual.ts';

/** Phi at which a node is doubted, and at which it is lost without waiting for the hard limit. */
export const suspectAt = 8;
export const lostAt = 16;
const flapWindowMs = 10 * 60_000;
const mostSteady = 8;

interface Watched {
  readonly rhythm: PhiAccrual;
  /** Heartbeats in rhythm since it was lost. */
  steady: number;
  /** When it was lost lately, newest last; at most `mostSteady`. */
  lost: number[];
  judging: boolean;
}

export class FailureDetector {
  readonly #hub: Hub;
  readonly #watched = new Map<string, Watched>();
  readonly #lease: Lease;
  readonly #stops: (() => void)[] = [];
  #ledSince: number | undefined;
  #lastLook: number;
  #looking = false;
  readonly #heartbeats: Subscription;

  constructor(hub: Hub, lease: Lease, head: number) {
    const { kernel, live, log } = hub;
    this.#hub = hub;
    this.#lease = lease;
    this.#lastLook = kernel.monotonicMs();
    for (const row of live.nodes.values()) this.#watch(row.node_id);
    this.#stops.push(
      live.nodes.onChange((nodeId, row) => void (row ? this.#watch(nodeId) : this.#watched.delete(nodeId))),
      kernel.every(this.#lookEveryMs, () => void this.#look()),
    );
    this.#heartbeats = log.subscribe(head, (page) => this.#listen(page), { types: ['heartbeat.received'] });
  }

  /** Suspicion of a node now: phi, and milliseconds since it was heard by this replica. Undefined for a stranger. */
  suspicion(nodeId: string): { phi: number; silent_ms: number } | undefined {
    const watched = this.#watched.get(nodeId);
    if (!watched) return undefined;
    const now = this.#hub.kernel.monotonicMs();
    return { phi: round(watched.rhythm.phi(now)), silent_ms: Math.round(now - watched.rhythm.last) };
  }

  /** A node proved itself by other means than a heartbeat, such as opening a session. */
  heard(nodeId: string): void {
    this.#watch(nodeId).rhythm.forgive(this.#hub.kernel.monotonicMs());
  }

  async close(): Promise<void> {
    for (const stop of this.#stops) stop();
    await this.#heartbeats.close();
  }

  get #lookEveryMs(): number {
    return Math.min(1_000, this.#hub.config.heartbeatMs / 4);
  }

  #watch(nodeId: string): Watched {
    let watched = this.#watched.get(nodeId);
    if (!watched) {
      const { heartbeatMs } = this.#hub.config;
      const rhythm = new PhiAccrual(
        { intervalMs: heartbeatMs, pauseMs: 2 * heartbeatMs },
        this.#hub.kernel.monotonicMs(),
      );
      watched = { rhythm, steady: 0, lost: [], judging: false };
      this.#watched.set(nodeId, watched);
    }
    return watched;
  }

  #listen({ events }: Page): void {
    const now = this.#hub.kernel.monotonicMs();
    for (const { stream } of events) {
      const nodeId = stream.slice(heartbeatStream('').length);
      const watched = this.#watched.get(nodeId);
      if (!watched) continue;
      const inRhythm = watched.rhythm.phi(now) < suspectAt;
      watched.rhythm.heard(now);
      watched.steady = inRhythm ? watched.steady + 1 : 1;
      const row = this.#hub.live.nodes.get(nodeId);
      if (row && row.status !== 'online') void this.#welcome(row, watched);
    }
  }

  /** A node that is not online was heard: back at once from doubt, after a steady while from being lost. */
  async #welcome(row: NodeRow, watched: Watched): Promise<void> {
    const now = this.#hub.kernel.monotonicMs();
    const flaps = watched.lost.filter((at) => now - at < flapWindowMs).length;
    const wanted = row.status === 'suspect' ? 1 : Math.min(mostSteady, Math.max(2, 2 ** (flaps - 1)));
    if (watched.steady >= wanted) await this.#judge(row.node_id, watched, 'clear', 'suspicion');
  }

  /** Looks at every silence. */
  async #look(): Promise<void> {
    const { kernel, config } = this.#hub;
    const now = kernel.monotonicMs();
    const paused = now - this.#lastLook > 4 * this.#lookEveryMs;
    this.#lastLook = now;
    if (!this.#lease.held()) this.#ledSince = undefined;
    else this.#ledSince ??= now;
    // This process stood still itself: what it did not hear in that time says nothing.
    if (paused) for (const watched of this.#watched.values()) watched.rhythm.forgive(now);
    if (this.#ledSince === undefined || now - this.#ledSince < config.silenceMs * 0.99) return;
    if (paused || this.#looking) return;
    this.#looking = true;
    if (await this.#upToDate()) await this.#judgeAll();
    this.#looking = false;
  }

  async #judgeAll(): Promise<void> {
    const { kernel, config, live } = this.#hub;
    const now = kernel.monotonicMs();
    for (const [nodeId, watched] of this.#watched) {
      const row = live.nodes.get(nodeId);
      if (!row || row.status === 'offline') continue;
      const silentMs = now - watched.rhythm.last;
      const phi = watched.rhythm.phi(now);
      if (silentMs >= config.silenceMs) await this.#judge(nodeId, watched, 'lost', 'hard_limit');
      else if (phi >= lostAt) await this.#judge(nodeId, watched, 'lost', 'suspicion');
      else if (phi >= suspectAt && row.status === 'online') await this.#judge(nodeId, watched, 'suspect', 'suspicion');
    }
  }

  /** A heartbeat may lie in the log that was not read yet, and prove a silent node alive: reads up to the head first. */
  async #upToDate(): Promise<boolean> {
    const { kernel, log, readiness } = this.#hub;
    const head = await log.head().catch(() => Number.POSITIVE_INFINITY);
    const patience = kernel.monotonicMs() + 1_000;
    while (this.#heartbeats.position < head && kernel.monotonicMs() < patience) await kernel.sleep(10);
    return this.#heartbeats.position >= head && readiness.cutOffMs < 1_000;
  }

  async #judge(
    nodeId: string,
    watched: Watched,
    verdict: Judgement['verdict'],
    cause: Judgement['cause'],
  ): Promise<void> {
    if (watched.judging || !this.#lease.held()) return;
    watched.judging = true;
    try {
      const { kernel, executor } = this.#hub;
      const now = kernel.monotonicMs();
      const judgement = {
        nodeId,
        verdict,
        cause,
        phi: round(watched.rhythm.phi(now)),
        silentMs: Math.round(now - watched.rhythm.last),
      };
      await executor.execute(nodeStream(nodeId), node, judge, judgement, { actor: 'hub' });
      if (verdict === 'lost') {
        watched.lost = [...watched.lost, now].slice(-mostSteady);
        watched.steady = 0;
      }
    } catch (error) {
      this.#hub.kernel.log.warn({ err: error, nodeId, verdict }, 'a judgement could not be written; it is made again');
    } finally {
      watched.judging = false;
    }
  }
}

function round(phi: number): number {
  return Math.round(phi * 100) / 100;
}
