/** Brings a call to a target that can answer it: which one, by which way, and to whom next when that one cannot. */
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import {
  type Answer,
  type Call,
  CallFailed,
  type FailureCode,
  type LentBody,
  type Presence,
  type Routed,
} from './call.ts';
import { Circuits, isFailing } from './circuits.ts';
import { dial } from './direct.ts';
import { answerHeaders, forwardHeaders } from './headers.ts';
import { strayPath } from './path.ts';
import type { SocketCalls } from './socket-calls.ts';
import type { Offer, Target, Targets } from './targets.ts';

/** What a caller asks for. It never names a URL. */
export interface Asked {
  readonly to:
    | { readonly nodeId: string; readonly service: string }
    | { readonly capability: string; readonly service: string | undefined };
  readonly method: string;
  /** Path and query under the target, as they came. */
  readonly path: string;
  /** As they came. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: LentBody | undefined;
  readonly timeoutMs: number;
  readonly caller: Presence;
  /** `node:<id>` or `operator:<prefix>`. */
  readonly actor: string;
  /** Of what asks for it. */
  readonly traceparent?: string | undefined;
}

/** One attempt that came to nothing, as the caller is told of it. */
interface Tried {
  readonly node_id: string;
  readonly service: string;
  readonly code: FailureCode;
  readonly detail: string;
}

/** May be done twice without a word of the caller (RFC 9110, 9.2.2), as long as there is no body to send twice. */
const repeatable = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);
/** Targets that one call is brought to. */
const mostTargets = 3;
const mostAlternatives = 5;

export class Router {
  readonly #hub: Hub;
  readonly #targets: Targets;
  readonly #circuits: Circuits;
  readonly #sockets: SocketCalls;
  /** Calls under way to each node, from this replica. */
  readonly #underWay = new Map<string, number>();

  constructor(hub: Hub, targets: Targets, sockets: SocketCalls) {
    this.#hub = hub;
    this.#targets = targets;
    this.#circuits = new Circuits(hub);
    this.#sockets = sockets;
  }

  offers(service: string): Offer[] {
    return this.#targets.offers(service, (target) => this.#circuits.state(target));
  }

