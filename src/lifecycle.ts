/**
 * Starts the services in the order of the manifest, starts anew what fails, and stops all in reverse.
 *
 * What changes does so one thing after another. A service that fails takes those with it that need it, and nothing else; each is
 * tried again, with growing pauses, and those that want it are started anew without it. A P0 service that fails ends the hub.
 * A stop waits for what is under way, but for no start; a second stop waits for the first; a service whose stop fails or hangs is
 * reported and does not keep the others from stopping.
 */
import type { Hub } from './hub.ts';
import type { Cancel, Logger } from './kernel.ts';
import type { AnyService, Running, Standing } from './services/service.ts';
import type { Tier } from './tiers.ts';

export type ServiceState = 'starting' | 'running' | 'degraded' | 'failed' | 'stopped';

export interface ServiceStatus {
  readonly name: string;
  readonly tier: Tier;
  readonly purpose: string;
  readonly state: ServiceState;
  /** Why it failed or does less than it should, in words fit for strangers. */
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
/** A service that ran for so long had a good start: what it fails of now is something new. */
const settledMs = 60_000;
/** A start that takes longer has failed. */
const startMs = 30_000;
/** A service that failed is given this long to let go of what it holds. */
const stopMs = 5_000;
/** Of each, when all stop: `fedhub serve` waits four and a half seconds for all of them. */
const leaveMs = 3_000;
/** Why nothing is started any more. */
const stops = 'the hub stops';

export class Lifecycle {
  readonly #hub: Hub;
  readonly #log: Logger;
  readonly #entries: readonly Entry[];
  readonly #onFatal: (error: Error) => void;
  #turn: Promise<void> = Promise.resolve();
  #stopping: Promise<void> | undefined;
  /** Ends the wait for what starts now, if something does: one at a time. */
  #abandon: (why: Error) => void = () => {};

  /** `onFatal` is called, once, when a P0 service fails after the start. */
  constructor(hub: Hub, manifest: readonly AnyService[], onFatal: (error: Error) => void = () => {}) {
    this.#hub = hub;
    this.#log = hub.kernel.log;
    this.#onFatal = onFatal;
    this.#entries = manifest.map((service) => ({ service, state: 'stopped', attempts: 0 }));
    checkOrder(manifest);
  }

  /** Starts all. Throws when a P0 service fails, after stopping what had started. */
  async start(): Promise<void> {
    const starting = this.#startAll();
    // One that failed is tried again when all had their first try, or some would be started twice.
    this.#turn = starting.then(() => {});
    const missing = await starting;
    if (!missing) return;
    await this.stop();
    throw new Error(`${missing.service.name} is needed and did not start: ${missing.reason}`);
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

  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  /** Runs when everything before it has. */
  #inTurn(change: () => Promise<void>): void {
    this.#turn = this.#turn.then(() => (this.#stopping ? undefined : change()));
  }

  /** Answers the one that did not start and without which there is no hub; those below it were not tried then. */
  async #startAll(): Promise<Entry | undefined> {
    for (const entry of this.#entries) {
      await this.#start(entry);
      if (entry.state === 'failed' && entry.service.tier === 'P0') return entry;
    }
    return undefined;
  }

