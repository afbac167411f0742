/**
 * Lets go of what is kept for a time only: segments of readings, once old and below every checkpoint, rolled up by the hour
 * first; records of commands after seven days. One replica does it, by lease; each step can be done again after a crash.
 */
import { type RolledUp, rollUp, segment, segmentStream } from './commands/segment.ts';
import { decode } from './events/catalog.ts';
import type { HealthHour } from './events/health.ts';
import type { HeartbeatHour } from './events/heartbeat.ts';
import { foldHealth, foldHeartbeat, hourOf } from './events/hours.ts';
import type { EventLog, Segment } from './events/log.ts';
import { MerkleTree } from './events/merkle.ts';
import type { Hub } from './hub.ts';
import { type Cancel, isoTime } from './kernel.ts';
import type { Lease } from './lease.ts';

const lookEveryMs = 60_000;
const dayMs = 86_400_000;
const commandDays = 7;
const pageEvents = 2_000;

/** What it needs of the hub. */
type Ground = Pick<Hub, 'log' | 'views' | 'kernel' | 'executor' | 'config'> & { readonly doors?: Hub['doors'] };

export class Retention {
  readonly #hub: Ground;
  readonly #lease: Lease;
  readonly #cancel: Cancel;
  #running: Promise<void> | undefined;

  constructor(hub: Ground, lease: Lease) {
    this.#hub = hub;
    this.#lease = lease;
    this.#cancel = hub.kernel.every(lookEveryMs, () => {
      this.#running ??= this.run().finally(() => {
        this.#running = undefined;
      });
    });
  }

  /** Does once what is due. Does nothing without the lease. */
  async run(): Promise<void> {
    const { log, kernel } = this.#hub;
    if (!this.#lease.held() || this.#hub.doors?.load.find()?.level === 'core') return; // another minute
    try {
      await log.forgetCommands(isoTime(kernel.now() - commandDays * dayMs));
      for (const due of await log.segments()) {
        if (!this.#lease.held() || !due.closed || !(await this.#old(due))) return;
        await this.#drop(due);
      }
    } catch (error) {
      kernel.log.warn({ err: error }, 'readings could not be let go; it is tried again');
    }
  }

  async close(): Promise<void> {
    this.#cancel();
    await this.#running;
    await this.#lease.release();
  }

  /** Old enough by its last event, and read by every view. */
  async #old({ from, to }: Segment): Promise<boolean> {
    const { log, views, kernel, config } = this.#hub;
    const after = await log.readAll(to, 1);
    const next = after.events[0];
    const first = next ?? (await log.readSegment(from, from - 1, 1))[0];
    if (!first || kernel.now() - Date.parse(first.time) < config.heartbeatDays * dayMs) return false;
    const { position, rebuild } = await views.state();
    return position >= to && rebuild === null;
  }

  async #drop(due: Segment): Promise<void> {
    const { log, executor, kernel } = this.#hub;
    const rolled = await fold(log, due);
    const done = await executor.execute(segmentStream(due.from), segment, rollUp, rolled, { actor: 'hub' });
    await log.dropSegment(due.from);
    kernel.log.info(
      { from: due.from, to: due.to, events: rolled.count, done },
      'a segment of readings was rolled up and dropped',
    );
  }
}

/** Everything that stays of a segment. */
async function fold(log: EventLog, { from, to }: Segment): Promise<RolledUp> {
  const heartbeats = new Map<string, HeartbeatHour>();
  const health = new Map<string, HealthHour>();
  const tree = new MerkleTree();
  let count = 0;
  for (let after = from - 1; ; ) {
    const page = await log.readSegment(from, after, pageEvents);
    for (const recorded of page) {
      const { position, stream, id, type, version, time, data, meta } = recorded;
      tree.add(Buffer.from(JSON.stringify([position, stream, id, type, version, time, data, meta])));
      const event = decode(recorded);
      const hour = hourOf(event.time);
      if (event.type === 'heartbeat.received') {
        const key = `${event.data.node_id}/${hour}`;
        heartbeats.set(key, foldHeartbeat(heartbeats.get(key), event, from));
      } else if (event.type === 'health.measured') {
        health.set(hour, foldHealth(health.get(hour), event.data, from, hour));
      }
    }
    count += page.length;
    after = page.at(-1)?.position ?? to;
    if (page.length < pageEvents) break;
  }
  return {
    from,
    to,
    count,
    root: tree.root().toString('hex'),
    heartbeats: [...heartbeats.values()],
    health: [...health.values()],
  };
}
