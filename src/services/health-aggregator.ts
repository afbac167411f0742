/** Collects what nodes say of their health: a summary of the federation, alerts by thresholds, a history of both. */
import { alert, alertStream, levelAt, observe, thresholds } from '../commands/alert.ts';
import { federation, federationStream } from '../commands/governance.ts';
import { healthStream, measure } from '../commands/health.ts';
import { heartbeatStream } from '../commands/node.ts';
import { decode } from '../events/catalog.ts';
import type { AlertMeasure } from '../events/health.ts';
import type { Reading } from '../events/heartbeat.ts';
import type { Page, Recorded, Subscription } from '../events/log.ts';
import type { Hub } from '../hub.ts';
import type { Cancel } from '../kernel.ts';
import type { Lease } from '../lease.ts';
import { HealthSummary, readingOf, summarize } from './health-aggregator/summary.ts';
import { nodeRegistry } from './node-registry.ts';
import { service } from './service.ts';

export { HealthSummary };

export interface HealthAggregator {
  /** The federation now, as this replica knows it. */
  summary(): HealthSummary;
  /** The newest heartbeat of a member that this replica read; undefined when there was none. */
  reading(nodeId: string): Reading | undefined;
}

const measureEveryMs = 60_000;
/** Heartbeats are looked at this often: at thousands a second, most are outdated before they matter. */
const readEveryMs = 100;

export const healthAggregator = service({
  name: 'health-aggregator',
  purpose: 'Health of all nodes: a federation-wide summary, alerts and their history',
  needs: { registry: nodeRegistry },
  async start(hub) {
    const lease = hub.leases.acquire('health-aggregator');
    const aggregator = new Aggregator(hub, lease, await hub.log.head());
    return {
      api: aggregator as HealthAggregator,
      async stop() {
        await aggregator.close();
        await lease.release();
      },
    };
  },
});

class Aggregator implements HealthAggregator {
  readonly #hub: Hub;
  readonly #lease: Lease;
  /** The newest reading of each member that sent one. */
  readonly #readings = new Map<string, Reading>();
  /** The newest heartbeat of each node that was not looked at yet. */
  readonly #unread = new Map<string, Recorded>();
  readonly #observing = new Set<string>();
  readonly #heartbeats: Subscription;
  readonly #cancels: Cancel[];

  constructor(hub: Hub, lease: Lease, head: number) {
    this.#hub = hub;
    this.#lease = lease;
    for (const { node_id, reading } of hub.live.nodes.values()) if (reading) this.#readings.set(node_id, reading);
    this.#heartbeats = hub.log.subscribe(head, (page) => this.#listen(page), { types: ['heartbeat.received'] });
    this.#cancels = [
      hub.live.nodes.onChange((nodeId, row) => {
        if (!row) this.#readings.delete(nodeId);
        if (!row || row.status === 'offline') void this.#closeAlerts(nodeId);
      }),
      hub.kernel.every(readEveryMs, () => this.#read()),
      hub.kernel.every(measureEveryMs, () => void this.#measure()),
    ];
  }

  summary(): HealthSummary {
    this.#read();
    const { live } = this.#hub;
    return summarize(live.nodes.values(), this.#readings, live.alerts.values());
  }

  reading(nodeId: string): Reading | undefined {
    return this.#readings.get(nodeId); // at most a moment old: they are looked at ten times a second
  }

  async close(): Promise<void> {
    for (const cancel of this.#cancels) cancel();
    await this.#heartbeats.close();
  }

  /** Of the heartbeats of a moment only the last of each node counts. */
  #listen({ events }: Page): void {
    for (const recorded of events) this.#unread.set(recorded.stream.slice(heartbeatStream('').length), recorded);
  }

  #read(): void {
    for (const [nodeId, recorded] of this.#unread) {
      const event = decode(recorded);
      if (event.type !== 'heartbeat.received' || !this.#hub.live.nodes.get(nodeId)) continue;
      const { node_id: _, ...reading } = event.data;
      this.#readings.set(nodeId, reading);
      void this.#observe(nodeId, reading);
    }
    this.#unread.clear();
  }

  /** Asks for a decision only when a level would change, and once at a time a node. */
  async #observe(nodeId: string, { resources }: Reading): Promise<void> {
    if (!resources || !this.#lease.held() || this.#observing.has(nodeId)) return;
    const crossed = (Object.keys(thresholds) as AlertMeasure[]).some((name) => {
      const percent = resources[`${name}_percent`];
      const open = this.#hub.live.alerts.get(`${nodeId}/${name}`);
      const level = open?.status === 'open' ? open.level : undefined;
      return percent !== undefined && levelAt(name, percent, level) !== level;
    });
    if (crossed) await this.#decide(nodeId, { nodeId, resources });
  }

  /** Nothing is known of a node that is away, so nothing is alarming about it but that. */
  async #closeAlerts(nodeId: string): Promise<void> {
    if (!this.#lease.held()) return;
    const open = (Object.keys(thresholds) as AlertMeasure[]).some(
      (name) => this.#hub.live.alerts.get(`${nodeId}/${name}`)?.status === 'open',
    );
    if (open) await this.#decide(nodeId, { nodeId, gone: true });
  }

  async #decide(nodeId: string, command: Parameters<typeof observe>[1]): Promise<void> {
    const { executor, kernel } = this.#hub;
    this.#observing.add(nodeId);
    try {
      await executor.execute(alertStream(nodeId), alert, observe, command, { actor: 'hub' });
    } catch (error) {
      kernel.log.warn({ err: error, nodeId }, 'an alert was not written; the next heartbeat decides again');
    } finally {
      this.#observing.delete(nodeId);
    }
  }

  async #measure(): Promise<void> {
    if (!this.#lease.held()) return;
    const { executor, kernel } = this.#hub;
    await executor
      .record(federationStream, federation, measure, readingOf(this.summary()), healthStream, { actor: 'hub' })
      .catch((error: unknown) => kernel.log.warn({ err: error }, 'the health of the federation was not written'));
  }
}
