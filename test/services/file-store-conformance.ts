/** What every store of files promises. */
import { createHash, randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { LockLost } from '../../src/services/file-transfer/locks.ts';
import type { FileStore } from '../../src/services/file-transfer/store.ts';

export interface StorePlace {
  /** Opened anew: as another replica has it. */
  open(): Promise<FileStore>;
  /** Names of all that lies there. */
  lies(): Promise<string[]>;
  remove(): Promise<void>;
}

const uploadId = () => `01a20000-0000-7000-8000-${randomBytes(6).toString('hex')}`;
const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
async function* chunks(...some: Uint8Array[]): AsyncGenerator<Buffer> {
  for (const chunk of some) yield Buffer.from(chunk);
}

export function conforms(place: () => Promise<StorePlace>): void {
  let there: StorePlace;
  let store: FileStore;
  let elsewhere: FileStore;

  beforeAll(async () => {
    there = await place();
    store = await there.open();
    elsewhere = await there.open();
  });
  afterAll(async () => {
    await store?.close();
    await elsewhere?.close();
    await there?.remove();
  });

  const uploaded = async (...parts: Uint8Array[]) => {
    const id = uploadId();
    await store.begin(id);
    await store.write(id, 0, chunks(...parts));
    return id;
  };
  const blobOf = async (hash: string, range?: { start: number; end: number }) => {
    const bytes = await elsewhere.open(hash, range);
    return bytes && buffer(bytes);
  };

  it('knows nothing of an upload that was not begun, and nothing of a blob that was not kept', async () => {
    expect(await store.size(uploadId())).toBeUndefined();
    expect(await store.open(hashOf(randomBytes(4)))).toBeUndefined();
    await store.drop(uploadId());
    await store.remove(hashOf(randomBytes(4)));
  });

  it('begins an upload without bytes, and does not begin it anew', async () => {
    const id = uploadId();
    await store.begin(id);
    expect(await elsewhere.size(id)).toBe(0);
    await store.write(id, 0, chunks(randomBytes(3)));
    await elsewhere.begin(id);
    expect(await store.size(id)).toBe(3);
  });

  it('adds to an upload in many parts, wherever each comes', async () => {
    const id = uploadId();
    await store.begin(id);
    const bytes = randomBytes(20 * 1024 * 1024 + 7);
    const cuts = [0, 1, 100_000, 8 * 1024 * 1024, 8 * 1024 * 1024 + 1, bytes.length];
    for (const [at, cut] of cuts.slice(0, -1).entries()) {
      const part = bytes.subarray(cut, cuts[at + 1]);
      const by = at % 2 ? store : elsewhere;
      expect(await by.write(id, cut, chunks(part.subarray(0, 10), part.subarray(10)))).toBe(cuts[at + 1]);
      expect(await store.size(id)).toBe(cuts[at + 1]);
    }
    expect((await buffer(await store.read(id))).equals(bytes)).toBe(true);
    await store.keep(id, hashOf(bytes), bytes.length);
    expect((await blobOf(hashOf(bytes)))?.equals(bytes)).toBe(true);
    for (const [start, end] of [
      [0, 0],
      [99_999, 100_000],
      [8 * 1024 * 1024 - 5, 8 * 1024 * 1024 + 5],
      [bytes.length - 1, bytes.length - 1],
    ] as const)
      expect((await blobOf(hashOf(bytes), { start, end }))?.equals(bytes.subarray(start, end + 1))).toBe(true);
  });

  it('keeps of an upload that breaks off what is right, and goes on there', async () => {
    const id = uploadId();
    await store.begin(id);
    const bytes = randomBytes(100_000);
    const breaking = async function* () {
      yield bytes.subarray(0, 60_000);
      throw new Error('the line was cut');
    };
    await expect(store.write(id, 0, breaking())).rejects.toThrow('the line was cut');
    const at = (await elsewhere.size(id))!;
    expect(at).toBeLessThanOrEqual(60_000);
    await elsewhere.write(id, at, chunks(bytes.subarray(at)));
    expect((await buffer(await store.read(id))).equals(bytes)).toBe(true);
  });

  it('writes nothing more for whoever lost the lock: what another wrote there since stays', async () => {
    const [late, bytes] = [randomBytes(1_000), randomBytes(5_000)];
    for (const ends of [true, false]) {
      const id = uploadId();
      await store.begin(id);
      let held = true;
      const paused = async function* () {
        yield late;
        held = false;
        await elsewhere.write(id, 0, chunks(bytes));
        if (!ends) throw new Error('the line was cut');
      };
      const written = store.write(id, 0, paused(), () => held);
      await expect(written).rejects.toThrow(ends ? LockLost : 'the line was cut');
      expect((await buffer(await elsewhere.read(id))).equals(bytes)).toBe(true);
    }
  });

  it('makes no blob of an upload that is shorter than it was', async () => {
    const bytes = randomBytes(2_000);
    const id = await uploaded(bytes.subarray(0, 1_999));
    await expect(store.keep(id, hashOf(bytes), bytes.length)).rejects.toMatchObject({ code: 'files_unavailable' });
    expect(await elsewhere.open(hashOf(bytes))).toBeUndefined();
  });

  it('keeps a blob until it is removed, whatever becomes of the upload; twice is harmless', async () => {
    const bytes = randomBytes(5_000);
    const id = await uploaded(bytes);
    await store.keep(id, hashOf(bytes), bytes.length);
    await elsewhere.keep(id, hashOf(bytes), bytes.length);
    expect(await store.size(id)).toBe(bytes.length);
    await store.drop(id);
    expect(await elsewhere.size(id)).toBeUndefined();
    expect((await blobOf(hashOf(bytes)))?.equals(bytes)).toBe(true);
    await store.remove(hashOf(bytes));
    await store.remove(hashOf(bytes));
    expect(await blobOf(hashOf(bytes))).toBeUndefined();
  });

  it('keeps the bytes of two uploads that are the same once', async () => {
    const bytes = randomBytes(3_000);
    const [one, other] = [await uploaded(bytes), await uploaded(bytes.subarray(0, 1_000), bytes.subarray(1_000))];
    await store.keep(one, hashOf(bytes), bytes.length);
    const before = await there.lies();
    await elsewhere.keep(other, hashOf(bytes), bytes.length);
    expect(await there.lies()).toEqual(before);
  });

  it('keeps what has no bytes', async () => {
    const id = uploadId();
    await store.begin(id);
    await store.keep(id, hashOf(Buffer.alloc(0)), 0);
    expect(await blobOf(hashOf(Buffer.alloc(0)))).toHaveLength(0);
  });

  it('lists uploads and blobs, and leaves nothing of those that are gone', async () => {
    const bytes = randomBytes(9 * 1024 * 1024);
    const id = await uploaded(bytes);
    await store.keep(id, hashOf(bytes), bytes.length);
    const all = async <T>(pages: AsyncIterable<readonly T[]>) => {
      const found: T[] = [];
      for await (const page of pages) found.push(...page);
      return found;
    };
    const uploads = async () => (await all(elsewhere.uploads())).map((upload) => upload.uploadId);
    const blobs = async () => (await all(elsewhere.blobs())).map((blob) => blob.hash);
    expect([await uploads(), await blobs()]).toEqual([
      expect.arrayContaining([id]),
      expect.arrayContaining([hashOf(bytes)]),
    ]);
    for (const left of await uploads()) await store.drop(left);
    for (const left of await blobs()) await store.remove(left);
    expect([await uploads(), await blobs(), await there.lies()]).toEqual([[], [], []]);
  });
}
