/**
 * Files in a bucket of S3, or of what speaks like it. An upload is a row of pieces, `staging/<upload>/<offset>`, each an object that is there
 * or is not; a blob is the same pieces copied within the store, `blobs/ab/<hash>/<offset>`, and their list, `blobs/ab/<hash>.json`, which is
 * written last and deleted first: a blob is there when its list is. Nothing lies anywhere that a listing does not show.
 */
import { Readable } from 'node:stream';
import type { S3Client } from '@aws-sdk/client-s3';
import { Fault } from '../../errors.ts';
import { LockLost } from './locks.ts';
import type { FileStore } from './store.ts';

/** Bytes of a piece at most: what is held in memory for each upload under way, twice, while there is room. */
const pieceBytes = 8 * 1024 * 1024;
/** Pieces that are sent at once, over all uploads of a replica; further ones wait. */
const mostSent = 32;
/** Bytes that are held of all uploads of a replica; beyond them pieces are sent as small as this, whoever is slow to fill its own. */
const mostHeldBytes = 256 * 1024 * 1024;
const leastPieceBytes = 256 * 1024;
/** Pieces that are copied side by side. */
const copiedTogether = 8;
/** Names that are deleted together, and listed together: what S3 takes at most. */
const pageKeys = 1_000;
const offsetDigits = 15;

type Sdk = typeof import('@aws-sdk/client-s3');

interface Piece {
  readonly at: number;
  readonly size: number;
  readonly key: string;
  readonly touched: number;
}

