/** The way to a target that can be dialled. */
import type { Readable } from 'node:stream';
import { EgressRefused, failureOf } from '../../egress.ts';
import { Fault } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel, Kernel } from '../../kernel.ts';
import { type Answer, type Call, CallerGone, CallFailed, late, Presence } from './call.ts';

/** undici looks at its timers each half second: below this, that is too coarse. */
const coarseMs = 2_000;

/** Calls what lies under `base`. Throws `CallFailed`, `CallerGone`, and what refuses the body. */
export async function dial({ egress, kernel }: Hub, base: string, call: Call): Promise<Answer> {
  const { method, path, headers, caller, timeoutMs } = call;
  const body = call.body?.open();
  let atTheDoor: Error | undefined;
  body?.on('error', (error) => {
    if (error instanceof CallerGone || 'refused' in error) atTheDoor = error; // else it is what undici destroyed it with
  });
  const hurry = timeoutMs < coarseMs ? new Hurry(kernel, call, body) : undefined;
  try {
    if (caller.gone) throw new CallerGone('the caller left');
    const signal = hurry ?? caller;
    const answer = await egress.request(`${base}${path}`, { method, headers, body, signal, timeoutMs });
    hurry?.calm();
    return answer;
  } catch (error) {
    hurry?.end();
    body?.destroy();
    if (caller.gone) throw new CallerGone('the caller left', { cause: error });
    if (hurry?.late) throw late(timeoutMs, error);
    throw atTheDoor ?? failed(error, call.body?.begun === true, timeoutMs);
  }
}

/**
 * Stands for a caller that gives little time: leaves with it, or when that time is over. As with undici's own timer, the time of a
 * body on its way does not count.
 */
class Hurry extends Presence {
  late = false;
  readonly #caller: Presence;
  readonly #body: Readable | undefined;
  readonly #begin: () => void;
  readonly #leave = () => this.leave();
  #cancel: Cancel | undefined;

  constructor(kernel: Kernel, { caller, timeoutMs }: Call, body: Readable | undefined) {
    super();
    this.#caller = caller;
    this.#body = body;
    this.#begin = () => {
      this.#cancel = kernel.after(timeoutMs, () => {
        this.late = true;
        this.leave();
      });
    };
    caller.once('abort', this.#leave);
    if (body) body.once('end', this.#begin);
    else this.#begin();
  }

  /** The answer began. */
  calm(): void {
    this.#body?.off('end', this.#begin);
    this.#cancel?.();
  }

  /** The call is over. */
  end(): void {
    this.calm();
    this.#caller.off('abort', this.#leave);
  }
}

/** What the caller hears: nothing of addresses, which it could find out about that way. */
function failed(error: unknown, begun: boolean, timeoutMs: number): Error {
  const unsent = !begun;
  if (error instanceof EgressRefused)
    return new CallFailed('egress_refused', 'its address is not one that the hub calls', { unsent, cause: error });
  if (error instanceof Fault) return new CallFailed('overloaded', error.message, { unsent, cause: error });
  switch (failureOf(error)) {
    case 'unreachable':
      return new CallFailed('target_unreachable', 'no connection to it came about', { unsent, cause: error });
    case 'timeout':
      return late(timeoutMs, error);
    default:
      return new CallFailed('target_unreachable', 'the connection to it broke off', { cause: error });
  }
}
