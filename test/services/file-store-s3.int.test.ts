/** Files in S3 keep what a store promises, and a hub that has them there works as any. */
import { randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { describe, expect, it, vi } from 'vitest';
import { openS3Store } from '../../src/services/file-transfer/store-s3.ts';
import { startTestHub } from '../setup/hub.ts';
import { startS3 } from '../setup/s3.ts';
import { conforms } from './file-store-conformance.ts';
import { ask, fetchBytes, sha256, upload } from './tus.ts';

const mebibyte = 1024 * 1024;

describe('a bucket', () => {
  conforms(async () => {
    const s3 = await startS3();
    return { open: () => openS3Store(s3.url, s3.credentials), lies: () => s3.keys(), remove: () => s3.stop() };
  });

  it('holds so much of all uploads in memory: beyond it, what came of those that stand still lies there sooner', async () => {
    const s3 = await startS3();
    const store = await openS3Store(s3.url, s3.credentials, 4 * mebibyte);
    const chunk = randomBytes(64 * 1024);
    let goOn = () => {};
    const gate = new Promise<void>((open) => {
      goOn = open;
    });
    const stalling = async function* () {
      for (let n = 0; n < 16; n++) yield chunk;
      await gate;
    };
    const ids = Array.from({ length: 8 }, (_, n) => `01a20000-0000-7000-8000-00000000000${n}`);
    for (const id of ids) await store.begin(id);
    const writing = ids.map((id) => store.write(id, 0, stalling()));
    const lying = async () => {
      const sizes = await Promise.all(ids.map((id) => store.size(id)));
      return sizes.reduce<number>((sum, size = 0) => sum + size, 0);
    };
    await expect.poll(lying).toBeGreaterThan(mebibyte);
    goOn();
    expect(await Promise.all(writing)).toEqual(ids.map(() => mebibyte));
    const whole = Buffer.concat(Array.from({ length: 16 }, () => chunk));
    for (const id of ids) expect((await buffer(await store.read(id))).equals(whole)).toBe(true);
    await store.close();
    await s3.stop();
  });

  it('says so when it cannot be reached', async () => {
    const store = await openS3Store('s3://hub-files/x?endpoint=http://127.0.0.1:9', {
      accessKeyId: 'a',
      secretAccessKey: 'b',
    });
    await expect(store.size('01a20000-0000-7000-8000-000000000001')).rejects.toMatchObject({
      code: 'files_unavailable',
    });
    await store.close();
  });
});

it('a hub keeps files in a bucket, and nothing of those that are gone', async () => {
  const s3 = await startS3();
  const hub = await startTestHub({
    env: {
      FEDERATION_FILES_URL: s3.url,
      AWS_ACCESS_KEY_ID: s3.credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: s3.credentials.secretAccessKey,
    },
  });
  const at = { url: hub.url, token: hub.adminToken };
  const bytes = randomBytes(9 * 1024 * 1024);
  const id = await upload(at, bytes, { to: 'everyone', sha256: sha256(bytes) });
  expect((await fetchBytes(at, id)).bytes.equals(bytes)).toBe(true);
  const part = await fetchBytes(at, id, { range: 'bytes=8388600-8388620' });
  expect(part.bytes.equals(bytes.subarray(8388600, 8388621))).toBe(true);
  expect((await ask(at, 'DELETE', `/files/${id}`)).status).toBe(204);
  await vi.waitFor(async () => expect(await s3.keys()).toEqual([]), 5_000);
  await hub.stop();
  await s3.stop();
});
