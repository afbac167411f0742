/** One request of tus 1.0, answered by `@tus/server` over the store of files. Loaded when the first upload comes. */
import { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { DataStore, ERRORS, type Locker, Server, Upload } from '@tus/server';
import type { KeptFile } from '../../commands/file.ts';
import { Fault, type Refusal, refuse } from '../../errors.ts';
import type { Digests } from './digests.ts';
import { type Lock, LockLost, type Locks } from './locks.ts';
import type { FileStore } from './store.ts';

export interface TusRequest {
  readonly method: string;
  /** Where uploads lie: the path before their ids. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Readable | undefined;
  readonly file: KeptFile;
  /** Told as bytes lie there: how many do. */
  grown(bytes: number): void;
}

export interface TusAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Bytes that lie there now, as far as the request told; undefined when it did not. */
  readonly offset: number | undefined;
}

/** How long a request may still finish when another wants its upload: a connection that hangs never does. */
const drainMs = 1_000;

export interface TusParts {
  readonly store: FileStore;
  readonly locks: Locks;
  readonly digests: Digests;
  readonly maxBytes: number;
}

/** What a request under way learns. */
interface Under {
  lock: Lock | undefined;
  offset: number | undefined;
  error: unknown;
  /** Settles when the store is done with what came, with what went wrong: the library may give up before. */
  writing: Promise<unknown>;
}

/** Refuses `upload_locked`, `offset_mismatch`, `payload_too_large`, `file_gone`, `tus_unsupported` and `invalid_input`. Throws what store and body throw. */
export async function serveTus(parts: TusParts, request: TusRequest): Promise<TusAnswer | Refusal> {
  const under: Under = { lock: undefined, offset: undefined, error: undefined, writing: Promise.resolve() };
  const fileId = request.file.facts.file_id;
  const server = new Server({
    path: request.path,
    datastore: new Staging(parts, request, under),
    locker: lockerOf(parts.locks, under),
    namingFunction: () => fileId,
    getFileIdFromRequest: () => fileId,
    relativeLocation: true,
    maxSize: parts.maxBytes,
    lockDrainTimeout: drainMs,
    onResponseError: (_request, error) => {
      under.error = error;
      return undefined;
    },
  });
  const response = await server.handleWeb(asWeb(request));
  if (response.status < 400) return { status: response.status, headers: headersOf(response), offset: under.offset };
  const fault = await under.writing;
  const error = fault instanceof Fault || fault instanceof LockLost ? fault : under.error;
  if (error instanceof LockLost) return locked();
  if (error instanceof Error && !('status_code' in error)) throw error; // not one of the library's own
  return refusalOf(response.status, await response.text());
}

/** The library's view of our store: of one file, whose facts are known. */
class Staging extends DataStore {
  readonly #parts: TusParts;
  readonly #request: TusRequest;
  readonly #under: Under;

  constructor(parts: TusParts, request: TusRequest, under: Under) {
    super();
    this.#parts = parts;
    this.#request = request;
    this.#under = under;
    this.extensions = ['creation', 'creation-with-upload', 'termination', 'expiration'];
  }

  override async create(upload: Upload): Promise<Upload> {
    const { store } = this.#parts;
    const there = await store.size(upload.id);
    if (there !== undefined && there > 0) throw new LockLost('another request began this upload'); // what came with it stays
    await store.begin(upload.id);
    this.#under.offset = 0;
    return upload;
  }

  override async getUpload(id: string): Promise<Upload> {
    const { file } = this.#request;
    const { size } = file.facts;
    const offset = file.status === 'stored' ? size : await this.#parts.store.size(id);
    if (offset === undefined) throw ERRORS.FILE_NO_LONGER_EXISTS;
    this.#under.offset = offset;
    return new Upload({ id, size, offset, creation_date: file.begunAt, metadata: metadataOf(file) });
  }

