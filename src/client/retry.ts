/** When a node that lost its hub tries again, and which refusals make that useless. */
import { HubRefusal, HubUnreachable } from './connection.ts';

const backoffFirstMs = 500;
export const backoffMaxMs = 30_000;
/** The longest a hub can send a node away for. */
const retryAfterMaxMs = 5 * 60_000;

/**
 * Milliseconds to wait after so many failures in a row: not before the hub said, then spread over the whole of the backoff (full
 * jitter), so that the nodes of a hub that restarted do not all come back at once. `chance` is in [0, 1).
 */
export function retryInMs(failures: number, retryAfterMs: number | undefined, chance: number): number {
  const after = Math.min(retryAfterMs ?? 0, retryAfterMaxMs);
  const spread = Math.max(after, Math.min(backoffMaxMs, backoffFirstMs * 2 ** Math.min(failures, 16)));
  return Math.round(after + spread * chance);
}

/** Whether the same registration would meet the same refusal again. A request to join that waits is no no. */
export function isFinal(error: Error | undefined): boolean {
  return error instanceof HubRefusal && finalCodes.has(error.code) && !isWaiting(error);
}

/** Whether the hub keeps a request of this node to join, for an administrator to decide. */
export function isWaiting(error: unknown): error is HubRefusal {
  return error instanceof HubRefusal && error.code === 'approval_required' && error.extra.waiting === true;
}

/** Whether the same may be taken a moment later: the hub did not answer, or its refusal says nothing about what was asked. */
export function isPassing(error: unknown): boolean {
  return error instanceof HubUnreachable || (error instanceof HubRefusal && passingCodes.has(error.code));
}

const finalCodes: ReadonlySet<string> = new Set([
  'invalid_input',
  'payload_too_large',
  'key_invalid',
  'key_taken',
  'node_id_taken',
  'node_removed',
  'protocol_unsupported',
  'forbidden',
  'approval_required',
  'invite_required',
  'invite_invalid',
  'join_rejected',
  'banned',
  'key_revoked',
  'session_superseded',
  'signature_invalid',
]);

const passingCodes: ReadonlySet<string> = new Set([
  'rate_limited',
  'overloaded',
  'shedding',
  'not_ready',
  'unauthenticated', // between two sessions
  'log_unavailable',
  'log_full',
  'views_unavailable',
  'guard_unavailable',
  'service_unavailable',
  'jobs_unavailable',
  'files_unavailable',
  'internal_error',
  'conflict',
]);
