/** One event on its way out: as CloudEvents 1.0, put into words once for each view of it however many hear it. */
import type { EventType, LogEvent } from '../../events/catalog.ts';
import { idOf, targets } from '../../projections/audit-log.ts';
import type { CloudEvent } from '../../protocol.ts';
import { dataOf, type ViewName } from './visible.ts';

/** An event as those see it who may see this much of it. */
export class View {
  readonly event: CloudEvent;
  #json: string | undefined;
  #frame: Buffer | undefined;

  constructor(event: CloudEvent) {
    this.event = event;
  }

  get json(): string {
    this.#json ??= JSON.stringify(this.event);
    return this.#json;
  }

  /** As an event of `text/event-stream`; JSON holds no line ends. */
  get frame(): Buffer {
    this.#frame ??= Buffer.from(`id: ${this.event.position}\nevent: ${this.event.type}\ndata: ${this.json}\n\n`);
    return this.#frame;
  }
}

/** One whose event it is. */
export interface Party {
  /** As `meta.actor` names it. */
  readonly actor: string;
  /** Where it became a party. Who took the name later is none. */
  readonly position: number;
}

/** Since which position somebody is known by a name; infinite for one that is not there. */
export type SinceOf = (actor: string) => number;

export class Shown {
  readonly event: LogEvent;
  readonly #federationId: string;
  /** Whose it is; at most two, the owner first: who handed in the task, whose subscription it is. */
  readonly parties: readonly Party[];
  readonly #sinceOf: SinceOf;
  readonly #views = new Map<ViewName, View>();

  constructor(event: LogEvent, federationId: string, parties: readonly Party[], sinceOf: SinceOf) {
    this.event = event;
    this.#federationId = federationId;
    this.parties = parties;
    this.#sinceOf = sinceOf;
  }

  get type(): EventType {
    return this.event.type;
  }

  get position(): number {
    return this.event.position;
  }

  /** Whether it is an event of whoever has this name now. */
  isOf(actor: string): boolean {
    return this.parties.some((party) => party.actor === actor && this.#sinceOf(actor) < party.position);
  }

  view(name: ViewName): View {
    let view = this.#views.get(name);
    if (!view) {
      view = new View(cloudEvent(this.event, this.#federationId, dataOf(this.event, name)));
      this.#views.set(name, view);
    }
    return view;
  }
}

function cloudEvent(event: LogEvent, federationId: string, data: object): CloudEvent {
  const { id, type, time, position, meta } = event;
  const subject = subjectOf(event);
  return {
    specversion: '1.0',
    id,
    source: `/federations/${federationId}`,
    type,
    ...(subject !== '' && { subject }),
    time,
    datacontenttype: 'application/json',
    sequence: idOf(position),
    position,
    ...(meta.traceparent && { traceparent: meta.traceparent }),
    data,
  };
}

/** What it is about, as the audit log says. */
function subjectOf(event: LogEvent): string {
  if (event.type === 'heartbeat.received') return event.data.node_id;
  if (event.type === 'health.measured') return event.stream;
  if (event.type === 'messages.counted') return event.data.from;
  return (targets[event.type] as (event: LogEvent) => string)(event); // the one of this very type
}
