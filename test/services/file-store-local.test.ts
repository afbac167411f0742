/** Files in a folder keep what a store promises. */
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { LocalStore } from '../../src/services/file-transfer/store-local.ts';
import { conforms } from './file-store-conformance.ts';

describe('a folder', () => {
  conforms(async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-store-'));
    return {
      open: () => LocalStore.open(folder),
      lies: async () =>
        (await readdir(folder, { recursive: true, withFileTypes: true }))
          .filter((entry) => entry.isFile())
          .map(({ name }) => name)
          .sort(),
      remove: () => rm(folder, { recursive: true, force: true }),
    };
  });

  it('gives nothing of a blob that lost its end: whoever asks is told, and not left to wait for the rest', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-store-'));
    const store = await LocalStore.open(folder);
    const hash = 'ab'.repeat(32);
    await mkdir(path.join(folder, 'blobs/ab'));
    await writeFile(path.join(folder, 'blobs/ab', hash), 'half');
    await expect(store.open(hash, { start: 0, end: 7 })).rejects.toMatchObject({ code: 'files_unavailable' });
    expect(await text((await store.open(hash, { start: 1, end: 3 }))!)).toBe('alf');
    await rm(folder, { recursive: true, force: true });
  });

  it('is for nobody else on the machine, and takes no names that lead out of it', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-store-'));
    const store = await LocalStore.open(folder);
    await store.begin('01a20000-0000-7000-8000-000000000001');
    expect((await stat(path.join(folder, 'staging'))).mode & 0o777).toBe(0o700);
    const [upload] = await readdir(path.join(folder, 'staging'));
    expect((await stat(path.join(folder, 'staging', upload!))).mode & 0o777).toBe(0o600);
    for (const name of ['../escape', '/etc/passwd', 'a/b', '..', '']) await expect(store.begin(name)).rejects.toThrow();
    await rm(folder, { recursive: true, force: true });
  });
});
