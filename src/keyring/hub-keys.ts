/** The keys of the hub itself, as they stand at one moment: which to make things with, which only count, and which are done with. */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { calculateJwkThumbprint } from 'jose';
import { isoTime, type Kernel } from '../kernel.ts';
import type { KeyRecord } from './store.ts';

/** A new signing key is published for this long before it signs, milliseconds: by then every replica has loaded it. */
const publishedMs = 30_000;

/** How long a key still counts after its successor became active, milliseconds: what it made lives no longer. */
const countsMs = { sign: 16 * 60_000, nonce: 2 * 60_000 };

/** RFC 7517; public halves only. */
export interface Jwks {
  readonly keys: readonly { kty: 'OKP'; crv: 'Ed25519'; x: string; kid: string; use: 'sig'; alg: 'EdDSA' }[];
}

export interface SigningKey {
  /** RFC 7638 thumbprint. */
  readonly kid: string;
  readonly privateKey: KeyObject;
}

export interface HubKeys {
  readonly records: readonly KeyRecord[];
  readonly signingKeys: ReadonlyMap<string, KeyObject>;
  readonly verifyKeys: ReadonlyMap<string, KeyObject>;
  readonly jwks: Jwks;
  readonly secrets: ReadonlyMap<string, Uint8Array>;
}

/** Reads records, leaving out what no longer counts. Throws when one is not what it says it is, or one is missing. */
export async function hubKeys(all: readonly KeyRecord[], now: number): Promise<HubKeys> {
  const over = new Set(doneWith(all, now));
  const records = all.filter(({ id }) => !over.has(id));
  const signing = records.filter(({ purpose }) => purpose === 'sign');
  const signingKeys = new Map(signing.map(({ id, secret }) => [id, privateKeyOf(secret)]));
  for (const [kid, key] of signingKeys) {
    if ((await thumbprint(key)) !== kid)
      throw new Error(`the keyring is damaged: key ${kid} is not the one it says it is`);
  }
  for (const purpose of ['sign', 'nonce', 'wrap'] as const) newest(records, purpose, now);
  const keys = [...signingKeys].map(
    ([kid, key]) => ({ kty: 'OKP', crv: 'Ed25519', x: publicTextOf(key), kid, use: 'sig', alg: 'EdDSA' }) as const,
  );
  return {
    records,
    signingKeys,
    verifyKeys: new Map([...signingKeys].map(([kid, key]) => [kid, createPublicKey(key)])),
    jwks: { keys },
    secrets: new Map(records.map(({ id, secret }) => [id, Buffer.from(secret, 'base64url')])),
  };
}

/** The key to make things with: the newest that is active; just after a first start with a clock behind, the oldest there is. */
export function newest(records: readonly KeyRecord[], purpose: KeyRecord['purpose'], now: number): KeyRecord {
  const inOrder = ordered(records, purpose);
  const found = inOrder.findLast(({ active_at }) => Date.parse(active_at) <= now) ?? inOrder[0];
  if (!found) throw new Error(`the keyring is damaged: it holds no key for the purpose '${purpose}'`);
  return found;
}

/** A signing key that is published already and not yet used. */
export function pending(records: readonly KeyRecord[], now: number): KeyRecord | undefined {
  return ordered(records, 'sign').findLast(({ active_at }) => Date.parse(active_at) > now);
}

/** Ids of keys that nothing valid was made with any more. */
export function doneWith(records: readonly KeyRecord[], now: number): string[] {
  return (['sign', 'nonce'] as const).flatMap((purpose) => {
    const inOrder = ordered(records, purpose);
    const isOver = (_: KeyRecord, at: number) =>
      at + 1 < inOrder.length && Date.parse(inOrder[at + 1]!.active_at) + countsMs[purpose] <= now;
    return inOrder.filter(isOver).map(({ id }) => id);
  });
}

/** What a hub starts with. */
export async function firstKeys(kernel: Kernel): Promise<KeyRecord[]> {
  return [await makeSigningKey(kernel, 0), makeSecret(kernel, 'nonce', 0), makeSecret(kernel, 'wrap', 0)];
}

/** What a rotation adds. */
export async function nextKeys(kernel: Kernel): Promise<KeyRecord[]> {
  return [await makeSigningKey(kernel, publishedMs), makeSecret(kernel, 'nonce', publishedMs)];
}

async function makeSigningKey(kernel: Kernel, inMs: number): Promise<KeyRecord> {
  const record = makeSecret(kernel, 'sign', inMs);
  return { ...record, id: await thumbprint(privateKeyOf(record.secret)) };
}

function makeSecret(kernel: Kernel, purpose: KeyRecord['purpose'], inMs: number): KeyRecord {
  const now = kernel.now();
  const secret = Buffer.from(kernel.secretBytes(32)).toString('base64url');
  return { id: kernel.uuid(), purpose, created_at: isoTime(now), active_at: isoTime(now + inMs), secret };
}

function ordered(records: readonly KeyRecord[], purpose: KeyRecord['purpose']): KeyRecord[] {
  const rank = ({ active_at, id }: KeyRecord) => `${active_at} ${id}`;
  return records.filter((record) => record.purpose === purpose).sort((a, b) => (rank(a) < rank(b) ? -1 : 1)); // ISO times sort as text; ids settle ties the same way everywhere
}

function thumbprint(key: KeyObject): Promise<string> {
  return calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x: publicTextOf(key) });
}

/** The frame of PKCS #8 (RFC 8410) around the seed, which is how node:crypto takes a seed alone. */
const pkcs8Frame = Buffer.from('302e020100300506032b657004220420', 'hex');

function privateKeyOf(seed: string): KeyObject {
  return createPrivateKey({
    key: Buffer.concat([pkcs8Frame, Buffer.from(seed, 'base64url')]),
    format: 'der',
    type: 'pkcs8',
  });
}

function publicTextOf(key: KeyObject): string {
  return createPublicKey(key).export({ format: 'jwk' }).x!; // an Ed25519 key has x
}
