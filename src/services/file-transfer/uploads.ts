/** Uploads: begun within the quota, taken through tus, and finished: the hash checked, the bytes kept under it, the fact written. */
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { About, Executed } from '../../commands/execute.ts';
import {
  begin,
  type Finished,
  fileOn,
  finish,
  type KeptFile,
  refuseFile,
  shelf,
  shelfStream,
} from '../../commands/file.ts';
import { actorOf, type Identity } from '../../doors.ts';
import { Fault, isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { isoTime } from '../../kernel.ts';
import type { OfflineQueue } from '../offline-queue.ts';
import type { Digests } from './digests.ts';
import type { Lock, Locks } from './locks.ts';
import { wishOf } from './metadata.ts';
import type { Progress } from './progress.ts';
import { fileBoxOf, sinceOf } from './reach.ts';
import type { FileStore } from './store.ts';
import type { Transfers } from './transfers.ts';
import type { TusAnswer } from './tus.ts';

const dayMs = 86_400_000;
const hourMs = 3_600_000;
const hubItself = { actor: 'hub' };

/** A request of tus about one upload. */
export interface Uploading {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Readable | undefined;
}

/** What is answered to it. */
export interface Uploaded extends Pick<TusAnswer, 'status' | 'headers'> {
  /** Of the fact that it wrote, if it wrote one. */
  readonly position: number | undefined;
}

export interface UploadParts {
  readonly store: FileStore;
  readonly locks: Locks;
  readonly digests: Digests;
  readonly progress: Progress;
  readonly transfers: Transfers;
  readonly members: OfflineQueue['members'];
}

/** An upload that its owner asks about. */
interface Own {
  readonly stream: string;
  readonly file: KeptFile;
  readonly by: Identity;
}

export class Uploads {
  readonly #hub: Hub;
  readonly #parts: UploadParts;

  constructor(hub: Hub, parts: UploadParts) {
    this.#hub = hub;
    this.#parts = parts;
  }

  /**
   * Begins an upload, and takes what comes with it. Refuses `invalid_input`, `payload_too_large`, `quota_exceeded`, `limit_reached` and
   * what the address may have wrong.
   */
  async begin(asked: Uploading, by: Identity, about: About): Promise<Uploaded | Refusal> {
    const begun = await this.#begun(asked, by, about);
    if (isRefusal(begun)) return begun;
    const own = await this.#own(begun.reply.file_id, by);
    if (!own) return refuse('file_gone', 'this upload was begun before, and is over');
    if (own.file.status === 'stored' || (await this.#parts.store.size(own.file.facts.file_id)) !== undefined)
      return this.#known(asked, own, begun.position);
    const done = await this.#go(asked, own);
    return isRefusal(done) ? done : { ...done, position: done.position ?? begun.position };
  }

  /** Goes on with an upload, or tells how far it is. Refuses `not_found`, what serveTus refuses, and `hash_mismatch`. */
  async go(fileId: string, asked: Uploading, by: Identity): Promise<Uploaded | Refusal> {
    const own = await this.#own(fileId, by);
    return own ? this.#go(asked, own) : refuse('not_found', `there is no upload ${fileId} of yours`);
  }

  /** What came of an upload is not what was meant: nothing of it is kept. */
  async refuse(fileId: string, by: Identity, refused: Refusal): Promise<void> {
    const own = await this.#own(fileId, by);
    if (own) await this.#refuse(own, refused.refused, refused.detail);
  }

  /** Nobody wants it any more. */
  async drop(fileId: string): Promise<void> {
    const { locks, store, digests } = this.#parts;
    digests.forget(fileId);
    await locks.with(`file:${fileId}`, () => store.drop(fileId)); // when it is not to be had, the sweep does it
  }

  async #begun({ headers }: Uploading, by: Identity, about: About): Promise<Executed<{ file_id: string }> | Refusal> {
    const { kernel, config, executor } = this.#hub;
    const now = kernel.now();
    const size = sizeOf(headers['upload-length']);
    if (size === undefined) return refuse('invalid_input', 'Upload-Length says how many bytes the file has');
    if (size > config.fileBytes)
      return refuse('payload_too_large', `a file has ${config.fileBytes} bytes at most here`);
    const wish = wishOf(headers['upload-metadata'], size, now);
    if (isRefusal(wish)) return wish;
    const box = await fileBoxOf(this.#hub, this.#parts.members, wish.to, by);
    if (isRefusal(box)) return box;
    const latest = now + config.fileDays * dayMs;
    const expires = Math.min(wish.expiresAt ?? latest, latest);
    const owner = actorOf(by);
    const { name, mediaType: media_type, to, once } = wish;
    // What is known by its key has a name made of it: begun again, it is the same upload.
    const file_id = about.command?.id ?? kernel.uuid();
    const facts = { file_id, owner, name, media_type, size, to, box, once, expires_at: isoTime(expires) };
    const uploadUntil = isoTime(Math.min(now + config.uploadHours * hourMs, expires));
    const command = { facts, expected: wish.sha256, uploadUntil, quota: config.fileQuotaBytes };
    return executor.execute(shelfStream(owner, sinceOf(this.#hub, by)), shelf, begin, command, about);
  }

  async #own(fileId: string, by: Identity): Promise<Own | undefined> {
    const stream = shelfStream(actorOf(by), sinceOf(this.#hub, by));
    const file = fileOn(await this.#hub.executor.state(stream, shelf), fileId);
    return file && { stream, file, by };
  }

  /** It was begun before: whoever begins it again goes on from where it is. */
  async #known({ path, headers }: Uploading, own: Own, position: number): Promise<Uploaded | Refusal> {
    const tus = headers['tus-resumable'];
    const head: Uploading = { method: 'HEAD', path, headers: { 'tus-resumable': tus }, body: undefined };
    const told = await this.#go(head, own);
    if (isRefusal(told)) return told;
    const location = `${path}/${own.file.facts.file_id}`;
    const { 'upload-offset': offset = '0', 'tus-resumable': version = '1.0.0' } = told.headers;
    return { status: 201, headers: { location, 'upload-offset': offset, 'tus-resumable': version }, position };
  }

  async #go(asked: Uploading, own: Own): Promise<Uploaded | Refusal> {
    const { transfers, progress } = this.#parts;
    const { facts } = own.file;
    const place = transfers.take(facts.owner);
    if (isRefusal(place)) return place;
    try {
      const about = { file_id: facts.file_id, name: facts.name, size: facts.size, direction: 'upload' } as const;
      const grown = progress.of({ ...about, by: facts.owner }, [facts.owner, facts.box]);
      const answer = await this.#serve(asked, own.file, grown);
      if (isRefusal(answer)) return answer;
      if (own.file.status === 'stored' || answer.offset !== facts.size) return { ...answer, position: undefined };
      const finished = await this.#finish(own);
      return isRefusal(finished) ? finished : { ...answer, position: finished };
    } catch (error) {
      if (error instanceof Fault && error.code === 'storage_full')
        await this.#refuse(own, error.code, error.message).catch(() => {}); // the log may be full as well; the upload lapses
      throw error;
    } finally {
      place();
    }
  }

  async #serve(asked: Uploading, file: KeptFile, grown: (bytes: number) => void): Promise<TusAnswer | Refusal> {
    const { config } = this.#hub;
    const { store, locks, digests } = this.#parts;
    const { serveTus } = await import('./tus.ts');
    const parts = { store, locks, digests, maxBytes: config.fileBytes };
    return serveTus(parts, { ...asked, file, grown });
  }

  /** All bytes are there. Answers the position of the fact; undefined when another wrote it. Refuses `hash_mismatch`, `upload_locked`. */
  async #finish(own: Own): Promise<number | undefined | Refusal> {
    const held = await this.#parts.locks.with(`file:${own.file.facts.file_id}`, (lock) => this.#finishHeld(own, lock));
    return held ? held.done : locked();
  }

  async #finishHeld({ stream, file: { facts }, by }: Own, lock: Lock): Promise<number | undefined | Refusal> {
    const { store, locks, digests } = this.#parts;
    const { executor } = this.#hub;
    const { file_id, size } = facts;
    const file = fileOn(await executor.state(stream, shelf), file_id);
    if (!file) return refuse('file_gone', 'the upload was given up meanwhile');
    if (file.status === 'stored') {
      await store.drop(file_id); // of a request that came too late
      return undefined;
    }
    const sha256 = await this.#digest(file_id, size);
    const about = { actor: actorOf(by) };
    const write = () => executor.execute(stream, shelf, finish, { fileId: file_id, sha256 }, about);
    let written: Executed<Finished> | Refusal | undefined;
    if (file.expected !== undefined && file.expected !== sha256) written = await write();
    else {
      // Whoever takes blobs away that nobody names waits until the log says who names this one.
      const kept = await locks.with(`blob:${sha256}`, async (blob) => {
        await store.keep(file_id, sha256, size);
        return blob.held() && lock.held() ? write() : undefined;
      });
      written = kept?.done;
    }
    if (!written) return locked();
    if (isRefusal(written)) return written;
    await store.drop(file_id);
    digests.forget(file_id);
    return written.reply.refused ?? written.position;
  }

  /** Of all bytes: as they came, when they came here, else read again. */
  async #digest(fileId: string, size: number): Promise<string> {
    const { store, digests } = this.#parts;
    const known = digests.from(fileId, size);
    if (known) return known.digest('hex');
    const hash = createHash('sha256');
    for await (const chunk of await store.read(fileId)) hash.update(chunk as Buffer); // a stream of bytes
    return hash.digest('hex');
  }

  async #refuse({ stream, file }: Own, code: string, reason: string): Promise<void> {
    const command = { fileId: file.facts.file_id, code, reason };
    await this.#hub.executor.execute(stream, shelf, refuseFile, command, hubItself);
    await this.drop(file.facts.file_id);
  }
}

function locked(): Refusal {
  return refuse('upload_locked', 'another request writes to this upload; ask again how far it is');
}

function sizeOf(header: unknown): number | undefined {
  if (typeof header !== 'string' || !/^\d{1,15}$/.test(header)) return undefined;
  return Number(header);
}
