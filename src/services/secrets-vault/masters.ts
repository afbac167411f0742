/**
 * Wraps the data keys of secrets with the master key that is in use, and unwraps them with whichever wrapped them.
 *
 * Which one is in use says the first record of the store, not this replica: a key that is kept while another replica changes the
 * master key is wrapped with the right one, or not kept. Nothing is remembered but the master keys themselves.
 */
import { Fault } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { isoTime } from '../../kernel.ts';
import { asVaultKey, firstId, type VaultKeyRecord, type VaultKeys } from '../../keyring/vault-keys.ts';
import { keyBytes } from './envelope.ts';
import { type KeySource, keySourceOf, type MasterKeys, VaultShut } from './key-source.ts';
import type { MasterKey } from './master-key.ts';

/** How often a key is wrapped anew because the master key was changed meanwhile. */
const attempts = 5;
/** Records that cannot be unwrapped, of which so many are named. */
const mostNamed = 100;
/** A key that was not found in the source is looked for again at most so often. */
const lookEveryMs = 1_000;

/** A record does not unwrap: it was changed, or nobody here has the master key that it names. */
export class KeyStuck extends Error {}

export class Masters {
  readonly source: KeySource;
  readonly #hub: Pick<Hub, 'kernel' | 'federationId'>;
  readonly #store: VaultKeys;
  /** The bytes that hashes of requests are made with. */
  readonly hashKey: Uint8Array;
  #keys: MasterKeys;
  #inUse: string;
  /** The key that was looked for in vain, and when. */
  #missed = { id: '', at: Number.NEGATIVE_INFINITY };

  /**
   * Opens the vault: finds the master key, or makes one where no key was ever wrapped. Throws `VaultShut` when it is not the right
   * one, and what the store throws.
   */
  static async open(hub: Pick<Hub, 'kernel' | 'federationId' | 'keyring' | 'config'>): Promise<Masters> {
    const store = hub.keyring.vaultKeys;
    const source = keySourceOf(hub.config, hub.kernel);
    const wrapped = await store.masters();
    const found = await source.load();
    if (!found && wrapped.length > 0) {
      const ids = wrapped.map(({ master_id }) => master_id).join(', ');
      throw new VaultShut(`the file of the master key ${ids} is missing: put it back; no other is made in its place`);
    }
    const keys = found ?? (await source.create());
    const made = await madeFirst(hub, keys.current);
    const first = asVaultKey(await store.begin(made))!; // it answers what it holds
    for (const { master_id, keys: count } of await store.masters()) {
      if (keyIn(keys, master_id)) continue;
      const known = [keys.current, keys.other].flatMap((key) => key?.id ?? []).join(' and ');
      throw new VaultShut(`${count} keys are wrapped with the master key ${master_id}; this replica has ${known}`);
    }
    const master = keyIn(keys, first.master_id)!; // all are known, as was just seen
    const hashKey = await master.unwrap(first.wrapped, contextOf(hub.federationId, first)).catch(() => {
      throw new VaultShut(`the master key ${master.id} does not open what it wrapped: the store of keys was changed`);
    });
    return new Masters(hub, source, keys, first.master_id, hashKey);
  }

  private constructor(
    hub: Pick<Hub, 'kernel' | 'federationId' | 'keyring'>,
    source: KeySource,
    keys: MasterKeys,
    inUse: string,
    hashKey: Uint8Array,
  ) {
    this.#hub = hub;
    this.#store = hub.keyring.vaultKeys;
    this.source = source;
    this.#keys = keys;
    this.#inUse = inUse;
    this.hashKey = hashKey;
  }

  /** Those that this replica has. */
  get keys(): MasterKeys {
    return this.#keys;
  }

  /** Id of the master key in use, as the store says now. */
  async inUse(): Promise<string> {
    this.#inUse = (await this.#first()).master_id;
    return this.#inUse;
  }

