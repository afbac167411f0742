/** One entity: registering, changing, showing that it lives, going. */
import { isDeepStrictEqual } from 'node:util';
import { type Refusal, refuse } from '../errors.ts';
import type { DomainEvent } from '../events/catalog.ts';
import type { EntityKind, EntityProfile } from '../events/entity.ts';
import type { Aggregate, Decide } from './execute.ts';

export const entityStream = (entityId: string): string => `entity-${entityId}`;

/** That an entity was seen is written at most once in so many milliseconds. */
export const seenEveryMs = 5 * 60_000;

export type EntityState =
  | { readonly registered: false }
  | {
      readonly registered: true;
      /** The node it belongs to; null: the operators. */
      readonly owner: string | null;
      readonly kind: EntityKind;
      readonly profile: EntityProfile;
      /** When it was registered and last seen, milliseconds since 1970. */
      readonly since: number;
      readonly seen: number;
    };

export const entity: Aggregate<EntityState> = {
  initial: { registered: false },
  evolve(state, event) {
    switch (event.type) {
      case 'entity.registered': {
        const { kind, node_id: owner, profile } = event.data;
        const since = Date.parse(event.time);
        return { registered: true, owner, kind, profile, since, seen: since };
      }
      case 'entity.updated':
        return state.registered ? { ...state, profile: event.data.profile } : state;
      case 'entity.seen':
        return state.registered ? { ...state, seen: Date.parse(event.time) } : state;
      case 'entity.unregistered':
        return { registered: false };
      default:
        return state;
    }
  },
};

/** An entity as it is answered. */
export type Entity = { entity_id: string; kind: EntityKind; node_id: string | null } & EntityProfile;

/** Who asks: for which owner, and whether they govern, which lets them at what is not theirs. */
export interface Party {
  /** The node; null for an operator. */
  readonly owner: string | null;
  readonly governs: boolean;
}

export interface EntityRegistration {
  readonly entityId: string;
  readonly owner: string | null;
  readonly kind: EntityKind;
  readonly profile: EntityProfile;
}

/**
 * Registers an entity, or, for the same owner, brings it up to date: the whole profile. One of another kind is another entity,
 * which takes the place of the former. Refuses `entity_id_taken`.
 */
export const register: Decide<EntityState, EntityRegistration, Entity> = (state, command, { now }) => {
  const { entityId: entity_id, kind, owner: node_id, profile } = command;
  const reply = { ...profile, entity_id, kind, node_id };
  const registered: DomainEvent = { type: 'entity.registered', data: { entity_id, kind, node_id, profile } };
  if (!state.registered) return { events: [registered], reply };
  if (state.owner !== node_id) return refuse('entity_id_taken', `${entity_id} belongs to another owner`);
  if (state.kind !== kind) {
    return { events: [{ type: 'entity.unregistered', data: { entity_id, cause: 'owner' } }, registered], reply };
  }
  if (isDeepStrictEqual(state.profile, profile)) return { events: sight(state.seen, entity_id, now), reply };
  return { events: [{ type: 'entity.updated', data: { entity_id, profile } }], reply };
};

/** Changes the named parts of a profile, for the owner or who governs. Refuses `not_found`, `forbidden`. */
export const update: Decide<EntityState, { entityId: string; by: Party; changes: EntityProfile }, Entity> = (
  state,
  { entityId: entity_id, by, changes },
  { now },
) => {
  if (!state.registered) return unknown(entity_id);
  if (state.owner !== by.owner && !by.governs) return notTheirs(entity_id);
  const profile = { ...state.profile, ...changes };
  const reply = { ...profile, entity_id, kind: state.kind, node_id: state.owner };
  if (!isDeepStrictEqual(state.profile, profile)) {
    return { events: [{ type: 'entity.updated', data: { entity_id, profile } }], reply };
  }
  return { events: state.owner === by.owner ? sight(state.seen, entity_id, now) : [], reply };
};

/** The owner says that it lives; `recorded` is false when that was said a moment ago. Refuses `not_found`, `forbidden`. */
export const see: Decide<EntityState, { entityId: string; by: Party }, { recorded: boolean }> = (
  state,
  { entityId, by },
  { now },
) => {
  if (!state.registered) return unknown(entityId);
  if (state.owner !== by.owner) return notTheirs(entityId);
  const events = sight(state.seen, entityId, now);
  return { events, reply: { recorded: events.length > 0 } };
};

/** Ends a registration, for the owner or who governs. Refuses `not_found`, `forbidden`. */
export const unregister: Decide<EntityState, { entityId: string; by: Party }, undefined> = (
  state,
  { entityId: entity_id, by },
) => {
  if (!state.registered) return unknown(entity_id);
  const own = state.owner === by.owner;
  if (!own && !by.governs) return notTheirs(entity_id);
  const cause = own && by.owner !== null ? 'owner' : 'operator';
  return { events: [{ type: 'entity.unregistered', data: { entity_id, cause } }], reply: undefined };
};

/** One registration of an entity, of a node that is a member no more. */
export interface Orphan {
  readonly entityId: string;
  readonly owner: string;
  /** When it was registered, milliseconds since 1970: a later registration is none of theirs. */
  readonly since: number;
}

/** Ends the registration of an orphan. Doing it twice is harmless. */
export const bury: Decide<EntityState, Orphan, { gone: boolean }> = (state, { entityId: entity_id, owner, since }) =>
  state.registered && state.owner === owner && state.since === since
    ? { events: [{ type: 'entity.unregistered', data: { entity_id, cause: 'node_removed' } }], reply: { gone: true } }
    : { events: [], reply: { gone: false } };

function sight(seen: number, entity_id: string, now: number): DomainEvent[] {
  return now - seen >= seenEveryMs ? [{ type: 'entity.seen', data: { entity_id } }] : [];
}

function unknown(entityId: string): Refusal {
  return refuse('not_found', `there is no entity ${entityId}`);
}

function notTheirs(entityId: string): Refusal {
  return refuse('forbidden', `${entityId} belongs to another owner`);
}
