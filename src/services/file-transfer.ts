/** Files between nodes: uploads that go on after a cut (tus 1.0), kept once by their hash, fetched by whom they are for, gone when their time is over. */
import type { Readable } from 'node:stream';
import type { About, Executed } from '../commands/execute.ts';
import { fetched, fetches, fetchesStream, remove, shelf, shelfStream } from '../commands/file.ts';
import { actorOf, type Identity } from '../doors.ts';
import { isRefusal, type Refusal, refuse } from '../errors.ts';
import type { Hub } from '../hub.ts';
import { isoTime } from '../kernel.ts';
import { type FileFetchRow, findFetches } from '../projections/file-fetches.ts';
import { type FileFilter, type FileRow, findFile, findFiles } from '../projections/files.ts';
import { may } from '../rights.ts';
import { Digests } from './file-transfer/digests.ts';
import { Downloads } from './file-transfer/downloads.ts';
import { Locks } from './file-transfer/locks.ts';
import { Progress } from './file-transfer/progress.ts';
import { fileSightOf, isFor, isOwn, ownerBarred, sinceOf } from './file-transfer/reach.ts';
import { type FileStore, openStore } from './file-transfer/store.ts';
import { Sweep } from './file-transfer/sweep.ts';
import { Transfers } from './file-transfer/transfers.ts';
import { Uploads } from './file-transfer/uploads.ts';
import { messagePersistence } from './message-persistence.ts';
import { offlineQueue } from './offline-queue.ts';
import { service } from './service.ts';
import { websocketPool } from './websocket-pool.ts';

export type { Uploaded, Uploading } from './file-transfer/uploads.ts';

/** A file as whoever asks may see it. */
export interface Found {
  readonly row: FileRow;
  /** Whoever asks sent it, or governs. */
  readonly own: boolean;
}

/** The bytes of a file on their way. */
export interface Opened {
  readonly bytes: Readable;
  /** Told how many of the file's bytes went out, from its beginning. */
  readonly passed: (bytes: number) => void;
  /** Ends it. `whole`: its last byte went out. */
  close(whole: boolean): Promise<void>;
}

export interface FileTransfer {
  readonly uploads: Pick<Uploads, 'begin' | 'go' | 'refuse'>;
  list(
    by: Identity,
    filter: FileFilter,
    asked: { readonly before: number; readonly limit: number; readonly minPosition: number | undefined },
  ): Promise<{ value: FileRow[]; position: number; stale: boolean }>;
  /** Whether a file of a list is one that whoever asks may see. */
  concerns(row: FileRow, by: Identity): boolean;
  /** A file that concerns whoever asks, or undefined. */
  find(fileId: string, by: Identity, minPosition?: number): Promise<Found | undefined>;
  /** Who had it, at most a hundred. */
  fetches(fileId: string): Promise<FileFetchRow[]>;
  /** Whether somebody may have the bytes now. Refuses `not_found`, `forbidden`, `file_gone`. */
  mayFetch(found: Found | undefined, by: Identity): Promise<Refusal | undefined>;
  /** Refuses `overloaded`, and `file_gone` when the bytes went meanwhile. Throws a `Fault`. */
  open(
    found: Found,
    by: Identity,
    range: { readonly start: number; readonly end: number },
    about: About,
  ): Promise<Opened | Refusal>;
  /** Whether whoever fetches may go on. */
  mayGoOn(found: Found, by: Identity): boolean;
  /** Takes a file away, or gives up its upload. Refuses `not_found`, `forbidden`. */
  remove(fileId: string, by: Identity, about: About): Promise<Executed<undefined> | Refusal>;
}

export const fileTransfer = service({
  name: 'file-transfer',
  purpose: 'Files between nodes: resumable uploads, kept once by their hash, fetched by those whom they are for',
  needs: { sockets: websocketPool, queue: offlineQueue, messages: messagePersistence },
  async start(hub, { sockets, queue }) {
    const head = await hub.log.head();
    const store = await openStore(hub.config); // last of what may fail: what comes now is stopped with the service
    const locks = new Locks(hub.leases, hub.kernel, sockets.cluster);
    const sweep = new Sweep(hub, store, locks);
    const progress = new Progress(hub, sockets);
    const transfers = new Transfers();
    const downloads = new Downloads(hub, head);
    const parts = { store, locks, sweep, progress, transfers, downloads, members: queue.members };
    const uploads = new Uploads(hub, { ...parts, digests: new Digests() });
    return {
      api: createFiles(hub, { ...parts, uploads }),
      async stop() {
        progress.close();
        await downloads.close();
        await sweep.close();
        locks.close();
        await store.close();
      },
    };
  },
});

interface Parts {
  readonly store: FileStore;
  readonly sweep: Sweep;
  readonly progress: Progress;
  readonly transfers: Transfers;
  readonly downloads: Downloads;
  readonly uploads: Uploads;
  readonly members: Parameters<typeof fileSightOf>[1];
}

