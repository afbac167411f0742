/**
 * Every event type the hub knows with its schema, and the way into the log: `encode`. The way out is decode.ts.
 *
 * Events evolve by addition. A change of meaning is a new type; a change of shape raises its version
 * (decode.ts) and adds an upcast (upcasts.ts). What is encoded is checked against its schema; what is decoded was checked when it was written.
 */
import type { TSchema, Type } from 'typebox';
import { Compile, type Validator } from 'typebox/compile';
import { accessEvents } from './access.ts';
import { admissionEvents } from './admission.ts';
import { auditEvents } from './audit.ts';
import { channelEvents } from './channel.ts';
import { circuitEvents } from './circuit.ts';
import { versions } from './decode.ts';
import { degradationEvents } from './degradation.ts';
import { entityEvents } from './entity.ts';
import { federationEvents } from './federation.ts';
import { fileEvents } from './file.ts';
import { healthEvents } from './health.ts';
import { heartbeatEvents } from './heartbeat.ts';
import { keyEvents } from './key.ts';
import { keyringEvents } from './keyring.ts';
import { knowledgeEvents } from './knowledge.ts';
import { limitEvents } from './limits.ts';
import type { NewEvent } from './log.ts';
import { memoryEvents } from './memory.ts';
import { messageEvents } from './message.ts';
import { modelEvents } from './model.ts';
import { nodeEvents } from './node.ts';
import { operatorTokenEvents } from './operator-token.ts';
import { p2pEvents } from './p2p.ts';
import { secretEvents } from './secret.ts';
import { segmentEvents } from './segment.ts';
import { sessionEvents } from './session.ts';
import { sovereigntyEvents } from './sovereignty.ts';
import { subscriptionEvents } from './subscription.ts';
import { taskEvents } from './task.ts';
import { checkUpcasts } from './upcasts.ts';
import { viewsEvents } from './views.ts';

export { decode } from './decode.ts';
export { streamClass } from './stream-class.ts';

export const catalog = {
  ...federationEvents,
  ...nodeEvents,
  ...keyEvents,
  ...sessionEvents,
  ...operatorTokenEvents,
  ...admissionEvents,
  ...accessEvents,
  ...entityEvents,
  ...limitEvents,
  ...degradationEvents,
  ...taskEvents,
  ...modelEvents,
  ...circuitEvents,
  ...subscriptionEvents,
  ...channelEvents,
  ...messageEvents,
  ...p2pEvents,
  ...fileEvents,
  ...memoryEvents,
  ...sovereigntyEvents,
  ...knowledgeEvents,
  ...secretEvents,
  ...auditEvents,
  ...keyringEvents,
  ...heartbeatEvents,
  ...healthEvents,
  ...segmentEvents,
  ...viewsEvents,
} as const;

export type EventType = keyof typeof catalog;
/** Worked out once for each type, so that the compiler need not where a type is only a parameter. */
type DataOf = { readonly [T in EventType]: Type.Static<(typeof catalog)[T]['data']> };
export type EventData<T extends EventType> = DataOf[T];

/** An event as a decision makes it: what happened, without where and when it lies. */
export type DomainEvent = { [T in EventType]: { readonly type: T; readonly data: EventData<T> } }[EventType];

/** Why and by whom. Times are ISO 8601 UTC, ids UUID, `traceparent` as in W3C Trace Context. */
export interface Meta {
  /** `node:<id>`, `operator:<prefix>`, `hub` or `anonymous`. */
  readonly actor: string;
  /** Where the actor came from, as the door saw it; absent for what the hub did by itself. */
  readonly address?: string;
  readonly correlation: string;
  /** Id of the event or command that caused this one. */
  readonly causation?: string;
  readonly traceparent?: string;
  readonly replica: string;
}

/** An event out of the log, with its data and meta read. */
export type LogEvent<T extends EventType = EventType> = {
  [K in T]: {
    readonly type: K;
    readonly data: EventData<K>;
    readonly position: number;
    readonly stream: string;
    readonly revision: number;
    readonly id: string;
    /** ISO 8601 UTC. */
    readonly time: string;
    readonly meta: Meta;
  };
}[T];

/** Types that lie in kept streams: what in-memory views and cached states follow. */
export const keptTypes: readonly EventType[] = typesWhere((type) => catalog[type].class === 'kept');
export const transientTypes: readonly EventType[] = typesWhere((type) => catalog[type].class === 'transient');

const validators = new Map<EventType, Validator>();

/** Checks at boot that every old shape of every event can still be read. Throws (a defect) otherwise. */
export function checkCatalog(): void {
  checkUpcasts(Object.entries(versions), (type, data) => validatorOf(type as EventType).Check(data)); // the names are the catalogue's own
}

/** Turns a decided event into text for the log. Throws (a defect) when it does not fit its own schema. */
export function encode(event: DomainEvent, about: { id: string; time: string; meta: string }): NewEvent {
  const validator = validatorOf(event.type);
  if (!validator.Check(event.data)) {
    const [first] = validator.Errors(event.data);
    throw new TypeError(`${event.type} does not fit its schema: ${first?.instancePath} ${first?.message}`);
  }
  return {
    id: about.id,
    type: event.type,
    version: versions[event.type],
    time: about.time,
    data: JSON.stringify(event.data),
    meta: about.meta,
  };
}

function validatorOf(type: EventType): Validator {
  let validator = validators.get(type);
  if (!validator) {
    validator = Compile(catalog[type].data as TSchema);
    validators.set(type, validator);
  }
  return validator;
}

function typesWhere(wanted: (type: EventType) => boolean): EventType[] {
  return (Object.keys(catalog) as EventType[]).filter(wanted);
}
