/** How much each identity may ask in a minute: requests, megabytes, socket packets. */
import type { About, Executed } from '../commands/execute.ts';
import { limits, limitsStream, type OwnLimits, setLimits } from '../commands/limits.ts';
import type { Identity } from '../doors.ts';
import type { Refusal } from '../errors.ts';
import type { Limits } from '../events/limits.ts';
import { Limiter, type Usage } from './rate-limiter/limiter.ts';
import { RedisBuckets } from './rate-limiter/redis.ts';
import { tellWarned, warner } from './rate-limiter/warnings.ts';
import { service } from './service.ts';
import { websocketPool } from './websocket-pool.ts';

export interface RateLimiter {
  /** What one has who has no limits of its own; `strangers`: requests and packets of an address together. */
  readonly defaults: Limits & { readonly strangers: number };
  /** Whether all replicas count together now. */
  shared(): boolean;
  /** Of one node: its own limits, those that hold, and what it used by now. */
  read(nodeId: string): Promise<{ own: OwnLimits; limits: Limits; usage: Usage[] }>;
  /** Whoever used most, as far as this replica saw. */
  busiest(most: number): Usage[];
  set(nodeId: string, own: OwnLimits, about: About): Promise<Executed<{ limits: OwnLimits }> | Refusal>;
}

export const rateLimiter = service({
  name: 'rate-limiter',
  purpose: 'Limits a minute for each identity: requests, megabytes, socket packets; a warning at 80 %',
  needs: { sockets: websocketPool },
  async start(hub, { sockets }, standing) {
    const { config, kernel, live, executor, doors, federationId } = hub;
    const stopTelling = await tellWarned(hub, sockets); // first, as it may fail: what comes now is stopped with the service
    const shared = config.redisUrl
      ? new RedisBuckets(config.redisUrl, federationId, kernel, (present) =>
          standing.degraded(present ? undefined : 'Redis is away: each replica counts alone'),
        )
      : undefined;
    const ownOf = (nodeId: string): OwnLimits => live.limits.get(nodeId)?.limits ?? {};
    const limiter = new Limiter({
      kernel,
      limitsOf: (identity: Identity) => {
        const own = identity.kind === 'node' ? live.limits.get(identity.nodeId) : undefined;
        return own ? { ...config.limits, ...own.limits } : config.limits;
      },
      strangerLimit: config.strangerLimit,
      shared,
      warn: warner(hub, (name, ms) => shared?.isFirst(name, ms) ?? Promise.resolve(true)),
    });
    const empty = doors.limits.fill(limiter);
    const api: RateLimiter = {
      defaults: { ...config.limits, strangers: config.strangerLimit },
      shared: () => shared?.present ?? false,
      async read(nodeId) {
        const node: Identity = { kind: 'node', nodeId, sessionId: '', role: 'member' };
        const own = ownOf(nodeId);
        return { own, limits: { ...config.limits, ...own }, usage: await limiter.usageOf(node) };
      },
      busiest: (most) => limiter.busiest(most),
      set: (nodeId, own, about) =>
        executor.execute(
          limitsStream(nodeId),
          limits,
          setLimits,
          { nodeId, limits: own, others: live.limits.size },
          about,
        ),
    };
    return {
      api,
      async stop() {
        empty();
        limiter.close();
        shared?.close();
        await stopTelling();
      },
    };
  },
});
