/** Readers of a stream who stop to take it: they are cut, so that what the stream holds is free for others. */
import type { ServerResponse } from 'node:http';
import type { Kernel } from '../../kernel.ts';

/** How long nothing may go out, and how often that is looked at. */
const stuckMs = 60_000;
const lookMs = 10_000;

/**
 * Ends the connection of an answer that has bytes to send and of which none goes out for a minute. A slow reader is not cut, nor
 * one that waits for a source that is slow.
 */
export function cutWhenStuck(kernel: Kernel, answer: ServerResponse): void {
  if (answer.closed) return;
  let sent = -1;
  let since = kernel.monotonicMs();
  const stop = kernel.every(lookMs, () => {
    const { socket } = answer;
    if (!socket) return;
    const now = kernel.monotonicMs();
    const out = socket.bytesWritten - socket.writableLength; // `bytesWritten` counts what waits as well
    if (out !== sent || socket.writableLength === 0) {
      sent = out;
      since = now;
    } else if (now - since >= stuckMs) answer.destroy();
  });
  answer.once('close', stop);
}
