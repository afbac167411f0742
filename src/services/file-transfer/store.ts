/**
 * Where the bytes of files lie: first by upload, while they come, then by their hash, once however many files have them.
 *
 * An upload is a row of bytes that only grows. `keep` makes what came also a blob under its hash, and leaves the upload there: it is
 * dropped when the log has said whose the blob is, so that a crash in between loses nothing. Replicas share one store; whoever writes
 * to an upload, keeps or removes a blob, holds a lock on it (locks.ts). Every store passes test/services/file-store-conformance.ts.
 */
import type { Readable } from 'node:stream';
import type { Config } from '../../config.ts';

export interface FileStore {
  /** Makes an upload without bytes; harmless when it is there. */
  begin(uploadId: string): Promise<void>;
  /** Bytes of an upload that lie there for good; undefined when there is no such upload. */
  size(uploadId: string): Promise<number | undefined>;
  /**
   * Adds bytes at the end of an upload, which must be at `offset`. Resolves with the new end when `body` ended. When it fails, what
   * it brought before may lie there, or a part of that. `held`: whether the lock on the upload is held; nothing is written without.
   * Throws a `Fault` (`storage_full`, `files_unavailable`), `LockLost`, and what `body` throws.
   */
  write(uploadId: string, offset: number, body: AsyncIterable<Buffer>, held?: () => boolean): Promise<number>;
  /** The bytes of an upload from its beginning. */
  read(uploadId: string): Promise<Readable>;
  /** All `bytes` of an upload become a blob as well. Resolves when they are on disk. Twice is harmless. Throws a `Fault` when it has not so many. */
  keep(uploadId: string, hash: string, bytes: number): Promise<void>;
  /** An upload is gone; harmless when it was not there. */
  drop(uploadId: string): Promise<void>;
  /** Bytes of a blob from `start` to `end`, both included; undefined when there is no such blob. */
  open(hash: string, range?: { readonly start: number; readonly end: number }): Promise<Readable | undefined>;
  /** A blob is gone; harmless when it was not there. */
  remove(hash: string): Promise<void>;
  /** Uploads that lie there, some at a time, each with when it last grew, milliseconds since 1970. */
  uploads(): AsyncIterable<readonly { readonly uploadId: string; readonly touched: number }[]>;
  /** Hashes of blobs, some at a time, each with when it was made. */
  blobs(): AsyncIterable<readonly { readonly hash: string; readonly touched: number }[]>;
  close(): Promise<void>;
}

/** The store that the settings name. Its library is loaded here, as only files need it. */
export async function openStore({ filesUrl, s3Credentials }: Config): Promise<FileStore> {
  if (filesUrl.startsWith('file:')) {
    const { LocalStore } = await import('./store-local.ts');
    return LocalStore.open(filesUrl.slice('file:'.length));
  }
  const { openS3Store } = await import('./store-s3.ts');
  return openS3Store(filesUrl, s3Credentials);
}
