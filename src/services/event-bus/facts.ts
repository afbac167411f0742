/** Recorded events made ready to be shown: read, and, where it matters, with those whose they are. */
import { LRUCache } from 'lru-cache';
import type { LogEvent } from '../../events/catalog.ts';
import { decode, NewerEvent } from '../../events/decode.ts';
import type { Recorded } from '../../events/log.ts';
import type { Hub } from '../../hub.ts';
import { type Party, Shown } from './shown.ts';
import { hasParties, workerIn } from './visible.ts';

/** Tasks and subscriptions whose owners are remembered; of others the first event of their stream is read again. */
const rememberedOwners = 50_000;
/** Assignments whose positions are remembered. */
const rememberedWork = 50_000;
/** Streams read side by side. */
const readTogether = 50;
const pageEvents = 500;
/** A cache bounded by size grows as it is filled; one bounded by `max` makes room for all when the hub starts. */
const one = () => 1;

export class Facts {
  readonly #hub: Pick<Hub, 'log' | 'kernel' | 'live' | 'federationId'>;
  /** By stream. */
  readonly #owners = new LRUCache<string, Party>({ maxSize: rememberedOwners, sizeCalculation: one });
  /** Positions of assignments, by stream and lease. */
  readonly #work = new LRUCache<string, number>({ maxSize: rememberedWork, sizeCalculation: one });

  constructor(hub: Pick<Hub, 'log' | 'kernel' | 'live' | 'federationId'>) {
    this.#hub = hub;
  }

  /**
   * In the order given. One that cannot be read is left out, and told of in the process log. Throws `NewerEvent`, which none but a
   * newer hub can show, and a `Fault` when the log fails.
   */
  async show(page: readonly Recorded[]): Promise<Shown[]> {
    const events = page.map((recorded) => this.#read(recorded)).filter((event) => event !== undefined);
    const unknown = new Set<string>();
    for (const event of events) {
      if (!hasParties(event.type)) continue;
      const owner = ownerIn(event);
      if (owner !== undefined) this.#owners.set(event.stream, owner);
      else if (!this.#owners.has(event.stream)) unknown.add(event.stream);
    }
    await eachOf([...unknown], (stream) => this.#findOwner(stream));
    await this.#findWork(events);
    const { federationId } = this.#hub;
    const sinceOf = (actor: string) => this.#sinceOf(actor);
    return events.map((event) => new Shown(event, federationId, this.#partiesOf(event), sinceOf));
  }

  /** A token of an operator has a name that nobody else gets. */
  #sinceOf(actor: string): number {
    if (!actor.startsWith('node:')) return Number.NEGATIVE_INFINITY;
    return this.#hub.live.nodes.get(actor.slice('node:'.length))?.registered_position ?? Number.POSITIVE_INFINITY;
  }

  #partiesOf(event: LogEvent): readonly Party[] {
    const owner = hasParties(event.type) ? this.#owners.get(event.stream) : undefined;
    if (!owner) return [];
    const worker = workerIn(event);
    if (!worker) return [owner];
    const actor = `node:${worker.nodeId}`;
    // A member that is older than the task is the one that it was given to, whenever that was.
    const known = this.#sinceOf(actor) < owner.position ? owner.position : this.#work.get(workKey(event, worker));
    return known === undefined ? [owner] : [owner, { actor, position: known }];
  }

  #read(recorded: Recorded): LogEvent | undefined {
    try {
      return decode(recorded);
    } catch (error) {
      if (error instanceof NewerEvent) throw error;
      this.#hub.kernel.log.error(
        { err: error, position: recorded.position },
        'an event that cannot be read is told to nobody',
      );
      return undefined;
    }
  }

  /** The first event of a stream says whose it is. */
  async #findOwner(stream: string): Promise<void> {
    const [first] = await this.#hub.log.readStream(stream, 0, 1);
    const event = first && this.#read(first);
    const owner = event && ownerIn(event);
    if (owner !== undefined) this.#owners.set(stream, owner);
  }

  /** When tasks were given to members that are younger than they: such a one, or one that had its name before. */
  async #findWork(events: readonly LogEvent[]): Promise<void> {
    const unknown = new Set<string>();
    for (const event of events) {
      const worker = workerIn(event);
      if (!worker) continue;
      if (event.type === 'task.assigned') this.#work.set(workKey(event, worker), event.position);
      const since = this.#sinceOf(`node:${worker.nodeId}`);
      const { position: submittedAt = 0 } = this.#owners.get(event.stream) ?? {};
      const inDoubt = submittedAt < since && since < event.position;
      if (inDoubt && !this.#work.has(workKey(event, worker))) unknown.add(event.stream);
    }
    await eachOf([...unknown], async (stream) => {
      for (let from = 0; ; from += pageEvents) {
        const page = await this.#hub.log.readStream(stream, from, pageEvents);
        for (const recorded of page) {
          const event = recorded.type === 'task.assigned' ? this.#read(recorded) : undefined;
          const worker = event && workerIn(event);
          if (worker) this.#work.set(workKey(event, worker), event.position);
        }
        if (page.length < pageEvents) return;
      }
    });
  }
}

async function eachOf(streams: readonly string[], find: (stream: string) => Promise<void>): Promise<void> {
  for (let at = 0; at < streams.length; at += readTogether) {
    await Promise.all(streams.slice(at, at + readTogether).map(find));
  }
}

function workKey({ stream }: LogEvent, { lease }: { readonly lease: number }): string {
  return `${stream} ${lease}`;
}

function ownerIn({ type, data, position }: LogEvent): Party | undefined {
  if (type === 'task.submitted') return { actor: data.submitter, position };
  return type === 'subscription.created' ? { actor: data.owner, position } : undefined;
}
