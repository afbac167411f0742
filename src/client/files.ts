/**
 * Files of a node: sent by tus, so that an upload goes on where it was after a cut or a restart of the hub; fetched by ranges, so that a
 * download does too; and checked by their hash at both ends.
 */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { FileAddress } from '../events/file.ts';
import type { FileView } from '../protocol/files.ts';
import { HubRefusal, HubUnreachable } from './connection.ts';
import { callHub, refusalOf } from './http.ts';
import { isPassing, retryInMs } from './retry.ts';
import type { Line } from './sender.ts';
import { upload } from './upload.ts';

/** A file as the hub shows it. */
export type SharedFile = FileView;

export interface PutOptions {
  /** `'ada'` is a node; `{ entity }`, `{ channel }`, `{ role }` and `{ everyone: true }` are others. */
  readonly to: string | FileAddress;
  /** What it is called there; unsaid: the name of the path, else `file`. */
  readonly name?: string;
  /** Unsaid: `application/octet-stream`. */
  readonly mediaType?: string;
  /** How long it is kept; unsaid: as long as the hub keeps files. */
  readonly ttlSeconds?: number;
  /** Each recipient may have it once; what is for one node alone is gone then. */
  readonly once?: boolean;
  readonly onProgress?: (bytes: number, size: number) => void;
  /** Gives it up; what came at the hub is taken away. */
  readonly signal?: AbortSignal;
  /** How long the hub may be away in a row before it is given up: 5 minutes, unless said. */
  readonly patienceMs?: number;
}

export interface SentFile {
  readonly fileId: string;
  readonly size: number;
  /** SHA-256, hex. */
  readonly sha256: string;
}

export interface GetOptions {
  readonly onProgress?: (bytes: number, size: number) => void;
  readonly signal?: AbortSignal;
  /** How long the hub may be away in a row before it is given up: 5 minutes, unless said. */
  readonly patienceMs?: number;
}

export interface ListOptions {
  readonly direction?: 'sent' | 'received';
}

const usualPatienceMs = 300_000;
const mediaTypeOf = 'application/octet-stream';
/** Between two tries. */
const mostWaitMs = 3_000;

/** What is needed of a node: its line to the hub. */
export type FileLine = Pick<Line, 'url' | 'clock' | 'token'> & {
  /** The token stays the same: what it is refused for is final. */
  readonly fixedToken?: boolean;
};

export class Files {
  readonly #line: FileLine;

  constructor(line: FileLine) {
    this.#line = line;
  }

