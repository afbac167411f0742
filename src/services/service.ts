/** What a service is: a named part of the hub that starts after what it needs and stops before it. */
import type { Hub } from '../hub.ts';
import { type ServiceName, type Tier, tiers } from '../tiers.ts';

export interface Running<Api> {
  readonly api: Api;
  stop(): Promise<void>;
}

/** How a service tells, once it runs, that it does not do so well. */
export interface Standing {
  /** It cannot go on: it is stopped, and started anew after a while. */
  failed(error: Error): void;
  /** It goes on with less than it should have, for this reason; undefined: all is well again. */
  degraded(reason: string | undefined): void;
}

/** Any service, as the lifecycle sees it. */
export interface AnyService {
  readonly name: string;
  readonly tier: Tier;
  readonly purpose: string;
  /** Services above it in the manifest that must run; it is given their apis under the names it calls them by. */
  readonly needs: Readonly<Record<string, AnyService>>;
  /** Services above it that it does without when they do not run; it is started anew when one of them comes or goes. */
  readonly wants?: Readonly<Record<string, AnyService>>;
  start(hub: Hub, others: object, standing: Standing): Promise<Running<unknown>>;
}

type ApiOf<S> = S extends { start(...args: never[]): Promise<Running<infer Api>> } ? Api : never;
type Needed<Needs> = { readonly [K in keyof Needs]: ApiOf<Needs[K]> };
type Wanted<Wants> = { readonly [K in keyof Wants]: ApiOf<Wants[K]> | undefined };
type Others = AnyService['needs'];

export interface Service<Needs extends Others, Wants extends Others, Api> extends AnyService {
  readonly name: ServiceName;
  readonly needs: Needs;
  readonly wants?: Wants;
  start(hub: Hub, others: Needed<Needs> & Wanted<Wants>, standing: Standing): Promise<Running<Api>>;
}

/** Declares a service, keeping the types of what it needs and gives. */
export function service<const Needs extends Others, Api, const Wants extends Others = Record<never, never>>(
  spec: Omit<Service<Needs, Wants, Api>, 'tier'>,
): Service<Needs, Wants, Api> {
  return { ...spec, tier: tiers[spec.name] };
}
