/**
 * Starts the services in the order of the manifest, keeps trying those that may fail, and stops all in reverse.
 *
 * A stop during a start waits for that start; a second stop waits for the first; a service whose stop fails is reported and
 * does not keep the others from stopping.
 */
import type { Hub } from './hub.ts';
import type { Cancel, Logger } from './kernel.ts';
import type { AnyService, Running, Tier } from './services/service.ts';

export type ServiceState = 'starting' | 'running' | 'failed' | 'stopped';

export interface ServiceStatus {
  readonly name: string;
  readonly tier: Tier;
  readonly purpose: string;
  readonly state: ServiceState;
  /** Why it failed, in words fit for strangers. */
  readonly reason?: string;
}

interface Entry {
  readonly service: AnyService;
  state: ServiceState;
  running?: Running<unknown>;
  reason?: string;
  attempts: number;
  retry?: Cancel;
}

const firstRetryMs = 500;
const longestRetryMs = 30_000;

export class Lifecycle {
  readonly #hub: Hub;
  readonly #log: Logger;
  readonly #entries: readonly Entry[];
  #retrying: Promise<void> = Promise.resolve();
  #stopping: Promise<void> | undefined;

  constructor(hub: Hub, manifest: readonly AnyService[]) {
    this.#hub = hub;
    this.#log = hub.kernel.log;
    this.#entries = manifest.map((service) => ({ service, state: 'stopped', attempts: 0 }));
    checkOrder(manifest);
  }

  /** Starts all. Throws when a P0 service fails, after stopping what had started. */
  async start(): Promise<void> {
    for (const entry of this.#entries) {
      await this.#start(entry);
      if (entry.state === 'failed' && entry.service.tier === 'P0') {
        await this.stop();
        throw new Error(`${entry.service.name} is needed and did not start: ${entry.reason}`);
      }
    }
  }

  status(): ServiceStatus[] {
    return this.#entries.map(({ service: { name, tier, purpose }, state, reason }) => ({
      name,
      tier,
      purpose,
      state,
      ...(reason !== undefined && { reason }),
    }));
  }

  /** True while a service that should run does not. */
  get degraded(): boolean {
    return this.#entries.some((entry) => entry.state !== 'running');
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  async #start(entry: Entry): Promise<void> {
    const { service } = entry;
    entry.state = 'starting';
    entry.attempts++;
    try {
      entry.running = await service.start(this.#hub, this.#apis(service));
      entry.state = 'running';
      delete entry.reason;
    } catch (error) {
      entry.state = 'failed';
      entry.reason = error instanceof Error ? error.message : String(error);
      const fields = { err: error, service: service.name, tier: service.tier };
      if (service.tier === 'P0' || service.tier === 'P1') this.#log.error(fields, 'service did not start');
      else this.#log.warn(fields, 'service did not start');
      if (service.tier !== 'P0') this.#tryAgain(entry);
    }
  }

  #tryAgain(entry: Entry): void {
    if (this.#stopping) return;
    const wait = Math.min(longestRetryMs, firstRetryMs * 2 ** (entry.attempts - 1));
    entry.retry = this.#hub.kernel.after(wait * (0.5 + this.#hub.kernel.random() / 2), () => {
      this.#retrying = this.#retrying.then(() => (this.#stopping ? undefined : this.#heal(entry)));
    });
  }

  #heal(entry: Entry): Promise<void> {
    this.#hub.metrics.healRequested(entry.service.name);
    return this.#start(entry);
  }

  #apis(service: AnyService): Record<string, unknown> {
    const apis: Record<string, unknown> = {};
    for (const [key, needed] of Object.entries(service.needs)) {
      const running = this.#entries.find((entry) => entry.service.name === needed.name)?.running;
      if (!running) throw new Error(`it needs ${needed.name}, which is not running`);
      apis[key] = running.api;
    }
    return apis;
  }

  async #stopAll(): Promise<void> {
    for (const entry of this.#entries) entry.retry?.();
    await this.#retrying;
    for (const entry of [...this.#entries].reverse()) {
      try {
        await entry.running?.stop();
      } catch (error) {
        this.#log.error({ err: error, service: entry.service.name }, 'service did not stop cleanly');
      }
      delete entry.running;
      entry.state = 'stopped';
    }
  }
}

/** A service may need only those above it. Throws (a defect) otherwise. */
function checkOrder(manifest: readonly AnyService[]): void {
  const above = new Set<string>();
  for (const { name, needs } of manifest) {
    for (const needed of Object.values(needs)) {
      if (!above.has(needed.name)) throw new TypeError(`${name} needs ${needed.name}, which is not above it`);
    }
    above.add(name);
  }
}