function createFiles(hub: Hub, parts: Parts): FileTransfer {
  const { executor, kernel, views } = hub;
  const { store, sweep, progress, transfers, downloads, uploads, members } = parts;
  const isOver = (row: FileRow) => Date.parse(row.expires_at) <= kernel.now();
  const sight = (by: Identity) => fileSightOf(hub, members, by);
  const letGo = (hash: string) =>
    void sweep
      .collect(hash)
      .catch((error: unknown) => kernel.log.warn({ err: error, hash }, 'bytes wait for the sweep'));

  async function seen(fileId: string, by: Identity, minPosition: number | undefined): Promise<Found | undefined> {
    const { value: row } = await views.read(minPosition, (db) => findFile(db, fileId));
    if (!row || isOver(row)) return undefined;
    const what = sight(by);
    const own = isOwn(what, row) || may(by, 'govern');
    return own || isFor(hub, what, row) ? { row, own } : undefined;
  }

  async function removed(row: FileRow, cause: 'owner' | 'operator' | 'fetched', about: About) {
    const done = await executor.execute(row.shelf, shelf, remove, { fileId: row.file_id, cause }, about);
    if (isRefusal(done)) return done;
    if (done.reply.sha256 === null) await uploads.drop(row.file_id);
    else letGo(done.reply.sha256);
    return { position: done.position, reply: undefined };
  }

  /** Writes down who had it. What is for one node alone, once, is gone when that one had all of it. */
  async function noteFetched({ row }: Found, by: Identity, how: { whole: boolean; late: boolean }, about: About) {
    const actor = actorOf(by);
    if (actor === row.owner) return;
    const { file_id, owner } = row;
    const { command: _, ...told } = about;
    const data = { file_id, owner, by: actor, whole: how.whole, ...(how.late && { late: true }) };
    await executor.execute(fetchesStream(file_id), fetches, fetched, data, told);
    if (how.whole && row.once === 1 && row.box === actor) await removed(row, 'fetched', { actor: 'hub' });
  }

  return {
    uploads,
    list: (by, filter, { before, limit, minPosition }) =>
      views.read(minPosition, (db) => {
        const now = isoTime(kernel.now());
        return findFiles(db, sight(by), filter, { before, now, limit });
      }),
    concerns(row, by) {
      const what = sight(by);
      return what.all || isOwn(what, row) || isFor(hub, what, row);
    },
    async find(fileId, by, minPosition) {
      const found = await seen(fileId, by, minPosition);
      // Whoever was told of it may ask before the views have it.
      return found?.row.status === 'stored' ? found : seen(fileId, by, await hub.log.head());
    },
    fetches: (fileId) => findFetches(views.db, fileId, 100),
    async mayFetch(found, by) {
      if (found?.row.status !== 'stored') return refuse('not_found', 'there is no such file for you');
      const { row, own } = found;
      if (own) return undefined;
      const barred = ownerBarred(hub, row);
      if (barred || row.once === 0) return barred;
      const had = await executor.state(fetchesStream(row.file_id), fetches);
      return had.get(actorOf(by)) === 'whole'
        ? refuse('file_gone', 'you had this file, which is given once')
        : undefined;
    },
    async open(found, by, range, about) {
      const { row } = found;
      const place = transfers.take(actorOf(by));
      if (isRefusal(place)) return place;
      const { file_id, name, size, owner, sha256 } = row;
      const done = downloads.begin(file_id);
      const end = () => {
        place();
        return done();
      };
      const bytes = await store.open(sha256 ?? '', range).catch((error: unknown) => {
        end();
        throw error;
      });
      if (!bytes) end();
      if (!bytes) return refuse('file_gone', 'the file was removed a moment ago');
      const actor = actorOf(by);
      const passed = progress.of({ file_id, name, size, direction: 'download', by: actor }, [owner, actor]);
      return {
        bytes,
        passed: (count) => passed(range.start + count),
        async close(whole) {
          const late = end();
          bytes.destroy();
          await noteFetched(found, by, { whole, late }, about);
        },
      };
    },
    mayGoOn: ({ row, own }, by) =>
      !downloads.isCut(row.file_id) && (own || (isFor(hub, sight(by), row) && ownerBarred(hub, row) === undefined)),
    async remove(fileId, by, about) {
      const found = await this.find(fileId, by, await hub.log.head());
      if (!found) {
        // What is not there may be what this very command took away before.
        const own = shelfStream(actorOf(by), sinceOf(hub, by));
        const done = await executor.execute(own, shelf, remove, { fileId, cause: 'owner' }, about);
        return isRefusal(done) ? done : { position: done.position, reply: undefined };
      }
      if (!found.own) return refuse('forbidden', 'a file is removed by who sent it, or who governs');
      const cause = isOwn(sight(by), found.row) ? 'owner' : 'operator';
      return removed(found.row, cause, about);
    },
  };
}
