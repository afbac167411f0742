/**
 * The hub's own keys, in a store outside the log and its backups: the Ed25519 key that signs session tokens, and the secret
 * of nonces. Replicas share them. Every record says what it is for and whether it is the one to use, so that a rotation can
 * add a new one and leave the old to verify with.
 */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { calculateJwkThumbprint } from 'jose';
import pg from 'pg';
import { Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { Fault } from './errors.ts';
import { isoTime, type Kernel } from './kernel.ts';
import { createPrivateFile, readPrivateFile } from './private-file.ts';

const KeyRecord = Type.Object({
  /** RFC 7638 thumbprint of a signing key; a name of its own for a secret. */
  id: Type.String({ minLength: 1 }),
  purpose: Type.Union([Type.Literal('sign'), Type.Literal('nonce')]),
  /** `current`: made with and checked with. `retired`: only checked with. */
  state: Type.Union([Type.Literal('current'), Type.Literal('retired')]),
  created_at: Type.String(),
  /** 32 bytes in base64url: the seed of an Ed25519 key (RFC 8032), or the secret itself. */
  secret: Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' }),
});
export type KeyRecord = Type.Static<typeof KeyRecord>;
const records = Compile(Type.Array(KeyRecord));

export interface KeyringStore {
  /**
   * All records. When there are none, first writes those that `make` gives: once, however many replicas ask at the same
   * moment, and all get the same. Throws when the store is damaged or readable by others.
   */
  ensure(make: () => Promise<KeyRecord[]>): Promise<readonly unknown[]>;
}

export interface SigningKey {
  /** RFC 7638 thumbprint. */
  readonly kid: string;
  readonly privateKey: KeyObject;
}

/** RFC 7517; public halves only. */
export interface Jwks {
  readonly keys: readonly { kty: 'OKP'; crv: 'Ed25519'; x: string; kid: string; use: 'sig'; alg: 'EdDSA' }[];
}

export interface Keyring {
  signingKey(): SigningKey;
  /** Public keys by kid whose signatures still count. */
  verifyKeys(): ReadonlyMap<string, KeyObject>;
  jwks(): Jwks;
  /** 32 bytes. */
  nonceSecret(): Uint8Array;
}

/** Opens the hub's keys; makes them at the first start. Throws, saying why, when the store holds something else. */
export async function openKeyring(store: KeyringStore, kernel: Kernel): Promise<Keyring> {
  const found = await store.ensure(() => Promise.all([makeSigningKey(kernel), makeNonceSecret(kernel)]));
  if (!records.Check(found)) throw new Error('the keyring holds records that this hub did not write');
  const privateKeys = new Map(
    found.filter(({ purpose }) => purpose === 'sign').map((it) => [it.id, privateKeyOf(it.secret)]),
  );
  for (const [kid, key] of privateKeys) {
    if ((await thumbprint(key)) !== kid)
      throw new Error(`the keyring is damaged: key ${kid} is not the one it says it is`);
  }
  const verifyKeys = new Map([...privateKeys].map(([kid, key]) => [kid, createPublicKey(key)]));
  const kid = currentOf(found, 'sign').id;
  const signingKey = { kid, privateKey: privateKeys.get(kid)! }; // it is one of `found`
  const nonceSecret = Buffer.from(currentOf(found, 'nonce').secret, 'base64url');
  const keys = [...privateKeys].map(
    ([id, key]) => ({ kty: 'OKP', crv: 'Ed25519', x: publicTextOf(key), kid: id, use: 'sig', alg: 'EdDSA' }) as const,
  );
  return {
    signingKey: () => signingKey,
    verifyKeys: () => verifyKeys,
    jwks: () => ({ keys }),
    nonceSecret: () => nonceSecret,
  };
}

/** `keyring.json` in the data folder, mode 0600. */
export function fileKeyring(folder: string): KeyringStore {
  const path = join(folder, 'keyring.json');
  return {
    async ensure(make) {
      let text = await readPrivateFile(path);
      if (text === undefined) {
        await createPrivateFile(path, `${JSON.stringify(await make(), null, 2)}\n`);
        text = await readPrivateFile(path);
      }
      return parse(text ?? '', path);
    },
  };
}

/** The table `federation_keyring`. `url` as PostgreSQL takes it. Throws `Fault('log_unavailable')` when the server is not there. */
export function postgresKeyring(url: string): KeyringStore {
  return {
    async ensure(make) {
      const client = new pg.Client({
        connectionString: url,
        connectionTimeoutMillis: 10_000,
        statement_timeout: 10_000,
      });
      client.on('error', () => {}); // a connection that breaks later fails the query under way, which says so
      try {
        await client.connect();
        return await ensureRows(client, make);
      } catch (error) {
        const foreign = error instanceof pg.DatabaseError && error.code === '42703'; // undefined_column
        if (foreign)
          throw new Error('the table federation_keyring was not made by this hub; it was left as it is', {
            cause: error,
          });
        throw new Fault('log_unavailable', 'the keyring in PostgreSQL could not be opened', error);
      } finally {
        await client.end();
      }
    },
  };
}

/** One transaction under a lock, because `CREATE TABLE IF NOT EXISTS` alone fails when two replicas start at once. */
async function ensureRows(client: pg.Client, make: () => Promise<KeyRecord[]>): Promise<KeyRecord[]> {
  await client.query('BEGIN');
  await client.query("SELECT pg_advisory_xact_lock(hashtext('federation_keyring'))");
  await client.query(`CREATE TABLE IF NOT EXISTS federation_keyring (
    id text PRIMARY KEY, purpose text NOT NULL, state text NOT NULL, created_at text NOT NULL, secret text NOT NULL)`);
  const select = 'SELECT id, purpose, state, created_at, secret FROM federation_keyring ORDER BY created_at, id';
  if ((await client.query(select)).rowCount === 0) {
    for (const { id, purpose, state, created_at, secret } of await make()) {
      await client.query(
        'INSERT INTO federation_keyring (id, purpose, state, created_at, secret) VALUES ($1, $2, $3, $4, $5)',
        [id, purpose, state, created_at, secret],
      );
    }
  }
  const { rows } = await client.query<KeyRecord>(select);
  await client.query('COMMIT');
  return rows;
}

async function makeSigningKey(kernel: Kernel): Promise<KeyRecord> {
  const record = makeRecord('sign', '', kernel);
  return { ...record, id: await thumbprint(privateKeyOf(record.secret)) };
}

function makeNonceSecret(kernel: Kernel): KeyRecord {
  return makeRecord('nonce', kernel.uuid(), kernel);
}

function makeRecord(purpose: KeyRecord['purpose'], id: string, kernel: Kernel): KeyRecord {
  const secret = Buffer.from(kernel.secretBytes(32)).toString('base64url');
  return { id, purpose, state: 'current', created_at: isoTime(kernel.now()), secret };
}

function thumbprint(key: KeyObject): Promise<string> {
  return calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x: publicTextOf(key) });
}

function currentOf(found: readonly KeyRecord[], purpose: KeyRecord['purpose']): KeyRecord {
  const record = found.find((candidate) => candidate.purpose === purpose && candidate.state === 'current');
  if (!record) throw new Error(`the keyring is damaged: it holds no current key for the purpose '${purpose}'`);
  return record;
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

function parse(text: string, path: string): readonly unknown[] {
  try {
    const found: unknown = JSON.parse(text);
    if (Array.isArray(found) && found.length > 0) return found;
  } catch {
    // told below, without quoting the text: it is secret
  }
  throw new Error(
    `${path} is not a keyring: restore it from where you keep it, or move it away to start with new keys`,
  );
}
