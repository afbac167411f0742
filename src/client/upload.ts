/** One upload by tus: over cuts and restarts of the hub, from where it was. */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import path from 'node:path';
import type { NodeClock } from './clock.ts';
import { HubUnreachable } from './connection.ts';
import { refusalOf } from './http.ts';

export interface UploadParts {
  /** Where uploads are begun. */
  readonly endpoint: string;
  readonly clock: NodeClock;
  /** A token that counts now. Rejects when there is none for too long. */
  token(): Promise<string>;
  /** There will be no other: what it is refused for is final. */
  readonly fixedToken: boolean;
  readonly onProgress: ((bytes: number, size: number) => void) | undefined;
  readonly signal: AbortSignal | undefined;
  /** How long the hub may be away in a row before it is given up. */
  readonly patienceMs: number;
}

/** Bytes in one request at most: what was sent of it when the connection breaks in a way that the hub does not notice. */
const chunkBytes = 64 * 1024 * 1024;
/** How long an upload that is given up may take to be taken away. */
const giveUpMs = 5_000;
/** Between two tries. */
const mostWaitMs = 3_000;
/** Of tries in a row; patience ends before they do. */
const retryDelays = Array.from({ length: 1_000 }, (_, tries) => Math.min(mostWaitMs, 250 * tries));
/** Answers after which the same may succeed; so may what had no answer. */
const passing: ReadonlySet<number> = new Set([401, 409, 423, 429, 500, 502, 503, 504]);

/** Answers the name of the file. Throws `HubRefusal`, `HubUnreachable`, and why the signal aborted: then nothing is left at the hub. */
export async function upload(
  source: string,
  size: number,
  metadata: Record<string, string>,
  { endpoint, clock, token, fixedToken, onProgress, signal, patienceMs }: UploadParts,
): Promise<string> {
  const { DetailedError, Upload } = await import('tus-js-client');
  const bytes = createReadStream(source); // read where it is asked for, by its path
  const key = randomUUID();
  let downSince: number | undefined;
  let furthest = 0;
  let shown = '';
  let giveUp = () => {};
  const sent = new Promise<string>((resolve, reject) => {
    const client = new Upload(bytes as never, {
      endpoint,
      uploadSize: size,
      chunkSize: chunkBytes,
      metadata,
      retryDelays,
      storeFingerprintForResuming: false,
      onBeforeRequest: async (request) => {
        shown = `Bearer ${await token()}`;
        request.setHeader('Authorization', shown);
        if (request.getMethod() === 'POST') request.setHeader('Idempotency-Key', key);
      },
      onProgress: (done) => onProgress?.(done, size),
      onAfterResponse: (_request, response) => {
        const offset = Number(response.getHeader('Upload-Offset') ?? 0);
        if (offset <= furthest) return;
        [furthest, downSince] = [offset, undefined]; // it was not away: something came there since
      },
      onShouldRetry: (error) => {
        if (signal?.aborted) return false;
        const now = clock.monotonicMs();
        downSince ??= now;
        const status = error.originalResponse?.getStatus();
        if (status === 401 && fixedToken) return false;
        return now - downSince < patienceMs && (status === undefined || passing.has(status));
      },
      onSuccess: () => resolve(path.posix.basename(client.url ?? '')),
      onError: (error) =>
        reject(signal?.aborted ? signal.reason : error instanceof DetailedError ? refused(error) : error),
    });
    giveUp = () => {
      reject(signal?.reason);
      void client.abort().then(() => terminate(client.url, shown));
    };
    if (signal?.aborted) return reject(signal.reason);
    signal?.addEventListener('abort', giveUp, { once: true });
    client.start();
  });
  return sent.finally(() => {
    signal?.removeEventListener('abort', giveUp);
    bytes.destroy();
  });
}

/** Nobody goes on with it: its room is free at once, if the hub is there, and else when its time is over. */
async function terminate(url: string | null, authorization: string): Promise<void> {
  if (url === null) return;
  const headers = { authorization, 'tus-resumable': '1.0.0' };
  await fetch(url, { method: 'DELETE', headers, signal: AbortSignal.timeout(giveUpMs) }).catch(() => {});
}

/** What the hub said, when it said something. */
function refused(
  error: Error & { readonly originalResponse: { getStatus(): number; getBody(): string } | null },
): Error {
  const { originalResponse: response } = error;
  if (!response) return new HubUnreachable('the upload broke off', error);
  let answer: unknown;
  try {
    answer = JSON.parse(response.getBody());
  } catch {
    answer = undefined; // of a HEAD, or of a proxy
  }
  return refusalOf({ status: response.getStatus() }, answer);
}
