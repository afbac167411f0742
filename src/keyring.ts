/**
 * The keyring: the hub's own keys (session tokens, nonces) and the data keys of subjects, in a store outside the log and its
 * backups. Replicas share it. A rotation publishes new keys before they are used, and old ones count until what they made has
 * run out, so that no token is refused for it.
 */
import type { KeyObject } from 'node:crypto';
import type { Kernel } from './kernel.ts';
import { type DataKey, DataKeys } from './keyring/data-keys.ts';
import {
  doneWith,
  firstKeys,
  type HubKeys,
  hubKeys,
  type Jwks,
  newest,
  nextKeys,
  pending,
  type SigningKey,
} from './keyring/hub-keys.ts';
import type { OpenTexts } from './keyring/open-texts.ts';
import { asKeys, type KeyringStore } from './keyring/store.ts';
import type { VaultKeys } from './keyring/vault-keys.ts';

export interface Keyring {
  /** The key to sign with now. */
  signingKey(): SigningKey;
  /** Public keys by kid whose signatures count, those included that do not sign yet. */
  verifyKeys(): ReadonlyMap<string, KeyObject>;
  jwks(): Jwks;
  /** Secrets of nonces, 32 bytes each: the first to make them with, all to check them with. */
  nonceSecrets(): readonly Uint8Array[];
  /**
   * Publishes a new signing key and a new secret of nonces, used half a minute from now. While one waits for that, it is
   * answered instead: asking twice rotates once.
   */
  rotate(): Promise<{ kid: string; activeAt: string }>;
  /** Reads the store again, at most once a second; calls in between get what that one read. */
  reload(): Promise<void>;
  /** Destroys keys that nothing valid was made with any more, and forgets data keys that were destroyed elsewhere. */
  sweep(): Promise<void>;
  /** The data key of a subject; made when there is none. */
  dataKey(subject: string): Promise<DataKey>;
  /** The data key of a subject, if it was asked for lately. */
  rememberedKey(subject: string): DataKey | undefined;
  /** What was sealed here a moment ago. */
  readonly openTexts: OpenTexts;
  /** A data key by its id; undefined once it was destroyed. */
  dataKeyById(subject: string, keyId: string): Promise<DataKey | undefined>;
  /** Destroys the data keys of a subject for good; answers how many there were. */
  erase(subject: string): Promise<number>;
  /** Another replica erased the subject: drops what is remembered of it. */
  forget(subject: string): void;
  /** Keys of the secrets vault. */
  readonly vaultKeys: VaultKeys;
  close(): Promise<void>;
}

const reloadMs = 1_000;

/** Opens the hub's keys; makes them at the first start. Throws, saying why, when the store holds something else. */
export async function openKeyring(store: KeyringStore, kernel: Kernel): Promise<Keyring> {
  const ring = new StoredKeyring(store, kernel);
  try {
    await ring.open();
  } catch (error) {
    await store.close();
    throw error;
  }
  return ring;
}

class StoredKeyring implements Keyring {
  readonly #store: KeyringStore;
  readonly #kernel: Kernel;
  readonly #dataKeys: DataKeys;
  #keys!: HubKeys; // set by `open`, before anyone has this object
  #loading: Promise<void> | undefined;
  #loadedAt = Number.NEGATIVE_INFINITY;

  constructor(store: KeyringStore, kernel: Kernel) {
    this.#store = store;
    this.#kernel = kernel;
    const wraps = {
      current: () => newest(this.#keys.records, 'wrap', kernel.now()),
      byId: (id: string) => this.#keys.secrets.get(id),
    };
    this.#dataKeys = new DataKeys(store, wraps, kernel);
  }

  async open(): Promise<void> {
    this.#keys = await hubKeys(asKeys(await this.#store.ensure(() => firstKeys(this.#kernel))), this.#kernel.now());
  }

  signingKey(): SigningKey {
    const { id } = newest(this.#keys.records, 'sign', this.#kernel.now());
    return { kid: id, privateKey: this.#keys.signingKeys.get(id)! }; // made from the same records
  }

  verifyKeys(): ReadonlyMap<string, KeyObject> {
    return this.#keys.verifyKeys;
  }

  jwks(): Jwks {
    return this.#keys.jwks;
  }

  nonceSecrets(): readonly Uint8Array[] {
    const { records, secrets } = this.#keys;
    const current = newest(records, 'nonce', this.#kernel.now()).id;
    const others = records.filter(({ purpose, id }) => purpose === 'nonce' && id !== current);
    return [current, ...others.map(({ id }) => id)].map((id) => secrets.get(id)!); // made from the same records
  }

  async rotate(): Promise<{ kid: string; activeAt: string }> {
    await this.#load();
    const waiting = pending(this.#keys.records, this.#kernel.now());
    if (waiting) return { kid: waiting.id, activeAt: waiting.active_at };
    const made = await nextKeys(this.#kernel);
    await this.#store.add(made);
    await this.#load();
    const signing = made.find(({ purpose }) => purpose === 'sign')!; // `nextKeys` makes one
    return { kid: signing.id, activeAt: signing.active_at };
  }

  reload(): Promise<void> {
    if (this.#loading) return this.#loading;
    if (this.#kernel.monotonicMs() - this.#loadedAt < reloadMs) return Promise.resolve();
    this.#loadedAt = this.#kernel.monotonicMs();
    this.#loading = this.#load().finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  async sweep(): Promise<void> {
    const over = doneWith(asKeys(await this.#store.keys()), this.#kernel.now());
    if (over.length > 0) await this.#store.remove(over);
    await this.#dataKeys.forgetDestroyed();
  }

  dataKey(subject: string): Promise<DataKey> {
    return this.#dataKeys.currentOf(subject);
  }

  rememberedKey(subject: string): DataKey | undefined {
    return this.#dataKeys.remembered(subject);
  }

  get openTexts(): OpenTexts {
    return this.#dataKeys.openTexts;
  }

  dataKeyById(subject: string, keyId: string): Promise<DataKey | undefined> {
    return this.#dataKeys.byId(subject, keyId);
  }

  erase(subject: string): Promise<number> {
    return this.#dataKeys.erase(subject);
  }

  forget(subject: string): void {
    this.#dataKeys.forget(subject);
  }

  get vaultKeys(): VaultKeys {
    return this.#store.vault;
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #load(): Promise<void> {
    this.#keys = await hubKeys(asKeys(await this.#store.keys()), this.#kernel.now());
  }
}
