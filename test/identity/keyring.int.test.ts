/** The hub's own keys and the data keys, in a file and in PostgreSQL: made once, shared, rotated, destroyed, refused when damaged. */
import { createPublicKey, sign, verify } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createKernel } from '../../src/kernel.ts';
import type { KeyringStore } from '../../src/keyring/store.ts';
import { postgresKeyring } from '../../src/keyring/store-postgres.ts';
import { sqliteKeyring } from '../../src/keyring/store-sqlite.ts';
import { type Keyring, openKeyring } from '../../src/keyring.ts';
import { freshDatabase } from '../setup/postgres.ts';

const start = Date.parse('2026-03-01T10:00:00Z');
let now = start;
const kernel = createKernel({ logLevel: 'silent' }, { now: () => now });
const database = await freshDatabase();
const parent = await mkdtemp(join(tmpdir(), 'fedhub-keyring-'));
const open: Keyring[] = [];
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(parent, 'shared-'));
});
afterAll(async () => {
  await Promise.all(open.map((ring) => ring.close()));
  await database.drop();
  await rm(parent, { recursive: true });
});

const stores: [string, () => KeyringStore][] = [
  ['in a file', () => sqliteKeyring(join(folder, 'data'))],
  ['in PostgreSQL', () => postgresKeyring(database.url)],
];

async function opened(store: KeyringStore): Promise<Keyring> {
  const ring = await openKeyring(store, kernel);
  open.push(ring);
  return ring;
}