/** `s3://<bucket>/<prefix>?endpoint=…&region=…`. Without credentials, the SDK looks for them where it always does. */
export async function openS3Store(
  url: string,
  credentials: { accessKeyId: string; secretAccessKey: string } | undefined,
  heldBytes = mostHeldBytes,
): Promise<FileStore> {
  const sdk = await import('@aws-sdk/client-s3');
  const { host: bucket, pathname, searchParams } = new URL(url);
  const endpoint = searchParams.get('endpoint') ?? undefined;
  const client = new sdk.S3Client({
    region: searchParams.get('region') ?? 'us-east-1',
    ...(endpoint !== undefined && { endpoint, forcePathStyle: true }),
    ...(credentials && { credentials }),
    requestChecksumCalculation: 'WHEN_REQUIRED', // what only speaks like S3 seldom knows the newer sums
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
  const prefix = pathname.replace(/^\/+|\/+$/g, '');
  return new S3Store(sdk, client, { bucket, prefix: prefix === '' ? '' : `${prefix}/`, heldBytes });
}

class S3Store implements FileStore {
  readonly #sdk: Sdk;
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;
  readonly #mostHeldBytes: number;
  #heldBytes = 0;
  #sent = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(
    sdk: Sdk,
    client: S3Client,
    { bucket, prefix, heldBytes }: { readonly bucket: string; readonly prefix: string; readonly heldBytes: number },
  ) {
    this.#sdk = sdk;
    this.#client = client;
    this.#bucket = bucket;
    this.#prefix = prefix;
    this.#mostHeldBytes = heldBytes;
  }

  async begin(uploadId: string): Promise<void> {
    await this.#put(this.#piece(`staging/${uploadId}`, 0), Buffer.alloc(0), 'unless there');
  }

  async size(uploadId: string): Promise<number | undefined> {
    const pieces = await this.#pieces(`staging/${uploadId}/`);
    return pieces.length === 0 ? undefined : sizeOf(pieces);
  }

  async write(
    uploadId: string,
    offset: number,
    body: AsyncIterable<Buffer>,
    held: () => boolean = () => true,
  ): Promise<number> {
    let at = offset;
    let chunks: Buffer[] = [];
    let bytes = 0;
    let sending: Promise<void> = Promise.resolve();
    const flush = async () => {
      if (bytes === 0) return;
      const piece = Buffer.concat(chunks, bytes);
      const key = this.#piece(`staging/${uploadId}`, at);
      at += bytes;
      [chunks, bytes] = [[], 0];
      const before = sending;
      const put = async () => {
        await before;
        if (!held()) throw new LockLost('the lock of the upload was lost');
        await this.#put(key, piece);
      };
      sending = this.#place().then((give) => put().finally(give));
      sending = sending.finally(() => {
        this.#heldBytes -= piece.length;
      });
      sending.catch(() => {}); // whoever waits for it hears of it
      await before; // one on its way, one that fills
    };
    try {
      for await (const chunk of body) {
        for (let from = 0; from < chunk.length; ) {
          const part = chunk.subarray(from, from + pieceBytes - bytes);
          chunks.push(part);
          bytes += part.length;
          this.#heldBytes += part.length;
          from += part.length;
          if (bytes >= (this.#heldBytes > this.#mostHeldBytes ? leastPieceBytes : pieceBytes)) await flush();
        }
      }
    } catch (error) {
      await flush().catch(() => {}); // what came is kept, if it can be: the upload goes on there
      await sending.catch(() => {});
      throw error;
    }
    await flush();
    await sending;
    return at;
  }

  async read(uploadId: string): Promise<Readable> {
    return Readable.from(this.#bytesOf(await this.#pieces(`staging/${uploadId}/`), 0, Number.MAX_SAFE_INTEGER), {
      objectMode: false,
    });
  }

  async keep(uploadId: string, hash: string, bytes: number): Promise<void> {
    if (await this.#list(hash)) return;
    const pieces = await this.#pieces(`staging/${uploadId}/`);
    if (sizeOf(pieces) !== bytes) throw new Fault('files_unavailable', 'the upload is not what it was');
    const blob = this.#blob(hash);
    await this.#drop(`${blob}/`); // what a copy left that was not finished
    for (let from = 0; from < pieces.length; from += copiedTogether)
      await Promise.all(
        pieces.slice(from, from + copiedTogether).map(({ key, at }) => this.#copy(key, this.#piece(blob, at))),
      );
    const list = pieces.map(({ at, size }) => ({ at, size }));
    await this.#put(`${this.#prefix}${blob}.json`, Buffer.from(JSON.stringify({ hash, pieces: list })));
  }

  drop(uploadId: string): Promise<void> {
    return this.#drop(`staging/${uploadId}/`);
  }

  async open(hash: string, range?: { start: number; end: number }): Promise<Readable | undefined> {
    const list = await this.#list(hash);
    if (!list) return undefined;
    const pieces = list.map(({ at, size }) => ({ at, size, key: this.#piece(this.#blob(hash), at), touched: 0 }));
    const { start = 0, end = Number.MAX_SAFE_INTEGER } = range ?? {};
    return Readable.from(this.#bytesOf(pieces, start, end), { objectMode: false });
  }

  async remove(hash: string): Promise<void> {
    await this.#delete([`${this.#prefix}${this.#blob(hash)}.json`]);
    await this.#drop(`${this.#blob(hash)}/`);
  }

  async *uploads(): AsyncIterable<{ uploadId: string; touched: number }[]> {
    const from = `${this.#prefix}staging/`;
    for await (const page of this.#listed('staging/'))
      yield page.map(({ key, touched }) => ({ uploadId: key.slice(from.length).split('/')[0]!, touched }));
  }

  async *blobs(): AsyncIterable<{ hash: string; touched: number }[]> {
    const from = `${this.#prefix}blobs/`;
    let last = '';
    for await (const page of this.#listed('blobs/')) {
      const found: { hash: string; touched: number }[] = [];
      for (const { key, touched } of page) {
        const hash = key.slice(from.length).split(/[/.]/)[1] ?? '';
        if (hash !== last) found.push({ hash, touched });
        last = hash;
      }
      yield found;
    }
  }

  async close(): Promise<void> {
    this.#client.destroy();
  }

  #blob(hash: string): string {
    return `blobs/${hash.slice(0, 2)}/${hash}`;
  }

  #piece(of: string, at: number): string {
    return `${this.#prefix}${of}/${String(at).padStart(offsetDigits, '0')}`;
  }

  /** Those that follow each other from the beginning; what does not is of a writer that lost its lock. */
  async #pieces(under: string): Promise<Piece[]> {
    const pieces: Piece[] = [];
    for await (const page of this.#listed(under))
      for (const { key, size, touched } of page) {
        const at = Number(key.slice(-offsetDigits));
        if (at === sizeOf(pieces)) pieces.push({ at, size, key, touched });
      }
    // The empty piece of the beginning gives way to the first that holds something.
    return pieces;
  }

  /** The pieces of a blob; undefined when it is not there. */
  async #list(hash: string): Promise<{ at: number; size: number }[] | undefined> {
    const key = `${this.#prefix}${this.#blob(hash)}.json`;
    try {
      const { Body } = await this.#client.send(new this.#sdk.GetObjectCommand({ Bucket: this.#bucket, Key: key }));
      const { pieces } = JSON.parse((await Body?.transformToString()) ?? '') as {
        pieces: { at: number; size: number }[]; // as `keep` wrote it
      };
      return pieces;
    } catch (error) {
      return isMissing(error) ? undefined : fail(error);
    }
  }

  async *#bytesOf(pieces: readonly Piece[], start: number, end: number): AsyncGenerator<Buffer> {
    for (const { at, size, key } of pieces) {
      const [first, last] = [Math.max(0, start - at), Math.min(size - 1, end - at)];
      if (size === 0 || last < first) continue;
      const asked = { Bucket: this.#bucket, Key: key, Range: `bytes=${first}-${last}` };
      const { Body } = await this.#client.send(new this.#sdk.GetObjectCommand(asked)).catch(fail);
      yield* exactly(Body as Readable, last - first + 1); // on Node it is one
    }
  }

  async *#listed(under: string): AsyncGenerator<{ key: string; size: number; touched: number }[]> {
    let from: string | undefined;
    do {
      const asked = { Bucket: this.#bucket, Prefix: this.#prefix + under, MaxKeys: pageKeys, ContinuationToken: from };
      const page = await this.#client.send(new this.#sdk.ListObjectsV2Command(asked)).catch(fail);
      yield (page.Contents ?? []).map(({ Key = '', Size = 0, LastModified }) => ({
        key: Key,
        size: Size,
        touched: LastModified?.getTime() ?? 0,
      }));
      from = page.NextContinuationToken;
    } while (from !== undefined);
  }

  async #put(Key: string, Body: Buffer, unless?: 'unless there'): Promise<void> {
    if (unless && (await this.#isThere(Key))) return;
    await this.#client.send(new this.#sdk.PutObjectCommand({ Bucket: this.#bucket, Key, Body })).catch(fail);
  }

  async #isThere(Key: string): Promise<boolean> {
    try {
      await this.#client.send(new this.#sdk.HeadObjectCommand({ Bucket: this.#bucket, Key }));
      return true;
    } catch (error) {
      return isMissing(error) ? false : fail(error);
    }
  }

  async #copy(from: string, Key: string): Promise<void> {
    const CopySource = `${this.#bucket}/${from.split('/').map(encodeURIComponent).join('/')}`;
    await this.#client.send(new this.#sdk.CopyObjectCommand({ Bucket: this.#bucket, Key, CopySource })).catch(fail);
  }

  async #drop(under: string): Promise<void> {
    for await (const page of this.#listed(under)) await this.#delete(page.map(({ key }) => key));
  }

  async #delete(keys: readonly string[]): Promise<void> {
    if (keys.length === 0) return;
    const Delete = { Objects: keys.map((Key) => ({ Key })), Quiet: true };
    await this.#client.send(new this.#sdk.DeleteObjectsCommand({ Bucket: this.#bucket, Delete })).catch(fail);
  }

  /** A turn to send one piece; what is answered gives it back. */
  async #place(): Promise<() => void> {
    while (this.#sent >= mostSent) await new Promise<void>((free) => this.#waiting.push(free));
    this.#sent++;
    return () => {
      this.#sent--;
      this.#waiting.shift()?.();
    };
  }
}

/** So many bytes, whatever a store makes of the range that it was asked for. Throws a `Fault` when it has less. */
async function* exactly(body: AsyncIterable<Buffer>, bytes: number): AsyncGenerator<Buffer> {
  let left = bytes;
  try {
    for await (const chunk of body) {
      yield chunk.subarray(0, left);
      left -= Math.min(left, chunk.length);
      if (left === 0) return;
    }
  } catch (error) {
    fail(error);
  }
  throw new Fault('files_unavailable', 'the store of files gave less than it has');
}

function sizeOf(pieces: readonly Pick<Piece, 'at' | 'size'>[]): number {
  const last = pieces.at(-1);
  return last ? last.at + last.size : 0;
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && ['NoSuchKey', 'NotFound'].includes(error.name);
}

function fail(error: unknown): never {
  throw new Fault('files_unavailable', 'the store of files failed', error);
}