  /** Wraps a data key and keeps it: it is on the disk on return. Throws a `Fault`, `vault_shut` among them. */
  async keep(id: string, secretId: string, dataKey: Uint8Array): Promise<void> {
    for (let attempt = 0; attempt < attempts; attempt++) {
      // Of the one that was in use when it was last asked for, this replica may have let go since.
      const master = keyIn(this.#keys, this.#inUse) ?? (await this.#need(await this.inUse()));
      const record = {
        id,
        secret_id: secretId,
        created_at: isoTime(this.#hub.kernel.now()),
        master_id: master.id,
        wrapped: '',
      };
      const wrapped = await master.wrap(dataKey, contextOf(this.#hub.federationId, record));
      if (await this.#store.keep({ ...record, wrapped })) return;
      await this.inUse();
    }
    throw new Fault('vault_shut', 'the master key was changed again and again');
  }

  /** A data key; undefined once it was destroyed. Throws a `Fault`, and `KeyStuck`. */
  async find(id: string): Promise<Uint8Array | undefined> {
    for (let attempt = 1; ; attempt++) {
      const record = asVaultKey(await this.#store.find(id));
      if (!record) return undefined;
      const master = await this.#need(record.master_id).catch((error: unknown) => {
        if (attempt === 2) throw error;
      });
      // It may have been wrapped anew since it was read, with the last of the old key gone.
      if (master) return this.#unwrapped(record, master);
    }
  }

  /** Whether it wraps keys from now on: false when another than `from` was in use. */
  async use(from: string, master: MasterKey): Promise<boolean> {
    const first = await this.#first();
    if (first.master_id !== from) return false;
    const done = await this.#store.rewrap(first, await this.#anew(first, master));
    await this.inUse();
    return done;
  }

  /** Wraps a key with another master key. False: it was destroyed, or another replica did it. Throws `KeyStuck`, and what the store throws. */
  async rewrap(record: VaultKeyRecord, master: MasterKey): Promise<boolean> {
    return this.#store.rewrap(record, await this.#anew(record, master));
  }

  /** Of the keys that the master key in use does not wrap, those that do not unwrap here; the first hundred of the former are looked at. */
  async stuck(): Promise<VaultKeyRecord[]> {
    const stuck: VaultKeyRecord[] = [];
    for (const found of await this.#store.page('', mostNamed, await this.inUse())) {
      const record = asVaultKey(found)!; // a store gives no holes
      const key = await this.#opened(record).catch((error: unknown) => {
        if (!(error instanceof KeyStuck)) throw error;
      });
      if (key) key.fill(0);
      else stuck.push(record);
    }
    return stuck;
  }

  /** Reads the source again. */
  async reload(): Promise<MasterKeys> {
    this.#keys = (await this.source.load()) ?? this.#keys;
    return this.#keys;
  }

  /** Another replica changed the master key: reads source and store again. Throws `VaultShut` when this one does not have it. */
  async renew(): Promise<void> {
    await this.reload();
    const id = await this.inUse();
    if (!keyIn(this.#keys, id)) throw new VaultShut(notHere(id));
  }

  /** Remembers what the source holds by now. */
  changed(keys: MasterKeys): MasterKeys {
    this.#keys = keys;
    return keys;
  }

  async #anew(record: VaultKeyRecord, master: MasterKey): Promise<VaultKeyRecord> {
    const key = await this.#opened(record);
    const wrapped = await master.wrap(key, contextOf(this.#hub.federationId, record));
    key.fill(0);
    return { ...record, master_id: master.id, wrapped };
  }

  async #opened(record: VaultKeyRecord): Promise<Uint8Array> {
    const master = await this.#need(record.master_id).catch((cause: unknown) => {
      throw new KeyStuck(notHere(record.master_id), { cause });
    });
    return this.#unwrapped(record, master);
  }

  async #unwrapped(record: VaultKeyRecord, master: MasterKey): Promise<Uint8Array> {
    return master.unwrap(record.wrapped, contextOf(this.#hub.federationId, record)).catch((cause: unknown) => {
      throw new KeyStuck(`the key ${record.id} of ${record.secret_id} does not unwrap`, { cause });
    });
  }

  /** A master key by its id; another replica may have put it into the file. Throws `Fault('vault_shut')`. */
  async #need(id: string): Promise<MasterKey> {
    const known = keyIn(this.#keys, id);
    if (known) return known;
    const now = this.#hub.kernel.monotonicMs();
    const missing = new Fault('vault_shut', notHere(id));
    if (this.#missed.id === id && now - this.#missed.at < lookEveryMs) throw missing;
    await this.reload().catch(() => {}); // the log tells of it
    const found = keyIn(this.#keys, id);
    if (found) return found;
    this.#missed = { id, at: now };
    throw missing;
  }

  async #first(): Promise<VaultKeyRecord> {
    const first = asVaultKey(await this.#store.find(firstId));
    if (!first) throw new Fault('vault_shut', 'the store of keys was emptied');
    return first;
  }
}

function notHere(id: string): string {
  return `this replica does not have the master key ${id}, which is in use`;
}

/** The first record of a store that has none. */
async function madeFirst({ kernel, federationId }: Pick<Hub, 'kernel' | 'federationId'>, master: MasterKey) {
  const record = {
    id: firstId,
    secret_id: '',
    created_at: isoTime(kernel.now()),
    master_id: master.id,
    wrapped: '',
  };
  return { ...record, wrapped: await master.wrap(kernel.secretBytes(keyBytes), contextOf(federationId, record)) };
}

function keyIn({ current, other }: MasterKeys, id: string): MasterKey | undefined {
  return [current, other].find((key) => key?.id === id);
}

/** What a wrapped key is bound to, so that it cannot be passed off as another's. */
function contextOf(federationId: string, { id, secret_id }: Pick<VaultKeyRecord, 'id' | 'secret_id'>): string {
  return ['federation-hub secret key v1', federationId, secret_id, id].join('\n');
}