  async #start(entry: Entry): Promise<void> {
    const { service } = entry;
    const missing = this.#missing(service);
    if (missing) return this.#note(entry, missing, 'service waits for another');
    entry.state = 'starting';
    entry.attempts++;
    try {
      entry.running = await this.#run(entry);
    } catch (error) {
      this.#note(entry, error instanceof Error ? error : new Error(String(error)), 'service did not start');
      if (service.tier !== 'P0') this.#tryAgain(entry);
    }
  }

  /** Starts it, and listens to what it says of itself until it is stopped. */
  async #run(entry: Entry): Promise<Running<unknown>> {
    if (this.#stopping) throw new Error(stops);
    const { kernel } = this.#hub;
    const startedAt = kernel.monotonicMs();
    let phase: 'starting' | 'running' | 'over' = 'starting';
    let failure: Error | undefined;
    let lacking: string | undefined;
    const show = () => {
      entry.state = lacking === undefined ? 'running' : 'degraded';
      if (lacking === undefined) delete entry.reason;
      else entry.reason = lacking;
    };
    const standing: Standing = {
      failed: (error) => {
        failure ??= error;
        if (phase !== 'running') return;
        phase = 'over';
        if (kernel.monotonicMs() - startedAt > settledMs) entry.attempts = 0;
        this.#fail(entry, error);
      },
      degraded: (reason) => {
        lacking = reason;
        if (phase === 'running') show();
      },
    };
    const starting = entry.service.start(this.#hub, this.#apis(entry.service), standing);
    const abandoned = new Promise<never>((_, reject) => {
      this.#abandon = reject;
    });
    const { api, stop } = await this.#inTime(startMs, Promise.race([starting, abandoned])).catch((error: unknown) => {
      void starting.then(
        (late) => this.#stopOne(entry.service.name, late),
        () => {},
      ); // nobody waits for it any more
      throw error;
    });
    if (failure) {
      await this.#stopOne(entry.service.name, { api, stop });
      throw failure;
    }
    phase = 'running';
    show();
    return {
      api,
      stop() {
        phase = 'over';
        return stop();
      },
    };
  }

  #fail(entry: Entry, error: Error): void {
    this.#note(entry, error, 'service failed');
    if (entry.service.tier === 'P0') {
      if (!this.#stopping) this.#onFatal(new Error(`${entry.service.name} is needed and failed: ${error.message}`));
      return;
    }
    this.#inTurn(async () => {
      const halted = [entry, ...this.#after(entry)];
      for (const one of halted.toReversed()) await this.#halt(one);
      for (const one of halted.slice(1)) this.#note(one, this.#missing(one.service)!, 'service halted'); // what halted it
      await this.#renew(halted);
      this.#tryAgain(entry);
    });
  }

  /** Those that need an entry, directly or not, in the order of the manifest. */
  #after(entry: Entry): Entry[] {
    const gone = new Set([entry.service.name]);
    return this.#entries.filter(({ service, running }) => {
      const needs = running && Object.values(service.needs).some(({ name }) => gone.has(name));
      if (needs) gone.add(service.name);
      return needs;
    });
  }

  async #halt(entry: Entry, ms = stopMs): Promise<void> {
    const { running } = entry;
    delete entry.running;
    if (running) await this.#stopOne(entry.service.name, running, ms);
  }

  /** Starts those anew that want one of these, which came or went; the old one serves until the new one does. */
  async #renew(changed: readonly Entry[]): Promise<void> {
    const names = new Set(changed.map(({ service }) => service.name));
    for (const entry of this.#entries) {
      const { running, service } = entry;
      if (this.#stopping) return;
      if (!running || !Object.values(service.wants ?? {}).some(({ name }) => names.has(name))) continue;
      try {
        entry.running = await this.#run(entry);
        await this.#stopOne(service.name, running);
      } catch (error) {
        this.#log.error({ err: error, service: service.name }, 'service was not started anew; it goes on as it was');
      }
    }
  }

  #note(entry: Entry, error: Error, message: string): void {
    const { name, tier } = entry.service;
    entry.state = 'failed';
    entry.reason = error.message;
    const fields = { err: error, service: name, tier };
    if (tier === 'P0' || tier === 'P1') this.#log.error(fields, message);
    else this.#log.warn(fields, message);
  }

  #tryAgain(entry: Entry): void {
    if (this.#stopping) return;
    const { kernel, metrics } = this.#hub;
    const wait = Math.min(longestRetryMs, firstRetryMs * 2 ** Math.max(0, entry.attempts - 1));
    entry.retry = kernel.after(wait * (0.5 + kernel.random() / 2), () =>
      this.#inTurn(async () => {
        delete entry.retry;
        metrics.healRequested(entry.service.name);
        await this.#start(entry);
        if (entry.running) await this.#renew([entry, ...(await this.#startWaiting())]);
      }),
    );
  }

  /** Starts those that only waited for what they need; answers which came up. */
  async #startWaiting(): Promise<Entry[]> {
    const came: Entry[] = [];
    for (const entry of this.#entries) {
      if (entry.running || entry.retry || this.#missing(entry.service)) continue;
      await this.#start(entry);
      if (entry.running) came.push(entry);
    }
    return came;
  }

  /** Why it cannot be started before another. */
  #missing({ needs }: AnyService): Error | undefined {
    const missing = Object.values(needs).find(({ name }) => !this.#running(name));
    return missing && new Error(`it needs ${missing.name}, which is not running`);
  }

  #running(name: string): Running<unknown> | undefined {
    return this.#entries.find(({ service }) => service.name === name)?.running;
  }

  /** What it needs and wants, under the names it calls them by; what it wants and does not run is undefined. */
  #apis({ needs, wants = {} }: AnyService): Record<string, unknown> {
    const others = Object.entries({ ...needs, ...wants });
    return Object.fromEntries(others.map(([key, { name }]) => [key, this.#running(name)?.api]));
  }

  async #stopAll(): Promise<void> {
    for (const entry of this.#entries) entry.retry?.();
    this.#abandon(new Error(stops));
    await this.#turn;
    for (const entry of this.#entries.toReversed()) {
      await this.#halt(entry, leaveMs);
      entry.state = 'stopped';
    }
  }

  /** It is not waited for longer than it may take: there are others. */
  async #stopOne(name: string, running: Running<unknown>, ms = stopMs): Promise<void> {
    try {
      await this.#inTime(ms, running.stop());
    } catch (error) {
      this.#log.error({ err: error, service: name }, 'service did not stop cleanly');
    }
  }

  async #inTime<T>(ms: number, work: Promise<T>): Promise<T> {
    let cancel = () => {};
    const late = new Promise<never>((_, reject) => {
      cancel = this.#hub.kernel.after(ms, () => reject(new Error(`it took longer than ${ms / 1000} s`)));
    });
    return Promise.race([work, late]).finally(cancel);
  }
}

/** A service may need and want only those above it. Throws (a defect) otherwise. */
function checkOrder(manifest: readonly AnyService[]): void {
  const above = new Set<string>();
  for (const { name, needs, wants = {} } of manifest) {
    for (const needed of [...Object.values(needs), ...Object.values(wants)]) {
      if (!above.has(needed.name)) throw new TypeError(`${name} needs ${needed.name}, which is not above it`);
    }
    above.add(name);
  }
}
