/** The body of a target's answer on its way to the caller, who has been sent the head. */
import type { ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import type { Kernel } from '../../kernel.ts';
import { cutWhenStuck } from './stuck-readers.ts';

/** What is there of an answer. */
interface Begun {
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Readable;
}

/**
 * Resolves when the answer is out, or one side ended early, which ends the other. `count` is told of the bytes as they pass. A
 * body that is all there goes out at once: `pipe` would cost a tenth of a small call, and Node's `pipeline` as much again.
 */
export function passOn(
  kernel: Kernel,
  { headers, body }: Begun,
  answer: ServerResponse,
  count: (bytes: number) => void,
): Promise<void> {
  return new Promise((done) => {
    body.once('error', () => answer.destroy());
    answer.once('close', () => {
      body.destroy();
      done();
    });
    if (answer.closed) {
      body.destroy();
      done();
    } else if (body.destroyed && !body.readableEnded) answer.destroy();
    else if (body.readableLength > 0 && headers['content-length'] === String(body.readableLength)) {
      count(body.readableLength);
      answer.end(body.read());
      if (answer.socket?.writableLength) cutWhenStuck(kernel, answer);
    } else {
      if (body.readableLength === 0) answer.flushHeaders(); // a stream may be silent at first
      body.once('pause', () => cutWhenStuck(kernel, answer));
      body.on('data', (chunk: Buffer) => count(chunk.length));
      body.pipe(answer);
    }
  });
}