  /**
   * Sends a file, from a path or a stream; a stream is written to a file of its own first. Resolves when the hub has all of it and its
   * hash is right. Goes on over cuts and restarts of the hub. Throws `HubRefusal`, `HubUnreachable`, and what reading throws.
   */
  async put(source: string | Readable, options: PutOptions): Promise<SentFile> {
    if (typeof source === 'string') return this.#put(source, path.basename(source), options);
    const folder = await mkdtemp(path.join(tmpdir(), 'federation-file-'));
    try {
      const spooled = path.join(folder, 'file');
      await pipeline(source, createWriteStream(spooled, { mode: 0o600 }), { signal: options.signal });
      return await this.#put(spooled, 'file', options);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /**
   * Fetches a file to a path. What came lies at `<path>.part` until all of it did and its hash is right; called again, it goes on there,
   * unless the file is given once: what lies there may be of another, and nobody could ask for the beginning again. Of such a file the
   * last byte, with which it is gone, is asked for when the rest lies there. Throws `HubRefusal` (`hash_mismatch`: what came is thrown away), `HubUnreachable`, and what writing throws.
   */
  async get(fileId: string, target: string, options: GetOptions = {}): Promise<SharedFile> {
    const part = `${target}.part`;
    const file = await this.#patiently(options, part, () => this.#info(fileId));
    if (file.once || (await sizeOf(part)) > file.size) await rm(part, { force: true });
    const ends = file.once && file.size > 1 ? [file.size - 1, file.size] : [file.size];
    for (const end of ends) await this.#patiently(options, part, () => this.#fetch(file, part, end, options));
    const sha256 = await hashOf(part);
    if (sha256 !== file.sha256) {
      await rm(part, { force: true });
      throw new HubRefusal('hash_mismatch', `what came gives ${sha256}, not ${file.sha256}`);
    }
    await rename(part, target);
    return file;
  }

  /** All files that this node sent or may fetch, the newest first. Throws `HubRefusal` and `HubUnreachable`. */
  async list({ direction }: ListOptions = {}): Promise<SharedFile[]> {
    const files: SharedFile[] = [];
    let cursor: string | null = null;
    do {
      const query = new URLSearchParams({ limit: '500', ...(direction && { direction }), ...(cursor && { cursor }) });
      const page = (await callHub(this.#line, 'GET', `/files?${query}`)) as {
        files: SharedFile[];
        next_cursor: string | null; // by its schema
      };
      files.push(...page.files);
      cursor = page.next_cursor;
    } while (cursor);
    return files;
  }

  /** Takes away a file that this node sent. Throws `HubRefusal` and `HubUnreachable`. */
  async remove(fileId: string): Promise<void> {
    await callHub(this.#line, 'DELETE', `/files/${encodeURIComponent(fileId)}`);
  }

  async #info(fileId: string): Promise<SharedFile> {
    const answer = await callHub(this.#line, 'GET', `/files/${encodeURIComponent(fileId)}/info`);
    const { file } = answer as { file: SharedFile }; // by its schema
    if (file.sha256 === null) throw new HubRefusal('not_found', 'the file is not all there yet');
    return file;
  }

  /** Tries until it is done, for as long as the hub is not away too long in a row: what grows `part` counts as an answer. */
  async #patiently<T>(
    { signal, patienceMs = usualPatienceMs }: GetOptions,
    part: string,
    attempt: () => Promise<T>,
  ): Promise<T> {
    const { clock } = this.#line;
    let since = clock.monotonicMs();
    for (let failures = 0; ; failures++) {
      const before = await sizeOf(part);
      try {
        return await attempt();
      } catch (error) {
        signal?.throwIfAborted();
        if (!isPassing(error) || this.#isFinal(error)) throw error;
        const now = clock.monotonicMs();
        if ((await sizeOf(part)) > before) [failures, since] = [0, now];
        if (now - since > patienceMs) throw error;
        await this.#wait(Math.min(mostWaitMs, retryInMs(failures, undefined, clock.random())));
      }
    }
  }

  async #put(source: string, fallbackName: string, options: PutOptions): Promise<SentFile> {
    const { size } = await stat(source);
    const sha256 = await hashOf(source, options.signal);
    const { to, ttlSeconds, once, signal, onProgress, patienceMs = usualPatienceMs } = options;
    const metadata = {
      filename: options.name ?? fallbackName,
      filetype: options.mediaType ?? mediaTypeOf,
      sha256,
      to: JSON.stringify(typeof to === 'string' ? { node: to } : to),
      ...(ttlSeconds !== undefined && { ttl: String(ttlSeconds) }),
      ...(once && { once: 'true' }),
    };
    const fileId = await upload(source, size, metadata, {
      endpoint: `${this.#base()}/files`,
      clock: this.#line.clock,
      token: () => this.#token(patienceMs),
      fixedToken: this.#line.fixedToken === true,
      onProgress,
      signal,
      patienceMs,
    });
    return { fileId, size, sha256 };
  }

  /** Brings what lies there up to an end. */
  async #fetch(file: SharedFile, part: string, end: number, { onProgress, signal }: GetOptions): Promise<void> {
    const from = await sizeOf(part);
    if (from >= end && from > 0) return;
    const headers: Record<string, string> = { authorization: `Bearer ${await this.#token(usualPatienceMs)}` };
    if (from > 0 || end < file.size)
      [headers.range, headers['if-range']] = [`bytes=${from}-${end - 1}`, `"${file.sha256}"`];
    const url = `${this.#base()}/files/${encodeURIComponent(file.file_id)}`;
    const response = await fetch(url, { headers, ...(signal && { signal }) }).catch((error: unknown) => {
      throw new HubUnreachable(`no answer to GET ${url}`, error);
    });
    if (!response.ok) throw refusalOf(response, await response.json().catch(() => undefined));
    let at = response.status === 206 ? from : 0;
    const counted = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        at += chunk.length;
        onProgress?.(at, file.size);
        done(null, chunk);
      },
    });
    const body = response.body ? Readable.fromWeb(response.body as never) : Readable.from([]); // the one kind of web stream that Node has
    let lost: unknown;
    body.once('error', (error) => {
      lost = error;
    });
    await pipeline(body, counted, createWriteStream(part, { flags: at > 0 ? 'a' : 'w' })).catch((error: unknown) => {
      throw lost === undefined ? error : new HubUnreachable('the download broke off', error);
    });
    if (at < end) throw new HubUnreachable('the download broke off');
  }

  #isFinal(error: unknown): boolean {
    return this.#line.fixedToken === true && error instanceof HubRefusal && error.code === 'unauthenticated';
  }

  #base(): string {
    return `${this.#line.url.replace(/^ws/, 'http').replace(/\/+$/, '')}/api/federation`;
  }

  /** The token of the session; waits for one. */
  async #token(patienceMs: number): Promise<string> {
    const { clock, token } = this.#line;
    const until = clock.monotonicMs() + patienceMs;
    for (let known = token(); ; known = token()) {
      if (known !== undefined) return known;
      if (clock.monotonicMs() > until) throw new HubUnreachable('there is no session to send a file in');
      await this.#wait(250);
    }
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#line.clock.after(ms, resolve));
  }
}

async function sizeOf(file: string): Promise<number> {
  return stat(file).then(
    ({ size }) => size,
    () => 0,
  );
}

async function hashOf(file: string, signal?: AbortSignal): Promise<string> {
  const hash: Hash = createHash('sha256');
  await pipeline(createReadStream(file, { highWaterMark: 1024 * 1024 }), hash, { signal });
  return hash.digest('hex');
}
