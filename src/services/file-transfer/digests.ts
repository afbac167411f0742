/** Hashes of uploads as far as they came at this replica, so that nothing is read again when an upload ends where it began. */
import { createHash, type Hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';

interface Kept {
  readonly at: number;
  readonly hash: Hash;
}

/** Uploads whose hash so far is remembered; others are read again when they are all there. */
const remembered = 1_024;

export class Digests {
  readonly #kept = new LRUCache<string, Kept>({ max: remembered });

  /** The hash of all bytes before an offset; undefined when it is not known here. */
  from(uploadId: string, offset: number): Hash | undefined {
    if (offset === 0) return createHash('sha256');
    const kept = this.#kept.get(uploadId);
    return kept?.at === offset ? kept.hash.copy() : undefined;
  }

  keep(uploadId: string, at: number, hash: Hash | undefined): void {
    if (hash) this.#kept.set(uploadId, { at, hash });
    else this.forget(uploadId);
  }

  forget(uploadId: string): void {
    this.#kept.delete(uploadId);
  }
}
