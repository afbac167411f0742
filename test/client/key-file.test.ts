/** The file of a node's key: made once, for its owner alone, never overwritten. */
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { importJWK } from 'jose';
import { afterAll, expect, test } from 'vitest';
import { openKeyFile } from '../../src/client/key-file.ts';
import { FederationNode } from '../../src/client/node.ts';
import { checkKey, verify } from '../../src/ed25519.ts';

const folder = await mkdtemp(join(tmpdir(), 'fedhub-key-'));
afterAll(() => rm(folder, { recursive: true }));

test('is made at first use, with its folder, readable by its owner alone', async () => {
  const path = join(folder, 'new', 'node.key');
  const key = await openKeyFile(path);
  expect(checkKey(key.publicKey)).toBeUndefined();
  const message = Buffer.from('hello');
  expect(verify(key.publicKey, message, Buffer.from(await key.sign(message)).toString('base64url'))).toBe(true);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await readdir(join(folder, 'new'))).toEqual(['node.key']);
  expect(await importJWK(JSON.parse(await readFile(path, 'utf8')), 'EdDSA')).toBeDefined();
});

test('gives the same key each time, also to eight who make it at once', async () => {
  const path = join(folder, 'raced.key');
  const keys = await Promise.all(Array.from({ length: 8 }, () => openKeyFile(path)));
  expect(new Set([...keys, await openKeyFile(path)].map(({ publicKey }) => publicKey)).size).toBe(1);
});

test('is refused when others may read it, before anything is sent', async () => {
  const path = join(folder, 'open.key');
  await openKeyFile(path);
  for (const mode of [0o644, 0o660, 0o604]) {
    await chmod(path, mode);
    await expect(openKeyFile(path)).rejects.toThrow(/others may read it.*chmod 600/);
  }
  const node = new FederationNode({ url: 'http://127.0.0.1:1', nodeId: 'alpha', keyFile: path });
  await expect(node.connect()).rejects.toThrow(/others may read it/);
});

test('is refused when it holds something else, which stays as it is and is not quoted', async () => {
  const path = join(folder, 'damaged.key');
  await openKeyFile(path);
  const good = await readFile(path, 'utf8');
  const { d, ...publicHalf } = JSON.parse(good) as Record<string, string>;
  const halves = [
    publicHalf,
    { ...publicHalf, d: 'short' },
    { ...publicHalf, d, crv: 'X25519' },
    { ...publicHalf, d, x: 'A'.repeat(43) },
    d,
  ];
  for (const bad of ['', 'null', good.slice(0, -5), ...halves.map((half) => JSON.stringify(half))]) {
    await writeFile(path, bad);
    const error = await openKeyFile(path).then(
      () => undefined,
      (it: Error) => it,
    );
    expect(error?.message, bad).toBe(`${path} is not an Ed25519 private key as a JWK`);
    expect(String(error?.stack)).not.toContain(d);
    expect(await readFile(path, 'utf8')).toBe(bad);
  }
});

test('or a key of one’s own, and not both, is what a node takes', async () => {
  expect(() => new FederationNode({ url: 'http://127.0.0.1:1', nodeId: 'alpha' })).toThrow('either keyFile or key');
  const key = await openKeyFile(join(folder, 'raced.key'));
  expect(() => new FederationNode({ url: 'file:///hub', nodeId: 'a', key })).toThrow('not the URL of a hub');
  expect(() => new FederationNode({ url: 'http://127.0.0.1:1', nodeId: 'a', key, keyFile: 'x' })).toThrow(
    'either keyFile or key',
  );
});
