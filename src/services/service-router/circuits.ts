/**
 * A circuit breaker for each target, at this replica: five failures in a row open it, and after ten seconds one call tries
 * whether it is well again. What it does is noted in the log.
 */
import type { CircuitBreakerPolicy, IBackoff, IHalfOpenAfterBackoffContext } from 'cockatiel';
import { LRUCache } from 'lru-cache';
import type { Hub } from '../../hub.ts';
import { type Answer, CallFailed, type FailureCode, TooHasty } from './call.ts';
import type { Target } from './targets.ts';

export type CircuitState = 'closed' | 'open' | 'half_open';

const failuresInRow = 5;
const restMs = 10_000;
/** Targets that are remembered; of others nothing is known, which is as if they were well. */
const mostTargets = 10_000;

type Cockatiel = typeof import('cockatiel');

interface Circuit {
  readonly policy: CircuitBreakerPolicy;
  state: CircuitState;
  /** When it may be tried again, on the monotonic clock. */
  retryAtMs: number;
}

export class Circuits {
  readonly #hub: Hub;
  #cockatiel: Cockatiel | undefined;
  readonly #circuits = new LRUCache<string, Circuit>({ max: mostTargets });

  constructor(hub: Hub) {
    this.#hub = hub;
  }

  state(target: Target): CircuitState {
    return this.#circuits.get(nameOf(target))?.state ?? 'closed';
  }

  /** How many targets are not called for a while. */
  open(): number {
    let open = 0;
    for (const { state } of this.#circuits.values()) if (state !== 'closed') open++;
    return open;
  }

  /** Milliseconds until the target may be called; 0 when it may be now. */
  waitMs(target: Target): number {
    const circuit = this.#circuits.get(nameOf(target));
    if (!circuit || circuit.state === 'closed') return 0;
    if (circuit.state === 'half_open') return 1_000; // a call is under way that will tell
    return Math.max(0, circuit.retryAtMs - this.#hub.kernel.monotonicMs());
  }

  /** Makes a call and counts how it went. Throws `CallFailed` with `circuit_open` without making it. */
  async run(target: Target, call: () => Promise<Answer>): Promise<Answer> {
    this.#cockatiel ??= await import('cockatiel'); // loaded when the first call is made
    const circuit = this.#of(target, this.#cockatiel);
    if (this.waitMs(target) > 0) throw new CallFailed('circuit_open', 'it failed too often of late', { unsent: true });
    try {
      return await circuit.policy.execute(call);
    } catch (error) {
      if (!(error instanceof this.#cockatiel.BrokenCircuitError)) throw error;
      throw new CallFailed('circuit_open', 'it failed too often of late', { unsent: true, cause: error });
    }
  }

  #of(target: Target, { circuitBreaker, ConsecutiveBreaker, handleWhen }: Cockatiel): Circuit {
    const name = nameOf(target);
    const known = this.#circuits.get(name);
    if (known) return known;
    // What a trial met that says nothing of the target does not close its circuit: the next call is a trial at once.
    const counts = (error: Error) => circuit.state === 'half_open' || isFailure(error);
    const policy = circuitBreaker(handleWhen(counts).orWhenResult(isFailing), {
      halfOpenAfter: rest,
      breaker: new ConsecutiveBreaker(failuresInRow),
    });
    const circuit: Circuit = { policy, state: 'closed', retryAtMs: 0 };
    policy.onHalfOpen(() => {
      circuit.state = 'half_open';
    });
    policy.onBreak((reason) => {
      const before = circuit.state;
      circuit.state = 'open';
      circuit.retryAtMs = this.#hub.kernel.monotonicMs() + restAfter(reason);
      if (before === 'closed') this.#note(target, 'circuit.opened', describe(reason));
    });
    policy.onReset(() => {
      circuit.state = 'closed';
      this.#note(target, 'circuit.closed');
    });
    this.#circuits.set(name, circuit);
    return circuit;
  }

  #note({ nodeId, service }: Target, type: 'circuit.opened' | 'circuit.closed', error = ''): void {
    const { executor, kernel } = this.#hub;
    const of = { node_id: nodeId, service };
    const fact =
      type === 'circuit.opened'
        ? { type, data: { ...of, failures: failuresInRow, error: error.slice(0, 512) } }
        : { type, data: of };
    executor
      .note(`circuit-${nodeId}`, [fact], { actor: 'hub' })
      .catch((cause: unknown) => kernel.log.warn({ err: cause, ...of }, 'what a circuit did was not written'));
  }
}

/** Statuses by which a target says that it, or what stands before it, cannot do its work. */
export function isFailing(result: unknown): boolean {
  return typeof result === 'object' && result !== null && 'status' in result && failing.has(result.status);
}

const failing = new Set<unknown>([502, 503, 504]);

/** What speaks against the target, and not against the caller or the hub. */
function isFailure(error: Error): boolean {
  return error instanceof CallFailed && ofTheTarget.has(error.code) && !(error instanceof TooHasty);
}

const ofTheTarget = new Set<FailureCode>(['target_unreachable', 'target_timeout']);

/** How long a circuit stays open after what opened it. */
function restAfter(reason: object): number {
  return 'error' in reason && reason.error instanceof Error && !isFailure(reason.error) ? 0 : restMs;
}

const rest: IBackoff<IHalfOpenAfterBackoffContext> = restFor(restMs);

function restFor(duration: number): IBackoff<IHalfOpenAfterBackoffContext> {
  return { duration, next: ({ result }) => restFor(restAfter(result)) };
}

function describe(reason: object): string {
  if ('error' in reason && reason.error instanceof CallFailed) return `${reason.error.code}: ${reason.error.message}`;
  if ('value' in reason && isFailing(reason.value)) return `it answered ${(reason.value as Answer).status}`; // as just seen
  return 'unknown';
}

/** A node id holds no space. */
function nameOf({ nodeId, service }: Target): string {
  return `${nodeId} ${service}`;
}
