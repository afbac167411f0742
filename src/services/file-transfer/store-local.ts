/** Files in a folder: `staging/<upload>` while they come, `blobs/ab/<hash>` when they are there. Replicas may share it; it needs hard links. */
import { createReadStream } from 'node:fs';
import { type FileHandle, link, mkdir, open, opendir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { Fault } from '../../errors.ts';
import { LockLost } from './locks.ts';
import type { FileStore } from './store.ts';

/** Read at once, of what is fetched. */
const readBytes = 256 * 1024;
/** Written at once; twice as much is held of an upload under way. */
const batchBytes = 512 * 1024;
/** After so many the disk is asked to keep them. */
const syncBytes = 16 * 1024 * 1024;
/** Names that are listed together. */
const together = 200;
/** Of an upload's second name, while it becomes a blob. */
const linkedName = /\.linked$/;

export class LocalStore implements FileStore {
  readonly #staging: string;
  readonly #blobs: string;

  private constructor(folder: string) {
    this.#staging = path.join(folder, 'staging');
    this.#blobs = path.join(folder, 'blobs');
  }

  static async open(folder: string): Promise<LocalStore> {
    const store = new LocalStore(folder);
    for (const made of [store.#staging, store.#blobs]) await mkdir(made, { recursive: true, mode: 0o700 });
    return store;
  }

  async begin(uploadId: string): Promise<void> {
    const file = await open(this.#upload(uploadId), 'a', 0o600).catch(fail);
    await file.close();
  }

  async size(uploadId: string): Promise<number | undefined> {
    return (await statOf(this.#upload(uploadId)))?.size;
  }

  async write(
    uploadId: string,
    offset: number,
    body: AsyncIterable<Buffer>,
    held: () => boolean = () => true,
  ): Promise<number> {
    const file = await open(this.#upload(uploadId), 'r+').catch(fail);
    const writer = new Writer(file, offset, held);
    try {
      for await (const chunk of body) if (writer.add(chunk)) await writer.room();
      return await writer.end();
    } catch (error) {
      await writer.end().catch(() => {}); // what came is kept, if it can be: the upload goes on there
      throw error;
    } finally {
      await writer.synced();
      await file.close();
    }
  }

  async read(uploadId: string): Promise<Readable> {
    return createReadStream(this.#upload(uploadId), { highWaterMark: readBytes });
  }

  async keep(uploadId: string, hash: string, bytes: number): Promise<void> {
    const [upload, blob] = [this.#upload(uploadId), this.#blob(hash)];
    const [made, there] = [await statOf(upload), await statOf(blob)];
    if (there?.size === bytes) return;
    if (made?.size !== bytes) throw new Fault('files_unavailable', 'the upload is not what it was');
    const file = await open(upload, 'r+').catch(fail);
    await file
      .datasync()
      .catch(fail)
      .finally(() => file.close());
    const folder = path.dirname(blob);
    await mkdir(folder, { recursive: true, mode: 0o700 }).catch(fail);
    const linked = `${upload}.linked`; // a name of its own first: what lies under the hash is whole, or what it replaces is not
    await rm(linked, { force: true });
    await link(upload, linked).catch(fail);
    await rename(linked, blob).catch(fail);
    await rm(linked, { force: true }); // two names of one file are left alone by a rename
    await syncFolder(folder);
  }

  async drop(uploadId: string): Promise<void> {
    for (const name of [this.#upload(uploadId), `${this.#upload(uploadId)}.linked`])
      await rm(name, { force: true }).catch(fail);
  }

  async open(hash: string, range?: { start: number; end: number }): Promise<Readable | undefined> {
    const blob = this.#blob(hash);
    const there = await statOf(blob);
    if (!there) return undefined;
    if (range && range.end > Math.max(there.size - 1, 0))
      // as of a folder that is copied back just now
      throw new Fault('files_unavailable', 'the store of files has less than it had');
    return createReadStream(blob, { ...range, highWaterMark: readBytes });
  }

  async remove(hash: string): Promise<void> {
    await rm(this.#blob(hash), { force: true }).catch(fail);
  }

  async *uploads(): AsyncIterable<{ uploadId: string; touched: number }[]> {
    for await (const files of listed(this.#staging))
      yield files.map(({ name, touched }) => ({ uploadId: name.replace(linkedName, ''), touched }));
  }

  async *blobs(): AsyncIterable<{ hash: string; touched: number }[]> {
    for await (const folder of await opendir(this.#blobs)) {
      if (!/^[0-9a-f]{2}$/.test(folder.name)) continue;
      for await (const files of listed(path.join(this.#blobs, folder.name)))
        yield files.map(({ name: hash, touched }) => ({ hash, touched }));
    }
  }

  async close(): Promise<void> {}

  /** Ids are UUIDs of this hub's making: they lead nowhere else. */
  #upload(uploadId: string): string {
    return path.join(this.#staging, checked(uploadId));
  }

  #blob(hash: string): string {
    return path.join(this.#blobs, checked(hash).slice(0, 2), hash);
  }
}

/** A name that is no path. Throws (a defect) otherwise. */
function checked(name: string): string {
  if (!isName(name)) throw new TypeError(`${name} is no name of a file`);
  return name;
}

function isName(name: string): boolean {
  return /^[0-9a-f][0-9a-f-]{1,63}$/.test(name);
}

/** What the store made; a file system may leave things of its own there, such as `.nfs…`. */
async function* listed(folder: string): AsyncGenerator<{ name: string; touched: number }[]> {
  let some: { name: string; touched: number }[] = [];
  for await (const { name } of await opendir(folder)) {
    if (!isName(name.replace(linkedName, ''))) continue;
    const touched = (await statOf(path.join(folder, name)))?.mtimeMs;
    if (touched !== undefined) some.push({ name, touched });
    if (some.length < together) continue;
    yield some;
    some = [];
  }
  yield some;
}

/** Writes behind what comes: one batch is on its way while the next one fills. */
class Writer {
  readonly #file: FileHandle;
  readonly #held: () => boolean;
  #at: number;
  #batch: Buffer[] = [];
  #bytes = 0;
  #writing: Promise<void> = Promise.resolve();
  /** Written since the disk was last asked to keep it. */
  #unsynced = 0;
  #syncing: Promise<void> | undefined;

  constructor(file: FileHandle, at: number, held: () => boolean) {
    this.#file = file;
    this.#held = held;
    this.#at = at;
  }

  /** Whether there is a batch to be written: then wait for `room`. */
  add(chunk: Buffer): boolean {
    this.#batch.push(chunk);
    this.#bytes += chunk.length;
    return this.#bytes >= batchBytes;
  }

  /** Resolves when what was written before is written. Throws a `Fault`, and `LockLost`. */
  async room(): Promise<void> {
    await this.#writing;
    const [batch, bytes, at] = [this.#batch, this.#bytes, this.#at];
    [this.#batch, this.#bytes] = [[], 0];
    this.#at += bytes;
    if (bytes === 0) return;
    if (!this.#held()) throw new LockLost('the lock of the upload was lost');
    this.#writing = writeAll(this.#file, batch, at).catch(fail);
    this.#writing.catch(() => {}); // whoever waits for it hears of it
    this.#unsynced += bytes;
    if (this.#unsynced >= syncBytes) this.#sync();
  }

  /** Resolves with the end when all is written. Throws as `room`. */
  async end(): Promise<number> {
    await this.room();
    await this.#writing;
    return this.#at;
  }

  /** The file is closed after this. */
  async synced(): Promise<void> {
    await this.#syncing;
  }

  /** Has the disk begin with what lies there, so that not all of it is left for the end; a failure shows then. */
  #sync(): void {
    if (this.#syncing) return;
    this.#unsynced = 0;
    this.#syncing = this.#file
      .datasync()
      .catch(() => {})
      .finally(() => {
        this.#syncing = undefined;
      });
  }
}

async function writeAll(file: FileHandle, batch: readonly Buffer[], at: number): Promise<void> {
  const { bytesWritten: written } = await file.writev([...batch], at);
  if (written === batch.reduce((sum, { length }) => sum + length, 0)) return;
  await writeRest(file, Buffer.concat(batch).subarray(written), at + written);
}

/** What the system did not take at once, as when the disk is nearly full: the error comes with the next write. */
async function writeRest(file: FileHandle, whole: Buffer, at: number): Promise<void> {
  for (let written = 0; written < whole.length; ) {
    const { bytesWritten } = await file.write(whole, written, whole.length - written, at + written);
    written += bytesWritten;
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(fail);
  await handle
    .sync()
    .catch(fail)
    .finally(() => handle.close());
}

async function statOf(file: string): Promise<{ size: number; mtimeMs: number } | undefined> {
  return stat(file).catch((error: unknown) => (codeOf(error) === 'ENOENT' ? undefined : fail(error)));
}

function fail(error: unknown): never {
  const code = codeOf(error);
  if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG')
    throw new Fault('storage_full', 'the store of files has no space left', error);
  throw new Fault('files_unavailable', 'the store of files failed', error);
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
