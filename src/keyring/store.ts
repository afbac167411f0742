/** The port of the keyring: where the hub's keys lie, outside the log and its backups, and what every store of them promises. */
import { Type } from 'typebox';
import { Compile } from 'typebox/compile';
import type { VaultKeys } from './vault-keys.ts';

const Secret = Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' });

/** A key of the hub itself. Of one purpose, the newest that is active is the one to make things with. */
export const KeyRecord = Type.Object({
  /** RFC 7638 thumbprint of a signing key; a name of its own for a secret. */
  id: Type.String({ minLength: 1 }),
  /** `sign`: session tokens. `nonce`: MACs of nonces. `wrap`: encrypts the data keys. */
  purpose: Type.Union([Type.Literal('sign'), Type.Literal('nonce'), Type.Literal('wrap')]),
  created_at: Type.String(),
  /** ISO 8601. Before it, the key is only checked with, so that every replica knows it when the first one uses it. */
  active_at: Type.String(),
  /** 32 bytes in base64url: the seed of an Ed25519 key (RFC 8032), or the secret itself. */
  secret: Secret,
});
export type KeyRecord = Type.Static<typeof KeyRecord>;

/** The data key of one subject, encrypted. */
export const DataKeyRecord = Type.Object({
  id: Type.String({ minLength: 1 }),
  subject: Type.String({ minLength: 1 }),
  created_at: Type.String(),
  /** The `wrap` key it is encrypted with. */
  wrap_id: Type.String({ minLength: 1 }),
  /** AES-256-GCM: 12 bytes of IV, 32 of the key, 16 of tag, in base64url. */
  wrapped: Type.String({ pattern: '^[A-Za-z0-9_-]{80}$' }),
});
export type DataKeyRecord = Type.Static<typeof DataKeyRecord>;

const keys = Compile(Type.Array(KeyRecord));
const dataKey = Compile(DataKeyRecord);

/**
 * Any number of replicas use one store at the same time. What a call wrote is on the disk when it returns; what it removed
 * cannot be read from the store any more. Each call throws an `Error` that says what is wrong with the store, without its
 * secrets, or a `Fault` when the store cannot be reached.
 */
export interface KeyringStore {
  /** All keys of the hub. When there are none, first writes those that `make` gives: once, however many ask at the same moment. */
  ensure(make: () => Promise<KeyRecord[]>): Promise<readonly unknown[]>;
  keys(): Promise<readonly unknown[]>;
  add(records: readonly KeyRecord[]): Promise<void>;
  /** Destroys keys of the hub. */
  remove(ids: readonly string[]): Promise<void>;
  dataKey(subject: string): Promise<unknown>;
  /** Ids of the data keys that these subjects have; none for those without. */
  dataKeyIds(subjects: readonly string[]): Promise<readonly string[]>;
  /** Keeps the data key, unless the subject has one: then that one is answered. */
  keepDataKey(record: DataKeyRecord): Promise<unknown>;
  /** Destroys the data keys of a subject; answers how many there were. */
  removeDataKeys(subject: string): Promise<number>;
  /** Those of the secrets vault, which another key wraps. */
  readonly vault: VaultKeys;
  close(): Promise<void>;
}

/** What a store gave, as keys of the hub. Throws for anything that no hub wrote. */
export function asKeys(found: readonly unknown[]): readonly KeyRecord[] {
  if (!keys.Check(found)) throw new Error('the keyring holds records that this hub did not write');
  return found;
}

/** What a store gave, as a data key; undefined stays undefined. */
export function asDataKey(found: unknown): DataKeyRecord | undefined {
  if (found === undefined) return undefined;
  if (!dataKey.Check(found)) throw new Error('the keyring holds a data key that this hub did not write');
  return found;
}
