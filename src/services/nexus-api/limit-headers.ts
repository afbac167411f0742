/** How allowances are told over HTTP: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers), `Retry-After`. */
import type { FastifyReply } from 'fastify';
import type { Allowance } from '../../doors.ts';

const windowSeconds = 60;

export function writeLimits(reply: FastifyReply, allowances: readonly Allowance[]): void {
  if (allowances.length === 0) return;
  const policies = allowances.map(({ limit, allowed }) => `"${limit}";q=${allowed};w=${windowSeconds}`);
  const left = allowances.map(
    ({ limit, remaining, resetMs }) =>
      `"${limit}";r=${Math.max(0, Math.floor(remaining))};t=${Math.ceil(resetMs / 1000)}`,
  );
  reply.header('ratelimit-policy', policies.join(', ')).header('ratelimit', left.join(', '));
  const wait = Math.max(...allowances.map(({ retryAfterMs = 0 }) => retryAfterMs));
  if (wait > 0) reply.header('retry-after', String(Math.max(1, Math.ceil(wait / 1000))));
}