  override async write(source: Readable, id: string, offset: number): Promise<number> {
    const { store, digests } = this.#parts;
    if (this.#request.file.status === 'stored') {
      await finished(source.resume()); // nothing, or more than was to come, which the library refuses
      return offset;
    }
    const digest = digests.from(id, offset);
    let at = offset;
    const { lock } = this.#under;
    const { grown } = this.#request;
    async function* passing(): AsyncGenerator<Buffer> {
      for await (const chunk of source as AsyncIterable<Buffer>) {
        yield chunk;
        digest?.update(chunk); // what lies there was asked for more
        at += chunk.length;
        grown(at);
      }
    }
    const held = () => lock?.held() === true;
    const writing = store.write(id, offset, passing(), held).then(
      (end) => {
        digests.keep(id, end, digest);
        this.#under.offset = end;
        return end;
      },
      async (error: unknown) => {
        const lies = await store.size(id).catch(() => undefined);
        if (held() && lies === at) digests.keep(id, at, digest);
        else digests.forget(id);
        throw error;
      },
    );
    this.#under.writing = writing.then(nothing, (error: unknown) => error);
    return writing;
  }

  /** How long its bytes may come, from its beginning, milliseconds; 0 when all of them did: then it is the file that ends. */
  override getExpiration(): number {
    const { file } = this.#request;
    return file.status === 'stored' ? 0 : Date.parse(file.uploadUntil) - Date.parse(file.begunAt);
  }
}

function lockerOf(locks: Locks, under: Under): Locker {
  return {
    newLock: (id) => ({
      async lock(_signal, wanted) {
        under.lock = await locks.take(`file:${id}`, wanted);
        if (!under.lock) throw new LockLost('the lock of the upload was not to be had');
      },
      async unlock() {
        await under.writing; // nobody else writes there before
        await under.lock?.release();
      },
    }),
  };
}

function nothing(): void {}

function asWeb({ method, path, headers, body, file }: TusRequest): Request {
  const given = new Headers();
  for (const [name, value] of Object.entries(headers)) if (typeof value === 'string') given.set(name, value);
  const url = `http://hub${path}${method === 'POST' ? '' : `/${file.facts.file_id}`}`; // the name is never shown
  if (!body) return new Request(url, { method, headers: given });
  const stream = Readable.toWeb(body) as ReadableStream<Uint8Array>; // bytes, as it is no stream of objects
  return new Request(url, { method, headers: given, body: stream, duplex: 'half' });
}

/** Without what is for pages of other origins, which the hub does not serve. */
function headersOf({ headers }: Response): Record<string, string> {
  return Object.fromEntries([...headers].filter(([name]) => !/^(access-control-|content-)/.test(name)));
}

function metadataOf({ facts, ...file }: KeptFile): Record<string, string> {
  const expected = file.status === 'stored' ? file.sha256 : file.expected;
  return {
    filename: facts.name,
    filetype: facts.media_type,
    to: JSON.stringify(facts.to),
    ...(expected !== undefined && { sha256: expected }),
    ...(facts.once && { once: 'true' }),
    expires_at: facts.expires_at,
  };
}

function locked(): Refusal {
  return refuse('upload_locked', 'another request writes to this upload; ask again how far it is');
}

function refusalOf(status: number, said: string): Refusal {
  const detail = said.trim();
  switch (status) {
    case 409:
      return refuse('offset_mismatch', 'ask with HEAD where to go on');
    case 410:
      return refuse('file_gone', 'what had come of this upload is gone; begin a new one');
    case 412:
      return refuse('tus_unsupported', 'say Tus-Resumable: 1.0.0');
    case 413:
      return refuse('payload_too_large', 'this is more than the upload was to have');
    case 400:
      return detail.startsWith('Request aborted') ? locked() : refuse('invalid_input', detail);
    case 501:
      return refuse('invalid_input', 'the hub takes files whose size is said at first, in one piece');
    default:
      throw new Fault('internal_error', `tus answered ${status}: ${detail}`);
  }
}
