/** Whether somebody still waits for the answer. */
import type { FastifyReply } from 'fastify';

/** Aborts when whoever asks is gone before the answer. */
export function goneSignal({ raw }: FastifyReply): AbortSignal {
  const gone = new AbortController();
  raw.once('close', () => {
    if (!raw.writableFinished) gone.abort();
  });
  return gone.signal;
}
