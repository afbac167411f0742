/** The file of the master key, which replicas share: whatever they do to it at the same moment, and however late, no key is lost. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { createKernel } from '../../src/kernel.ts';
import { type KeySource, keySourceOf, type MasterKeys } from '../../src/services/secrets-vault/key-source.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'fedhub-key-file-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const file = () => path.join(folder, 'vault.key');
const replica = (): KeySource =>
  keySourceOf(readConfig({ FEDERATION_VAULT_KEY_FILE: file() }), createKernel({ logLevel: 'silent' }));
const ids = ({ current, other }: MasterKeys) => [current.id, other?.id];

it('replicas that make it at the same moment get the same key', async () => {
  const made = await Promise.all(Array.from({ length: 4 }, () => replica().create()));
  expect(new Set(made.map(({ current }) => current.id)).size).toBe(1);
});

it('replicas that add the next key at the same moment agree on it, and the one in use stays', async () => {
  for (let round = 0; round < 20; round++) {
    const { current } = (await replica().load()) ?? (await replica().create());
    const added = await Promise.all(Array.from({ length: 4 }, () => replica().addNext(current.id)));
    const [next] = ids(added[0]!);
    expect(next).not.toBe(current.id);
    for (const keys of added) expect(ids(keys)).toEqual([next, current.id]);
    expect(ids((await replica().load())!)).toEqual([next, current.id]);
    const left = await Promise.all(Array.from({ length: 4 }, () => replica().dropOther(next!)));
    for (const keys of left) expect(ids(keys)).toEqual([next, undefined]);
  }
});

it('a replica that was held up while others changed the key takes none away and adds none', async () => {
  const [late, other] = [replica(), replica()];
  const first = (await late.create()).current.id;
  const second = (await other.addNext(first)).current.id;
  await other.dropOther(second);
  expect(ids(await late.addNext(first))).toEqual([second, undefined]);
  const third = (await other.addNext(second)).current.id;
  expect(ids(await late.dropOther(second))).toEqual([third, second]);
  expect(ids(await late.dropOther(first))).toEqual([third, second]);
  expect(ids((await other.load())!)).toEqual([third, second]);
});

it('what a replica left that died in the middle is gone on with, or is in nobody’s way', async () => {
  const source = replica();
  const first = (await source.create()).current.id;
  const before = await readFile(file(), 'utf8');
  const second = (await source.addNext(first)).current.id;
  const between = await readFile(file(), 'utf8');
  await source.dropOther(second);
  for (const left of [before, between]) {
    await writeFile(`${file()}.next`, left, { mode: 0o600 });
    await writeFile(`${file()}.next.0123456789ab.tmp`, left, { mode: 0o600 });
    const { current } = (await source.load())!;
    const next = (await source.addNext(current.id)).current.id;
    expect(ids(await source.dropOther(next))).toEqual([next, undefined]);
    expect(await readdir(folder)).toEqual(['vault.key']);
  }
});
