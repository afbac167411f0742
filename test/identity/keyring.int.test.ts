/** The hub's own keys, in a file and in PostgreSQL: made once, shared, kept to their owner, refused when damaged. */
import { createPublicKey, sign, verify } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createKernel } from '../../src/kernel.ts';
import { fileKeyring, type Keyring, type KeyringStore, openKeyring, postgresKeyring } from '../../src/keyring.ts';
import { freshDatabase } from '../setup/postgres.ts';

const kernel = createKernel({ logLevel: 'silent' });
const database = await freshDatabase();
const parent = await mkdtemp(join(tmpdir(), 'fedhub-keyring-'));
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(parent, 'shared-'));
});
afterAll(async () => {
  await database.drop();
  await rm(parent, { recursive: true });
});

const stores: [string, () => KeyringStore][] = [
  ['in a file', () => fileKeyring(join(folder, 'data'))],
  ['in PostgreSQL', () => postgresKeyring(database.url)],
];

describe.each(stores)('the keyring %s', (_where, store) => {
  test('is made once when twelve replicas start at the same moment', async () => {
    const rings = await Promise.all(Array.from({ length: 12 }, () => openKeyring(store(), kernel)));
    expect(new Set(rings.map(fingerprint)).size).toBe(1);
  });

  test('is the same after a restart', async () => {
    expect(fingerprint(await openKeyring(store(), kernel))).toBe(fingerprint(await openKeyring(store(), kernel)));
  });

  test('publishes the key that it signs with, and no more of it than the public half', async () => {
    const ring = await openKeyring(store(), kernel);
    const { kid, privateKey } = ring.signingKey();
    const signature = sign(null, Buffer.from('text'), privateKey);
    expect(verify(null, Buffer.from('text'), ring.verifyKeys().get(kid)!, signature)).toBe(true);
    const [jwk] = ring.jwks().keys;
    expect(verify(null, Buffer.from('text'), createPublicKey({ key: { ...jwk! }, format: 'jwk' }), signature)).toBe(
      true,
    );
    expect(Object.keys(jwk!).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x']);
    expect(ring.nonceSecret()).toHaveLength(32);
  });
});

describe('a keyring file', () => {
  test('is for its owner alone, and no draft of it is left behind', async () => {
    const { mode } = await stat(join(folder, 'data', 'keyring.json'));
    expect(mode & 0o777).toBe(0o600);
    expect(await readdir(join(folder, 'data'))).toEqual(['keyring.json']);
  });

  test('is refused when others may read it', async () => {
    const path = await made();
    for (const mode of [0o640, 0o604]) {
      await chmod(path, mode);
      await expect(openKeyring(fileKeyring(join(path, '..')), kernel)).rejects.toThrow(/others may read it.*chmod 600/);
    }
  });

  test('is refused, with its name and without its secrets, when it is damaged; and it is left as it is', async () => {
    const path = await made();
    const good = await readFile(path, 'utf8');
    const records = JSON.parse(good) as { purpose: string; id: string; secret: string }[];
    const swapped = records.map((record) => ({ ...record, secret: 'A'.repeat(43) }));
    for (const bad of [
      '',
      '[]',
      '{}',
      'null',
      good.slice(0, -20),
      JSON.stringify([{}]),
      JSON.stringify(swapped),
      JSON.stringify([records[0]]),
    ]) {
      await writeFile(path, bad);
      const error = await openKeyring(fileKeyring(join(path, '..')), kernel).then(
        () => undefined,
        (it: Error) => it,
      );
      expect(error?.message).toMatch(/keyring/);
      for (const { secret } of records) expect(String(error?.stack)).not.toContain(secret);
      expect(await readFile(path, 'utf8')).toBe(bad);
    }
  });
});

describe('a keyring table', () => {
  test('that someone else made is refused and left as it is', async () => {
    const other = await freshDatabase();
    try {
      await query(other.url, 'CREATE TABLE federation_keyring (name text)');
      await query(other.url, "INSERT INTO federation_keyring VALUES ('theirs')");
      await expect(openKeyring(postgresKeyring(other.url), kernel)).rejects.toThrow('not made by this hub');
      expect(await query(other.url, 'SELECT * FROM federation_keyring')).toEqual([{ name: 'theirs' }]);
    } finally {
      await other.drop();
    }
  });

  test('that cannot be reached is a fault, said in a sentence', async () => {
    await expect(openKeyring(postgresKeyring('postgres://nobody@127.0.0.1:1/none'), kernel)).rejects.toMatchObject({
      code: 'log_unavailable',
      message: 'the keyring in PostgreSQL could not be opened',
    });
  });
});

function fingerprint(ring: Keyring): string {
  return [ring.signingKey().kid, JSON.stringify(ring.jwks()), Buffer.from(ring.nonceSecret()).toString('hex')].join();
}

async function made(): Promise<string> {
  const own = await mkdtemp(join(parent, 'own-'));
  await openKeyring(fileKeyring(own), kernel);
  return join(own, 'keyring.json');
}

async function query(url: string, text: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query(text);
  await client.end();
  return rows;
}
