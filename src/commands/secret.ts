/** One secret: its versions, who may have it, its end. What is decided here never sees the value. */
import { type Refusal, refuse } from '../errors.ts';
import type { DomainEvent } from '../events/catalog.ts';
import type { SecretParties } from '../events/secret.ts';
import type { Aggregate, Decide } from './execute.ts';

export const secretStream = (secretId: string): string => `secret-${secretId}`;
/** Uses lie apart: a secret that is much used is read no slower for that. */
export const secretUseStream = (secretId: string): string => `secretuse-${secretId}`;

/** Versions of one secret that are kept; the oldest makes room. */
export const mostVersions = 10;

export interface SecretAccess {
  readonly readers: SecretParties;
  readonly writers: SecretParties;
}

interface Version {
  readonly version: number;
  readonly keyId: string;
}

export type SecretState =
  | { readonly there: false }
  | {
      readonly there: true;
      /** Revision of its first event: tells it from an earlier secret of the name. */
      readonly born: number;
      readonly newest: number;
      /** Those that are not destroyed, the oldest first. */
      readonly versions: readonly Version[];
    };

export const secret: Aggregate<SecretState> = {
  initial: { there: false },
  evolve(state, event) {
    switch (event.type) {
      case 'secret.stored': {
        const { secret_version: version, key_id: keyId, access } = event.data;
        if (access) {
          return { there: true, born: event.revision, newest: version, versions: [{ version, keyId }] };
        }
        if (!state.there) return state;
        return { ...state, newest: version, versions: [...state.versions, { version, keyId }] };
      }
      case 'secret.version-destroyed': {
        const gone = event.data.secret_version;
        if (!state.there) return state;
        return { ...state, versions: state.versions.filter(({ version }) => version !== gone) };
      }
      case 'secret.deleted':
        return { there: false };
      default:
        return state;
    }
  },
};

/** A version that was sealed as the one with this number: its seal is bound to it. */
export interface Storing {
  readonly secretId: string;
  /** The node; null: the operators. */
  readonly owner: string | null;
  readonly version: number;
  readonly keyId: string;
  readonly sealed: string;
  /** For a secret that is not there yet. */
  readonly access: SecretAccess;
  /** It must not be there. */
  readonly fresh: boolean;
}

export interface Stored {
  readonly secret_id: string;
  readonly version: number;
  readonly created: boolean;
  /** Of the version. */
  readonly key_id: string;
  /** Of versions that made room: to be destroyed. */
  readonly destroyed: readonly string[];
}

/** Adds a version, or the first. Refuses `secret_id_taken`, and `conflict` when another version has the number by now. */
export const store: Decide<SecretState, Storing, Stored> = (state, command) => {
  const { secretId: secret_id, owner: node_id, version, keyId: key_id, sealed, access, fresh } = command;
  if (state.there && fresh) return refuse('secret_id_taken', `there is a secret ${secret_id} already`);
  const next = state.there ? state.newest + 1 : 1;
  if (version !== next) return refuse('conflict', `another version of ${secret_id} was stored meanwhile`);
  const stored = { secret_id, secret_version: version, node_id, key_id, sealed };
  const reply = { secret_id, version, key_id };
  if (!state.there) {
    return {
      events: [{ type: 'secret.stored', data: { ...stored, access } }],
      reply: { ...reply, created: true, destroyed: [] },
    };
  }
  const surplus = state.versions.slice(0, Math.max(0, state.versions.length + 1 - mostVersions));
  const events: DomainEvent[] = [
    { type: 'secret.stored', data: stored },
    ...surplus.map((old): DomainEvent => {
      return { type: 'secret.version-destroyed', data: { secret_id, secret_version: old.version, cause: 'too_many' } };
    }),
  ];
  return { events, reply: { ...reply, created: false, destroyed: surplus.map(({ keyId }) => keyId) } };
};

/**
 * Says anew who may read and write besides the owner. Written also when it says the same: it is meant for those who have the names
 * by now. Refuses `not_found`.
 */
export const setAccess: Decide<SecretState, { secretId: string; access: SecretAccess }, { secret_id: string }> = (
  state,
  { secretId: secret_id, access },
) => {
  if (!state.there) return unknownSecret(secret_id);
  return { events: [{ type: 'secret.access-changed', data: { secret_id, ...access } }], reply: { secret_id } };
};

/** Destroys one version. Refuses `not_found`, also for a version that was destroyed before. */
export const destroyVersion: Decide<
  SecretState,
  { secretId: string; version: number },
  { secret_id: string; destroyed: readonly string[] }
> = (state, { secretId: secret_id, version }) => {
  const found = state.there ? state.versions.find((one) => one.version === version) : undefined;
  if (!found) return refuse('not_found', `there is no version ${version} of a secret ${secret_id}`);
  return {
    events: [{ type: 'secret.version-destroyed', data: { secret_id, secret_version: version, cause: 'asked' } }],
    reply: { secret_id, destroyed: [found.keyId] },
  };
};

/** Ends a secret; `born` names the one of the name that is meant. Refuses `not_found`. */
export const remove: Decide<
  SecretState,
  { secretId: string; born: number; cause: 'asked' | 'node_removed' },
  { secret_id: string; destroyed: readonly string[] }
> = (state, { secretId: secret_id, born, cause }) => {
  if (!state.there || state.born !== born) return unknownSecret(secret_id);
  return {
    events: [{ type: 'secret.deleted', data: { secret_id, cause } }],
    reply: { secret_id, destroyed: state.versions.map(({ keyId }) => keyId) },
  };
};

/** Those who may not know of a secret hear the same as those who ask for one that is not there. */
export function unknownSecret(secretId: string): Refusal {
  return refuse('not_found', `there is no secret ${secretId}`);
}
