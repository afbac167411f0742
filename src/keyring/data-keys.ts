/**
 * Data keys: one AES-256 key a subject, encrypted at rest with a key of the hub. Destroying it makes everything that was
 * encrypted with it unreadable, in the log, in jobs and in every backup of them.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { isoTime, type Kernel } from '../kernel.ts';
import { OpenTexts } from './open-texts.ts';
import { asDataKey, type DataKeyRecord, type KeyRecord, type KeyringStore } from './store.ts';

export interface DataKey {
  readonly keyId: string;
  /** AES-256. */
  readonly key: Uint8Array;
}

const cachedKeys = 10_000;
/** Subjects of one question to the store. */
const askedAtOnce = 1_000;
const ivLength = 12;
const keyLength = 32;

/** What of the hub's keys is needed: the wrap key to use, and any by its id. */
export interface WrapKeys {
  current(): KeyRecord;
  byId(id: string): Uint8Array | undefined;
}

export class DataKeys {
  readonly #store: KeyringStore;
  readonly #wraps: WrapKeys;
  readonly #kernel: Kernel;
  readonly #cache = new LRUCache<string, DataKey>({ max: cachedKeys });
  readonly openTexts = new OpenTexts();
  /** Grows with each erasure: a key that was being loaded meanwhile is not kept. */
  #erasures = 0;

  constructor(store: KeyringStore, wraps: WrapKeys, kernel: Kernel) {
    this.#store = store;
    this.#wraps = wraps;
    this.#kernel = kernel;
  }

  remembered(subject: string): DataKey | undefined {
    return this.#cache.get(subject);
  }

  /** The key of a subject, made when there is none. Rejects with a `Fault` when the store cannot be reached. */
  async currentOf(subject: string): Promise<DataKey> {
    const cached = this.#cache.get(subject);
    if (cached) return cached;
    const erasures = this.#erasures;
    const found =
      asDataKey(await this.#store.dataKey(subject)) ?? asDataKey(await this.#store.keepDataKey(this.#make(subject)));
    if (!found) throw new Error('the keyring did not keep a data key');
    return this.#unwrapped(found, erasures);
  }

  /** A key by its id; undefined once it was destroyed. */
  async byId(subject: string, keyId: string): Promise<DataKey | undefined> {
    const cached = this.#cache.get(subject);
    if (cached?.keyId === keyId) return cached;
    const erasures = this.#erasures;
    const found = asDataKey(await this.#store.dataKey(subject));
    return found?.id === keyId ? this.#unwrapped(found, erasures) : undefined;
  }

  /** Destroys the keys of a subject; answers how many there were. */
  async erase(subject: string): Promise<number> {
    const gone = await this.#store.removeDataKeys(subject);
    this.forget(subject);
    return gone;
  }

  /** Drops what is remembered of a subject: its keys were destroyed, here or at another replica. */
  forget(subject: string): void {
    this.#erasures++;
    this.#cache.delete(subject);
    this.openTexts.clear();
  }

  /** Drops every remembered key that the store holds no more: whoever destroyed it may not have come to tell. */
  async forgetDestroyed(): Promise<void> {
    const remembered = [...this.#cache.entries()];
    for (let at = 0; at < remembered.length; at += askedAtOnce) {
      const some = remembered.slice(at, at + askedAtOnce);
      const held = new Set(await this.#store.dataKeyIds(some.map(([subject]) => subject)));
      for (const [subject, { keyId }] of some) if (!held.has(keyId)) this.forget(subject);
    }
  }

  #make(subject: string): DataKeyRecord {
    const wrap = this.#wraps.current();
    const id = this.#kernel.uuid();
    const iv = this.#kernel.secretBytes(ivLength);
    const cipher = createCipheriv('aes-256-gcm', Buffer.from(wrap.secret, 'base64url'), iv).setAAD(bound(subject, id));
    const sealed = [iv, cipher.update(this.#kernel.secretBytes(keyLength)), cipher.final(), cipher.getAuthTag()];
    const wrapped = Buffer.concat(sealed).toString('base64url');
    return { id, subject, created_at: isoTime(this.#kernel.now()), wrap_id: wrap.id, wrapped };
  }

  #unwrapped({ id, subject, wrap_id, wrapped }: DataKeyRecord, erasures: number): DataKey {
    const wrap = this.#wraps.byId(wrap_id);
    if (!wrap) throw new Error(`the keyring is damaged: it lacks the key ${wrap_id} that a data key is encrypted with`);
    const bytes = Buffer.from(wrapped, 'base64url');
    const decipher = createDecipheriv('aes-256-gcm', wrap, bytes.subarray(0, ivLength), { authTagLength: 16 })
      .setAAD(bound(subject, id))
      .setAuthTag(bytes.subarray(ivLength + keyLength));
    const key = Buffer.concat([decipher.update(bytes.subarray(ivLength, ivLength + keyLength)), decipher.final()]);
    const unwrapped = { keyId: id, key };
    if (erasures === this.#erasures) this.#cache.set(subject, unwrapped);
    return unwrapped;
  }
}

/** What a wrapped key is bound to, so that it cannot be passed off as another subject's. */
function bound(subject: string, id: string): Buffer {
  return Buffer.from(['federation-hub data key v1', id, subject].join('\n'));
}
