/** Recorded events made ready to be shown: read, and, where it matters, with the name of whose they are. */
import { LRUCache } from 'lru-cache';
import type { LogEvent } from '../../events/catalog.ts';
import { decode, NewerEvent } from '../../events/decode.ts';
import type { Recorded } from '../../events/log.ts';
import type { Hub } from '../../hub.ts';
import { Shown } from './shown.ts';
import { hasParties } from './visible.ts';

/** Tasks and subscriptions whose owners are remembered; of others the first event of their stream is read again. */
const rememberedOwners = 50_000;
/** Streams read side by side. */
const readTogether = 50;

export class Facts {
  readonly #hub: Pick<Hub, 'log' | 'kernel' | 'federationId'>;
  readonly #owners = new LRUCache<string, string>({ max: rememberedOwners });

  constructor(hub: Pick<Hub, 'log' | 'kernel' | 'federationId'>) {
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
    if (unknown.size > 0) await this.#look([...unknown]);
    return events.map((event) => {
      const owner = hasParties(event.type) ? this.#owners.get(event.stream) : undefined;
      return new Shown(event, this.#hub.federationId, owner);
    });
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
  async #look(streams: readonly string[]): Promise<void> {
    for (let at = 0; at < streams.length; at += readTogether) {
      const some = streams.slice(at, at + readTogether);
      await Promise.all(
        some.map(async (stream) => {
          const [first] = await this.#hub.log.readStream(stream, 0, 1);
          const event = first && this.#read(first);
          const owner = event && ownerIn(event);
          if (owner !== undefined) this.#owners.set(stream, owner);
        }),
      );
    }
  }
}

function ownerIn(event: LogEvent): string | undefined {
  if (event.type === 'task.submitted') return event.data.submitter;
  return event.type === 'subscription.created' ? event.data.owner : undefined;
}
