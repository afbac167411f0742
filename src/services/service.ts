/** What a service is: a named part of the hub that starts after what it needs and stops before it. */
import type { Hub } from '../hub.ts';

/** What a failure at start means. P0: the hub does not start. P1: it runs degraded. P2 and Nexus: it is tried again. */
export type Tier = 'P0' | 'P1' | 'P2' | 'Nexus';

export interface Running<Api> {
  readonly api: Api;
  stop(): Promise<void>;
}

/** Any service, as the lifecycle sees it. */
export interface AnyService {
  readonly name: string;
  readonly tier: Tier;
  readonly purpose: string;
  /** Services above it in the manifest whose apis it is given, under the names it calls them by. */
  readonly needs: Readonly<Record<string, AnyService>>;
  start(hub: Hub, needs: object): Promise<Running<unknown>>;
}

type ApiOf<S> = S extends { start(...args: never[]): Promise<Running<infer Api>> } ? Api : never;

export interface Service<Needs extends AnyService['needs'], Api> extends AnyService {
  readonly needs: Needs;
  start(hub: Hub, needs: { readonly [K in keyof Needs]: ApiOf<Needs[K]> }): Promise<Running<Api>>;
}

/** Declares a service, keeping the types of what it needs and gives. */
export function service<const Needs extends AnyService['needs'], Api>(spec: Service<Needs, Api>): Service<Needs, Api> {
  return spec;
}
