/**
 * The port of the vault's keys: the data key of each version of each secret, wrapped with the master key, outside the log and its
 * backups. One record more, `first`, is of no secret: the master key that wraps it is the one to wrap with now.
 */

/** A wrapped key. */
export interface VaultKeyRecord {
  readonly id: string;
  /** Whose key; '' for the first. */
  readonly secret_id: string;
  /** ISO 8601. */
  readonly created_at: string;
  /** Names the master key that it is wrapped with. */
  readonly master_id: string;
  /** As the master key made it: text of its own. */
  readonly wrapped: string;
}

/** Id of the record that says which master key is in use. */
export const firstId = 'first';

/**
 * Any number of replicas use it at the same time. What a call wrote is on the disk when it returns, and what it destroyed cannot be
 * read from the store any more. Each call throws as those of `KeyringStore` do.
 */
export interface VaultKeys {
  /** Keeps the first record unless there is one; answers the one that is there. */
  begin(first: VaultKeyRecord): Promise<unknown>;
  find(id: string): Promise<unknown>;
  /** Keeps a key, unless another master key is in use than the one that wrapped it: false. */
  keep(record: VaultKeyRecord): Promise<boolean>;
  /** Puts a record that another master key wrapped in the place of the same as it was when it was read; false: it is another by now, or gone. */
  rewrap(before: VaultKeyRecord, after: VaultKeyRecord): Promise<boolean>;
  /** In order of id, after an id, the first left out; `notWith`: only those that this master key did not wrap. */
  page(after: string, limit: number, notWith?: string): Promise<readonly unknown[]>;
  /** The master keys that wrap any, with how many; the first record counts. */
  masters(): Promise<readonly { readonly master_id: string; readonly keys: number }[]>;
  /** Answers how many there were. */
  destroy(ids: readonly string[]): Promise<number>;
}

/** The members of a record; the thread that holds them does without schemas, which are slow to load. */
const members = ['id', 'secret_id', 'created_at', 'master_id', 'wrapped'] as const;

/** What a store gave; undefined stays undefined. Throws for anything that no hub wrote. */
export function asVaultKey(found: unknown): VaultKeyRecord | undefined {
  if (found === undefined) return undefined;
  const record = found as Partial<VaultKeyRecord> | null;
  if (typeof record !== 'object' || record === null || members.some((name) => typeof record[name] !== 'string'))
    throw new Error('the keyring holds a key of the vault that this hub did not write');
  return record as VaultKeyRecord; // each member was looked at
}
