/** The bytes of files on their way through the door: paced by the allowance of whoever sends or fetches, and cut when they stall. */
import { type Readable, Transform } from 'node:stream';
import type { FastifyRequest } from 'fastify';
import { Fault, isRefusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { bodyLimit } from './admit.ts';

/** Bytes that are taken from an allowance at once. */
const stepBytes = 512 * 1024;
/** How long a body may bring nothing while it is waited for, and how often that is looked at. */
const stalledMs = 60_000;
const lookMs = 5_000;

/**
 * Lets bytes pass as the allowance of whoever asks lets them: what is too fast waits, and with it whoever sends. `free`: bytes that the
 * door has counted already. Fails with `guard_unavailable` when nobody counts.
 */
export class Paced extends Transform {
  readonly #hub: Pick<Hub, 'doors' | 'kernel'>;
  readonly #request: FastifyRequest;
  readonly #told: (bytes: number) => void;
  #free: number;
  #due = 0;
  #passed = 0;
  /** It waits for the allowance, and nothing comes through because of that. */
  waiting = false;

  constructor(
    hub: Pick<Hub, 'doors' | 'kernel'>,
    request: FastifyRequest,
    free: number,
    told: (bytes: number) => void = () => {},
  ) {
    super();
    this.#hub = hub;
    this.#request = request;
    this.#free = free;
    this.#told = told;
  }

  override _transform(chunk: Buffer, _encoding: string, done: (error?: Error | null, chunk?: Buffer) => void): void {
    const counted = Math.min(this.#free, chunk.length);
    this.#free -= counted;
    this.#due += chunk.length - counted;
    this.#passed += chunk.length;
    this.#told(this.#passed);
    if (this.#due < stepBytes) {
      done(null, chunk);
      return;
    }
    const bytes = this.#due;
    this.#due = 0;
    this.#pass(bytes).then(
      () => done(null, chunk),
      (error: Error) => done(error),
    );
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const limits = this.#hub.doors.limits.get();
    if (this.#due > 0 && !isRefusal(limits)) limits.spend(this.#request.identity, this.#request.address, this.#due);
    this.#due = 0;
    done(error);
  }

  async #pass(bytes: number): Promise<void> {
    const { doors, kernel } = this.#hub;
    const { identity, address } = this.#request;
    for (;;) {
      const limits = doors.limits.get();
      if (isRefusal(limits)) throw new Fault('guard_unavailable', limits.detail);
      const waitMs = await limits.pass(identity, address, bytes);
      if (waitMs === 0 || this.destroyed) return;
      this.waiting = true;
      await kernel.sleep(Math.min(waitMs, 1_000));
      this.waiting = false;
    }
  }
}

/**
 * The body of an upload on its way in; what is returned besides ends it. It may take as long as it likes, but for a minute in which it
 * is waited for and brings nothing.
 */
export function pacedBody(hub: Hub, request: FastifyRequest, body: Readable): { body: Readable; end(): void } {
  const { raw, headers } = request;
  const announced = headers['transfer-encoding'] === undefined;
  const free = announced ? Math.min(Number(headers['content-length'] ?? 0) || 0, bodyLimit) : 0;
  const paced = new Paced(hub, request, free);
  body.on('error', (cause) => paced.destroy(cause)); // `pipe` does not pass errors on
  body.once('close', () => body.readableEnded || paced.destroy(new Error('whoever sent this is gone')));
  paced.on('error', () => {}); // whoever reads it hears of it; nobody may
  body.pipe(paced);
  const hurry = hub.doors.takeTime(raw.socket);
  let heardMs = hub.kernel.monotonicMs();
  let heardBytes = raw.socket.bytesRead;
  const stop = hub.kernel.every(lookMs, () => {
    const now = hub.kernel.monotonicMs();
    const { bytesRead } = raw.socket;
    if (bytesRead !== heardBytes || paced.waiting || paced.writableNeedDrain) {
      heardBytes = bytesRead;
      heardMs = now;
    } else if (now - heardMs >= stalledMs && !body.readableEnded) raw.destroy();
  });
  return {
    body: paced,
    end() {
      stop();
      hurry();
      request.unannounced = 0; // counted above
      paced.destroy();
    },
  };
}
