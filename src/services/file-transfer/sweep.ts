/**
 * Lets go of what is over: files whose time has come, uploads that did not, files of nodes that were removed, bytes that nobody names.
 * One replica does, by lease: each two seconds what is due, each minute what owners left, each ten minutes all that lies in the store.
 */
import { expire, remove, shelf, shelfStream } from '../../commands/file.ts';
import { isRefusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { type Cancel, isoTime } from '../../kernel.ts';
import type { Lease } from '../../lease.ts';
import {
  type FileRow,
  findOnShelf,
  findOver,
  findShelves,
  isNamed,
  namedAmong,
  openAmong,
} from '../../projections/files.ts';
import type { Locks } from './locks.ts';
import type { FileStore } from './store.ts';

const lookEveryMs = 2_000;
const ownersEveryMs = 60_000;
const storeEveryMs = 600_000;
const together = 100;
const hubItself = { actor: 'hub' };

export class Sweep {
  readonly #hub: Hub;
  readonly #store: FileStore;
  readonly #locks: Locks;
  readonly #lease: Lease;
  readonly #stops: Cancel[];
  #ownersAt = Number.NEGATIVE_INFINITY;
  #storeAt = Number.NEGATIVE_INFINITY;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(hub: Hub, store: FileStore, locks: Locks) {
    this.#hub = hub;
    this.#store = store;
    this.#locks = locks;
    this.#lease = hub.leases.acquire('file-transfer');
    this.#stops = [
      hub.kernel.every(lookEveryMs, () => this.#look()),
      hub.live.nodes.onChange((_nodeId, row) => {
        if (!row) this.#ownersAt = Number.NEGATIVE_INFINITY;
      }),
    ];
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const stop of this.#stops) stop();
    await this.#running;
    await this.#lease.release();
  }

  /** The bytes of a hash go when no file has them any more. */
  async collect(hash: string): Promise<void> {
    const { log, views } = this.#hub;
    await this.#locks.with(`blob:${hash}`, async (lock) => {
      const { value: named, stale } = await views.read(await log.head(), (db) => isNamed(db, hash));
      if (!named && !stale && lock.held()) await this.#store.remove(hash);
    });
  }

  #look(): void {
    if (this.#running || this.#closed || !this.#lease.held()) return;
    this.#running = this.#sweep()
      .catch((error: unknown) =>
        this.#hub.kernel.log.warn({ err: error }, 'files that are over could not be seen to; it is tried again'),
      )
      .finally(() => {
        this.#running = undefined;
      });
  }

  async #sweep(): Promise<void> {
    await this.#over();
    const now = this.#hub.kernel.monotonicMs();
    if (now - this.#ownersAt >= ownersEveryMs) {
      this.#ownersAt = now;
      await this.#owners();
    }
    if (now - this.#storeAt >= storeEveryMs) {
      this.#storeAt = now;
      await this.#uploads();
      await this.#blobs();
      await this.#hub.leases.tidy('file:');
      await this.#hub.leases.tidy('blob:');
    }
  }

  async #over(): Promise<void> {
    const { views, kernel, executor } = this.#hub;
    const due = await findOver(views.db, isoTime(kernel.now()), together);
    for (const row of due) {
      const done = await executor.execute(row.shelf, shelf, expire, { fileId: row.file_id }, hubItself);
      if (!isRefusal(done)) await this.#letGo(row, done.reply.sha256);
    }
  }

  async #owners(): Promise<void> {
    const { views, live } = this.#hub;
    const { position } = await views.state();
    await live.nodes.waitFor(position);
    for (let after = ''; !this.#closed; ) {
      const shelves = await findShelves(views.db, after, together);
      const last = shelves.at(-1);
      if (!last) return;
      after = last.shelf;
      for (const { owner, shelf } of shelves) if (this.#isLeft(owner, shelf)) await this.#clear(shelf);
    }
  }

  /** Whether whoever had it under this name is no member any more. */
  #isLeft(owner: string, shelf: string): boolean {
    if (!owner.startsWith('node:')) return false;
    const node = this.#hub.live.nodes.get(owner.slice('node:'.length));
    return shelf !== shelfStream(owner, node?.registered_position ?? -1);
  }

  async #clear(name: string): Promise<void> {
    const { views, executor } = this.#hub;
    for (const row of await findOnShelf(views.db, name, together)) {
      const removal = { fileId: row.file_id, cause: 'owner_removed' } as const;
      const done = await executor.execute(name, shelf, remove, removal, hubItself);
      if (!isRefusal(done)) await this.#letGo(row, done.reply.sha256);
    }
    this.#ownersAt = Number.NEGATIVE_INFINITY; // there may be more
  }

  async #letGo({ file_id }: FileRow, sha256: string | null): Promise<void> {
    await this.#store.drop(file_id);
    if (sha256 !== null) await this.collect(sha256);
  }

  /** What was listed had been begun by then: when the views are that far, they know which of it is still open. */
  async #uploads(): Promise<void> {
    const { log, views } = this.#hub;
    for await (const some of this.#store.uploads()) {
      const ids = [...new Set(some.map(({ uploadId }) => uploadId))];
      const { value: open, stale } = await views.read(await log.head(), (db) => openAmong(db, ids));
      if (stale || this.#closed) return;
      for (const id of ids) if (!open.has(id)) await this.#locks.with(`file:${id}`, () => this.#store.drop(id));
    }
  }

  async #blobs(): Promise<void> {
    const { log, views } = this.#hub;
    for await (const some of this.#store.blobs()) {
      const hashes = some.map(({ hash }) => hash);
      const { value: named, stale } = await views.read(await log.head(), (db) => namedAmong(db, hashes));
      if (stale || this.#closed) return;
      for (const hash of hashes) if (!named.has(hash)) await this.collect(hash);
    }
  }
}