  /** What this replica is at. */
  counts(): { readonly calls: number; readonly openCircuits: number } {
    let calls = 0;
    for (const underWay of this.#underWay.values()) calls += underWay;
    return { calls, openCircuits: this.#circuits.open() };
  }

  mayBeCalled(nodeId: string): boolean {
    return this.#targets.mayBeCalled(nodeId);
  }

  /**
   * Makes the call. Refuses `invalid_input` (the path), `loop_detected`, `no_target`, and what the last target met, with
   * `tried` and `alternatives`. Throws `CallerGone`.
   */
  async route(asked: Asked): Promise<Routed | Refusal> {
    const stray = strayPath(asked.path);
    if (stray) return stray;
    const headers = forwardHeaders(asked.headers, { federationId: this.#hub.federationId, caller: asked.actor });
    if (isRefusal(headers)) return headers;
    const call: Call = { ...asked, headers };
    const candidates = this.#candidates(asked);
    const tried: Tried[] = [];
    while (tried.length < mostTargets) {
      const target = this.#choose(candidates, tried.length > 0);
      if (!target) break;
      candidates.splice(candidates.indexOf(target), 1);
      try {
        const answer = await this.#circuits.run(target, () => this.#traced(target, call, asked.traceparent));
        const again = isFailing(answer) && candidates.length > 0 && tried.length + 1 < mostTargets && mayRepeat(call);
        if (!again) return this.#answered(target, answer);
        answer.body.destroy();
        tried.push(triedOf(target, 'target_unreachable', `it answered ${answer.status}`));
      } catch (error) {
        if (!(error instanceof CallFailed)) throw error;
        if (error.cause) this.#hub.kernel.log.debug({ err: error.cause, node: target.nodeId }, error.message);
        tried.push(triedOf(target, error.code, error.message));
        if (!(error.unsent && !call.body?.begun) && !mayRepeat(call)) break;
      }
    }
    return this.#failed(asked, tried);
  }

  #candidates({ to }: Asked): Target[] {
    if ('capability' in to) return this.#targets.capable(to.capability, to.service);
    const named = this.#targets.named(to.nodeId, to.service);
    return named ? [named] : [];
  }

  /**
   * The less busy of two that are drawn among those whose circuit lets calls pass; of the others only the first to be tried, so
   * that the caller hears of its circuit.
   */
  #choose(candidates: readonly Target[], again: boolean): Target | undefined {
    const open = candidates.filter((target) => this.#circuits.waitMs(target) === 0);
    if (open.length === 0) return again ? undefined : candidates[0];
    const draw = () => open[Math.floor(this.#hub.kernel.random() * open.length)]!; // it is not empty
    const [one, other] = [draw(), draw()];
    return this.#busy(one) <= this.#busy(other) ? one : other;
  }

  #busy({ nodeId }: Target): number {
    return this.#underWay.get(nodeId) ?? 0;
  }

  /** The target is told of the call as a part of the trace that it was asked for in; `tracestate` goes on as it came. */
  async #traced(target: Target, call: Call, traceparent: string | undefined): Promise<Answer> {
    const span = this.#hub.tracing.within(`route ${target.service}`, 'client', traceparent);
    const named = span?.traceparent ?? traceparent;
    const told = named === undefined ? call : { ...call, headers: { ...call.headers, traceparent: named } };
    if (!span) return this.#reach(target, told);
    span.set('federation.node', target.nodeId);
    try {
      const answer = await this.#reach(target, told);
      span.set('http.response.status_code', answer.status);
      span.end();
      return answer;
    } catch (error) {
      span.end(error instanceof CallFailed ? error.code : undefined); // else the caller left
      throw error;
    }
  }

  /** Dials the target; where that cannot be and nothing was sent, goes through its socket. */
  async #reach(target: Target, call: Call): Promise<Answer> {
    const leave = this.#enter(target.nodeId);
    try {
      const answer = await this.#reachEitherWay(target, call);
      answer.body.once('close', leave);
      return answer;
    } catch (error) {
      leave();
      throw error;
    }
  }

  async #reachEitherWay(target: Target, call: Call): Promise<Answer> {
    if (!target.base) return this.#sockets.call(target, call);
    try {
      return await dial(this.#hub, target.base, call);
    } catch (error) {
      const elsewhere = error instanceof CallFailed && error.unsent && target.socket;
      if (!elsewhere || error.code === 'overloaded') throw error;
      return this.#sockets.call(target, call);
    }
  }

  #enter(nodeId: string): () => void {
    this.#underWay.set(nodeId, (this.#underWay.get(nodeId) ?? 0) + 1);
    let left = false;
    return () => {
      if (left) return;
      left = true;
      const others = this.#underWay.get(nodeId)! - 1; // this one is counted until now
      if (others === 0) this.#underWay.delete(nodeId);
      else this.#underWay.set(nodeId, others);
    };
  }

  #answered({ nodeId }: Target, { status, headers, body }: Answer): Routed {
    return { status, headers: answerHeaders(headers, this.#hub.federationId, nodeId), body };
  }

  /** What the caller hears when no target answered: what was tried, and who else offers the same. */
  #failed({ to }: Asked, tried: readonly Tried[]): Refusal {
    const among =
      'capability' in to ? this.#targets.capable(to.capability, to.service) : this.#targets.offering(to.service);
    const alternatives = among
      .filter(
        (target) => !tried.some(({ node_id }) => node_id === target.nodeId) && this.#circuits.waitMs(target) === 0,
      )
      .slice(0, mostAlternatives)
      .map(({ nodeId, service }) => ({ node_id: nodeId, service }));
    const last = tried.at(-1);
    if (last)
      return refuse(last.code, `${last.node_id}: ${last.detail}`, { tried, alternatives, ...this.#retry(last) });
    const sought =
      'capability' in to ? `has the capability ${to.capability}` : `is ${to.nodeId} and offers ${to.service}`;
    return refuse('no_target', `no node ${sought} and can be called now`, { alternatives });
  }

  #retry({ node_id: nodeId, service, code }: Tried): { retry_after_ms?: number } {
    if (code !== 'circuit_open') return {};
    return { retry_after_ms: Math.ceil(this.#circuits.waitMs({ nodeId, service, base: undefined, socket: false })) };
  }
}

function mayRepeat({ method, body }: Call): boolean {
  return repeatable.has(method) && !body?.begun;
}

function triedOf({ nodeId, service }: Target, code: FailureCode, detail: string): Tried {
  return { node_id: nodeId, service, code, detail };
}