describe.each(stores)('the keyring %s', (where, store) => {
  test('is made once when eight replicas start at the same moment', async () => {
    const rings = await Promise.all(Array.from({ length: 8 }, () => opened(store())));
    expect(new Set(rings.map(fingerprint)).size).toBe(1);
    await Promise.all(rings.map((ring) => ring.close()));
  });

  test('is the same after a restart', async () => {
    expect(fingerprint(await opened(store()))).toBe(fingerprint(await opened(store())));
  });

  test('publishes the key that it signs with, and no more of it than the public half', async () => {
    const ring = await opened(store());
    const { kid, privateKey } = ring.signingKey();
    const signature = sign(null, Buffer.from('text'), privateKey);
    expect(verify(null, Buffer.from('text'), ring.verifyKeys().get(kid)!, signature)).toBe(true);
    const [jwk] = ring.jwks().keys;
    expect(verify(null, Buffer.from('text'), createPublicKey({ key: { ...jwk! }, format: 'jwk' }), signature)).toBe(
      true,
    );
    expect(Object.keys(jwk!).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x']);
    expect(ring.nonceSecrets().map(({ length }) => length)).toEqual([32]);
  });

  test('is rotated without a gap: a new key is published, then signs, and the old one counts until its tokens are over', async () => {
    const [ring, other] = [await opened(store()), await opened(store())];
    const [old, oldSecret] = [ring.signingKey().kid, ring.nonceSecrets()[0]];
    const { kid, activeAt } = await ring.rotate();
    expect(kid).not.toBe(old);
    expect(Date.parse(activeAt) - now).toBe(30_000);
    expect(await ring.rotate()).toEqual({ kid, activeAt }); // it waits already
    const signsAt = (ms: number) => {
      now = ms;
      return other.signingKey().kid;
    };
    await other.reload();
    expect(
      other
        .jwks()
        .keys.map((key) => key.kid)
        .sort(),
    ).toEqual([kid, old].sort());
    expect(other.nonceSecrets()).toHaveLength(2);
    expect(other.nonceSecrets()[0]).toEqual(oldSecret);
    const active = Date.parse(activeAt);
    expect(signsAt(active - 1)).toBe(old);
    expect(signsAt(active)).toBe(kid);
    expect(other.nonceSecrets()[0]).not.toEqual(oldSecret);
    for (const [after, counts, secrets] of [
      [119_999, true, 2],
      [120_000, true, 1],
      [16 * 60_000 - 1, true, 1],
      [16 * 60_000, false, 1],
    ] as const) {
      now = active + after;
      await ring.sweep();
      const fresh = await opened(store());
      expect(fresh.verifyKeys().has(old), `${after} ms after`).toBe(counts);
      expect(fresh.nonceSecrets()).toHaveLength(secrets);
      await fresh.close();
    }
    const file = await everything(where);
    expect(file).not.toContain(old);
    expect(file).toContain(kid);
    expect((await opened(store())).signingKey().kid).toBe(kid);
  });

  test('keeps one data key a subject, the same for all replicas, however many ask at once', async () => {
    const rings = await Promise.all(Array.from({ length: 4 }, () => opened(store())));
    const keys = await Promise.all(rings.flatMap((ring) => [ring.dataKey('node:ada'), ring.dataKey('node:ada')]));
    expect(new Set(keys.map(({ keyId, key }) => `${keyId} ${Buffer.from(key).toString('hex')}`)).size).toBe(1);
    expect(keys[0]!.key).toHaveLength(32);
    expect((await rings[0]!.dataKey('node:bob')).key).not.toEqual(keys[0]!.key);
    expect(await everything(where)).not.toContain(Buffer.from(keys[0]!.key).toString('base64url'));
    const fresh = await opened(store());
    expect(await fresh.dataKeyById('node:ada', keys[0]!.keyId)).toEqual(keys[0]);
    expect(await fresh.dataKeyById('node:bob', keys[0]!.keyId)).toBeUndefined();
    expect(await fresh.dataKeyById('node:nobody', keys[0]!.keyId)).toBeUndefined();
  });

  test('forgets a data key that another replica destroyed without a word, at its next sweep', async () => {
    const [ring, other] = [await opened(store()), await opened(store())];
    const { keyId } = await other.dataKey('node:silent');
    const kept = await other.dataKey('node:kept');
    await ring.erase('node:silent');
    await other.sweep();
    expect(await other.dataKeyById('node:silent', keyId)).toBeUndefined();
    expect(await other.dataKey('node:kept')).toEqual(kept);
  });

  test('destroys the data keys of a subject for good; what comes later has another', async () => {
    const [ring, other] = [await opened(store()), await opened(store())];
    const { keyId, key } = await ring.dataKey('node:carl');
    expect(await other.dataKeyById('node:carl', keyId)).toEqual({ keyId, key });
    const stored = await wrappedOf(where, 'node:carl');
    expect(await ring.erase('node:carl')).toBe(1);
    expect(await ring.erase('node:carl')).toBe(0);
    other.forget('node:carl'); // as the event tells it to
    for (const at of [ring, other]) expect(await at.dataKeyById('node:carl', keyId)).toBeUndefined();
    const next = await other.dataKey('node:carl');
    expect(next.keyId).not.toBe(keyId);
    expect(next.key).not.toEqual(key);
    expect(await ring.dataKeyById('node:carl', keyId)).toBeUndefined();
    if (where === 'in a file')
      expect(await readFile(join(folder, 'data', 'keyring.db'), 'latin1')).not.toContain(stored);
  });

  test('does not remember a data key that was destroyed while it was read', async () => {
    const real = store();
    let arrived = () => {};
    let goOn = () => {};
    const held = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const reading = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const slow = await opened({
      ...real,
      async dataKey(subject) {
        const found = await real.dataKey(subject);
        arrived();
        await held;
        return found;
      },
    });
    const ring = await opened(store());
    const { keyId } = await ring.dataKey('node:dora');
    const late = slow.dataKeyById('node:dora', keyId);
    await reading;
    await ring.erase('node:dora');
    slow.forget('node:dora');
    goOn();
    await late;
    expect(await slow.dataKeyById('node:dora', keyId)).toBeUndefined();
  });

  test('does not take the data key of one subject for that of another', async () => {
    const ring = await opened(store());
    const { keyId } = await ring.dataKey('node:eve');
    await ring.dataKey('node:victim');
    await change(
      where,
      "UPDATE federation_data_keys SET wrapped = (SELECT wrapped FROM federation_data_keys WHERE subject = 'node:victim') WHERE subject = 'node:eve'",
    );
    await expect((await opened(store())).dataKeyById('node:eve', keyId)).rejects.toThrow();
    await ring.erase('node:eve');
  });
});

describe('a keyring file', () => {
  test('is for its owner alone, and no draft or journal of it is left behind', async () => {
    const { mode } = await stat(join(folder, 'data', 'keyring.db'));
    expect(mode & 0o777).toBe(0o600);
    expect(await readdir(join(folder, 'data'))).toEqual(['keyring.db']);
  });

  test('is refused when others may read it', async () => {
    const path = await made();
    for (const mode of [0o640, 0o604]) {
      await chmod(path, mode);
      await expect(openKeyring(sqliteKeyring(join(path, '..')), kernel)).rejects.toThrow(
        /others may read it.*chmod 600/,
      );
    }
  });

  test('is refused, with its name and without its secrets, when it is damaged or something else; and it is left as it is', async () => {
    const path = await made();
    const good = await readFile(path);
    const records = query<{ secret: string }>(path, 'SELECT secret FROM federation_keyring');
    const refused = async () => {
      const error = await openKeyring(sqliteKeyring(join(path, '..')), kernel).then(
        () => undefined,
        (it: Error) => it,
      );
      expect(error?.message).toMatch(/keyring/);
      for (const { secret } of records) expect(String(error?.stack)).not.toContain(secret);
    };
    const other = join(parent, 'other.db');
    new Database(other).exec('CREATE TABLE notes (text TEXT)').close();
    for (const bad of [Buffer.alloc(0), Buffer.from('[]'), good.subarray(0, 5000), await readFile(other)]) {
      await writeFile(path, bad);
      await refused();
      expect(await readFile(path)).toEqual(bad);
    }
    for (const damage of [
      "UPDATE federation_keyring SET secret = 'x'",
      `UPDATE federation_keyring SET secret = '${'A'.repeat(43)}' WHERE purpose = 'sign'`,
      "DELETE FROM federation_keyring WHERE purpose = 'wrap'",
      "DELETE FROM federation_keyring WHERE purpose = 'sign'",
      'DROP TABLE federation_keyring',
    ]) {
      await writeFile(path, good);
      new Database(path).exec(damage).close();
      await refused();
    }
  });
});

describe('a keyring table', () => {
  test('that someone else made is refused and left as it is', async () => {
    const other = await freshDatabase();
    try {
      await queryPostgres(other.url, 'CREATE TABLE federation_keyring (name text)');
      await queryPostgres(other.url, "INSERT INTO federation_keyring VALUES ('theirs')");
      await expect(openKeyring(postgresKeyring(other.url), kernel)).rejects.toThrow('not made by this hub');
      expect(await queryPostgres(other.url, 'SELECT * FROM federation_keyring')).toEqual([{ name: 'theirs' }]);
    } finally {
      await other.drop();
    }
  });

  test('that cannot be reached is a fault, said in a sentence', async () => {
    await expect(openKeyring(postgresKeyring('postgres://nobody@127.0.0.1:1/none'), kernel)).rejects.toMatchObject({
      code: 'log_unavailable',
      message: 'the keyring in PostgreSQL could not be reached',
    });
  });
});

function fingerprint(ring: Keyring): string {
  const secrets = ring.nonceSecrets().map((secret) => Buffer.from(secret).toString('hex'));
  return [ring.signingKey().kid, JSON.stringify(ring.jwks()), ...secrets].join();
}

async function made(): Promise<string> {
  const own = await mkdtemp(join(parent, 'own-'));
  await (await openKeyring(sqliteKeyring(own), kernel)).close();
  return join(own, 'keyring.db');
}

/** All that the store holds, as text. */
async function everything(where: string): Promise<string> {
  const tables = ['federation_keyring', 'federation_data_keys'];
  const rows = await Promise.all(tables.map((table) => ask(where, `SELECT * FROM ${table}`)));
  return JSON.stringify(rows);
}

async function wrappedOf(where: string, subject: string): Promise<string> {
  const rows = await ask(where, `SELECT wrapped FROM federation_data_keys WHERE subject = '${subject}'`);
  return (rows[0] as { wrapped: string }).wrapped; // there is one
}

async function ask(where: string, text: string): Promise<unknown[]> {
  return where === 'in a file' ? query(join(folder, 'data', 'keyring.db'), text) : queryPostgres(database.url, text);
}

async function change(where: string, text: string): Promise<void> {
  if (where === 'in a file') new Database(join(folder, 'data', 'keyring.db')).exec(text).close();
  else await queryPostgres(database.url, text);
}

function query<T>(path: string, text: string): T[] {
  const file = new Database(path);
  try {
    return file.prepare(text).all() as T[]; // the columns that the query names
  } finally {
    file.close();
  }
}

async function queryPostgres(url: string, text: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query(text);
  await client.end();
  return rows;
}
