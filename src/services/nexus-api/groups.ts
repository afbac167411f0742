/** Routes in groups, each behind the service that answers for them: while that does not run, its paths say so and the others go on. */
import type { FastifyInstance, RouteOptions } from 'fastify';
import { type Code, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { type Work, workOfRoute } from '../../shedding.ts';
import type { ServiceName } from '../../tiers.ts';
import { describeProblems } from './describe.ts';
import { sendProblem } from './http.ts';
import type { WorkTree } from './work-tree.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Answers for the route; set by its group. */
    service?: ServiceName;
    /** What it is under load; set by its group. */
    work?: Work;
  }
}

/** Some routes; `Services` are the apis that the door has, those undefined that do not run now. */
export interface RouteGroup<Services> {
  readonly service: ServiceName;
  /** The paths that all of its routes begin with. */
  readonly under: readonly string[];
  readonly uses: readonly (keyof Services)[];
  /** What its paths answer while they are not there. */
  readonly shut: Code;
  add(api: FastifyInstance, hub: Hub, services: Services): void;
}

type Present<Services, Used extends keyof Services> = { readonly [K in Used]: NonNullable<Services[K]> };

/** A group that is there while all the services it uses run. */
export function group<Services, Used extends keyof Services>(
  service: ServiceName,
  under: readonly string[],
  uses: readonly Used[],
  add: (api: FastifyInstance, hub: Hub, services: Present<Services, Used>) => void,
  shut: Code = 'service_unavailable',
): RouteGroup<Services> {
  return { service, under, uses, shut, add: add as RouteGroup<Services>['add'] }; // `mount` calls it when they are all there
}

/** Adds the routes of those groups whose services run; paths of the others say that, and why. */
export function mount<Services extends object>(
  api: FastifyInstance,
  hub: Hub,
  services: Services,
  groups: readonly RouteGroup<Services>[],
  works: WorkTree,
): void {
  for (const one of groups) {
    api.register(async (part) => {
      part.addHook('onRoute', (route) => claim(one, part.prefix, route, works));
      if (one.uses.every((used) => services[used] !== undefined)) one.add(part, hub, services);
      else close(part, hub, one);
    });
  }
}

/** Writes down whose route it is, and what it is under load. Throws (a defect) when it lies elsewhere than its group says. */
function claim<Services>(
  { service, under }: RouteGroup<Services>,
  prefix: string,
  route: RouteOptions,
  works: WorkTree,
): void {
  const path = route.url.slice(prefix.length);
  if (!under.some((start) => path === start || path.startsWith(`${start}/`)))
    throw new TypeError(`${route.url} is not among the paths of ${service}`);
  const methods = [route.method].flat();
  const work = workOfRoute(service, methods[0]!, path); // of several methods are only paths that are shut
  route.config = { ...route.config, service, work };
  describeProblems(route); // now it is known what it may answer under load
  works.add(methods, route.url, work);
}

function close<Services>(api: FastifyInstance, hub: Hub, { service, under, shut }: RouteGroup<Services>): void {
  const why = () => {
    const reason = hub.services().find(({ name }) => name === service)?.reason;
    return `${service} is not running at this replica${reason === undefined ? '' : `: ${reason}`}`;
  };
  for (const start of under) {
    for (const url of [start, `${start}/*`]) {
      api.all(url, { config: { access: 'anyone' }, schema: { hide: true } }, (request, reply) =>
        sendProblem(reply, request, refuse(shut, why())),
      );
    }
  }
}
