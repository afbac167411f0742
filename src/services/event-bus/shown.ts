/** One event on its way out: as CloudEvents 1.0, put into words once for each view of it however many hear it. */
import type { EventType, LogEvent } from '../../events/catalog.ts';
import { idOf, targets } from '../../projections/audit-log.ts';
import type { CloudEvent } from '../../protocol.ts';
import { dataOf, partyNodesOf, type ViewName } from './visible.ts';

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

export class Shown {
  readonly event: LogEvent;
  readonly #federationId: string;
  /** Whose it is, as `meta.actor` names them; at most two. */
  readonly parties: readonly string[];
  readonly #views = new Map<ViewName, View>();

  /** `owner`: who handed in the task, whose subscription it is. */
  constructor(event: LogEvent, federationId: string, owner: string | undefined) {
    this.event = event;
    this.#federationId = federationId;
    this.parties = owner === undefined ? [] : [owner, ...partyNodesOf(event)];
  }

  get type(): EventType {
    return this.event.type;
  }

  get position(): number {
    return this.event.position;
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
  return (targets[event.type] as (event: LogEvent) => string)(event); // the one of this very type
}
