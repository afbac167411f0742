/** The way to a target that can be dialled. */
import { type Egress, EgressRefused, failureOf } from '../../egress.ts';
import { Fault } from '../../errors.ts';
import { type Answer, type Call, CallerGone, CallFailed, late } from './call.ts';

/** Calls what lies under `base`. Throws `CallFailed`, `CallerGone`, and what refuses the body. */
export async function dial(egress: Egress, base: string, call: Call): Promise<Answer> {
  const { method, path, headers, caller, timeoutMs } = call;
  const body = call.body?.open();
  let atTheDoor: Error | undefined;
  body?.on('error', (error) => {
    if (error instanceof CallerGone || 'refused' in error) atTheDoor = error; // else it is what undici destroyed it with
  });
  try {
    if (caller.gone) throw new CallerGone('the caller left');
    const answer = await egress.request(`${base}${path}`, { method, headers, body, signal: caller, timeoutMs });
    return answer;
  } catch (error) {
    body?.destroy();
    if (caller.gone) throw new CallerGone('the caller left', { cause: error });
    throw atTheDoor ?? failed(error, call.body?.begun === true, timeoutMs);
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
