/**
 * The closed list of everything the hub can answer that is not success.
 *
 * A refusal is a value: a rule said no. A `Fault` is thrown: a part the hub stands on (disk, database, network) failed.
 * Both carry a code of this list, and both leave the doors as RFC 9457 problems or as `{ ok: false, error }` on a socket.
 * `docs/errors.md` explains each code; a test holds the two together.
 */
export const codes = {
  invalid_input: { status: 400, title: 'The input does not have the shape this operation takes' },
  cursor_invalid: { status: 400, title: 'The cursor was not issued by this list' },
  key_invalid: { status: 400, title: 'The public key is malformed, non-canonical or of small order' },
  protocol_unsupported: { status: 400, title: 'The hub does not speak this protocol version' },
  upgrade_refused: { status: 400, title: 'A WebSocket cannot be opened here' },
  unauthenticated: { status: 401, title: 'No proof of identity was given, or it was not accepted' },
  token_expired: { status: 401, title: 'The session token or operator token is no longer valid' },
  nonce_invalid: { status: 401, title: 'The nonce was not issued by this hub for this node and purpose' },
  nonce_expired: { status: 401, title: 'The nonce is older than a minute' },
  nonce_used: { status: 401, title: 'The nonce was already used' },
  signature_invalid: { status: 401, title: 'The signature does not verify under the claimed key' },
  signature_expired: { status: 401, title: 'The signature of the request was made too long ago, or in the future' },
  digest_mismatch: { status: 400, title: 'The body is not the one that was signed' },
  version_invalid: { status: 400, title: 'The version of the memory is not what its id or hash says' },
  clock_ahead: { status: 400, title: 'The clock of the version is too far in the future' },
  forbidden: { status: 403, title: 'This identity may not do this' },
  sovereignty_refused: { status: 403, title: 'No rule of those it belongs to lets this knowledge go there' },
  approval_required: { status: 403, title: 'This federation admits nodes by approval' },
  invite_required: { status: 403, title: 'This federation admits invited nodes only' },
  invite_invalid: { status: 403, title: 'The invite is unknown, expired, revoked, used up or for another node' },
  join_rejected: { status: 403, title: 'An administrator rejected the request to join' },
  banned: { status: 403, title: 'The node or its key is banned from this federation' },
  access_blocked: { status: 403, title: 'This identity is on the block list' },
  key_revoked: { status: 403, title: 'The public key was revoked or rotated away' },
  session_superseded: { status: 403, title: 'A newer session of the same node took over' },
  not_found: { status: 404, title: 'There is no such thing here' },
  file_gone: { status: 410, title: 'The file, or its upload, is over' },
  method_not_allowed: { status: 405, title: 'The path exists, the method does not' },
  not_acceptable: { status: 406, title: 'This operation answers none of the media types that are accepted' },
  request_timeout: { status: 408, title: 'The request came too slowly' },
  key_taken: { status: 409, title: 'Another node uses this public key' },
  node_id_taken: { status: 409, title: 'The node id belongs to another key' },
  node_removed: { status: 410, title: 'The node was removed from the federation' },
  secret_lost: { status: 410, title: 'The key of this version is destroyed or damaged, and with it what it said' },
  entity_id_taken: { status: 409, title: 'The entity id belongs to another owner' },
  secret_id_taken: { status: 409, title: 'There is a secret of this name already' },
  master_key_external: { status: 409, title: 'The master key of the vault is not one that the hub may change' },
  task_taken: { status: 409, title: 'The task does not wait for a node now' },
  task_over: { status: 409, title: 'The task is over' },
  lease_lost: { status: 409, title: 'The task was taken from this node meanwhile: its lease is not the newest' },
  message_over: { status: 409, title: 'The message expired or was refused' },
  roster_unknown: { status: 409, title: 'The roster that the entry goes by was not issued here' },
  roster_expired: { status: 409, title: 'The entry was written when its roster counted no more' },
  not_in_roster: { status: 403, title: 'The roster does not name the author of the entry with this key' },
  chain_forked: { status: 409, title: 'Another entry has this place in the chain' },
  chain_gap: { status: 409, title: 'An entry of the chain is missing before this one' },
  content_mismatch: { status: 400, title: 'The content is not the one that the entry was written for' },
  sync_over: { status: 409, title: 'The sync is over' },
  offset_mismatch: { status: 409, title: 'The upload goes on from another offset' },
  last_admin: { status: 409, title: 'The federation would be left without an administrator' },
  limit_reached: { status: 409, title: 'A list of stated length is full' },
  conflict: { status: 409, title: 'Others kept changing the same thing; nothing was done' },
  already_done: { status: 409, title: 'This was done before, and its answer held a secret that is shown once' },
  rebuild_running: { status: 409, title: 'A rebuild of the views is already running' },
  tus_unsupported: { status: 412, title: 'The hub speaks tus 1.0.0, and what is asked with it says so' },
  payload_too_large: { status: 413, title: 'The body or packet is larger than this door takes' },
  unsupported_media_type: { status: 415, title: 'This operation takes application/json' },
  range_not_satisfiable: { status: 416, title: 'The range that is asked for lies beyond the end of the file' },
  hash_mismatch: { status: 422, title: 'The bytes of the file do not give the hash that was promised' },
  upload_locked: { status: 423, title: 'Another request writes to this upload now' },
  idempotency_mismatch: { status: 422, title: 'The idempotency key was used before with another body' },
  quota_exceeded: { status: 403, title: 'There is no room left for files of this owner' },
  egress_refused: { status: 403, title: 'The hub does not call this address' },
  rate_limited: { status: 429, title: 'More was asked than this identity or address may ask in a minute' },
  internal_error: { status: 500, title: 'The hub met a defect; it is in the log under the trace id' },
  target_unreachable: { status: 502, title: 'The node that was called could not be reached' },
  target_timeout: { status: 504, title: 'The node that was called did not answer in time' },
  circuit_open: { status: 503, title: 'The target failed too often and is not called for a while' },
  no_target: { status: 503, title: 'No node that is here now offers this' },
  loop_detected: { status: 508, title: 'The call came back to a hub that it had passed' },
  queue_full: { status: 503, title: 'A queue of stated length is full' },
  jobs_unavailable: { status: 503, title: 'The store of jobs cannot be reached now' },
  shedding: { status: 503, title: 'This replica has more to do than it can, and puts this aside for now' },
  overloaded: { status: 503, title: 'A bounded queue of the hub is full; try again shortly' },
  log_unavailable: {
    status: 503,
    title: 'The event log could not be written or read; whether the action was taken is not known',
  },
  log_full: { status: 503, title: 'The event log has no space left; nothing was written' },
  files_unavailable: { status: 503, title: 'The store of files cannot be reached now' },
  storage_full: { status: 507, title: 'The store of files has no space left; nothing of it was kept' },
  views_unavailable: { status: 503, title: 'The views cannot be read now' },
  guard_unavailable: { status: 503, title: 'A guard of this door is not running, so the door is shut' },
  service_unavailable: { status: 503, title: 'The service behind this is not running now' },
  vault_shut: { status: 503, title: 'The vault is shut: the master key is not there, or not the right one' },
  not_ready: { status: 503, title: 'This replica is starting, draining or cut off from the log' },
} as const satisfies Record<string, { status: number; title: string }>;

export type Code = keyof typeof codes;

/** A rule said no. `detail` is for people; `code` is for programs and never changes its meaning. */
export interface Refusal {
  readonly refused: Code;
  readonly detail: string;
  /** Members added to the problem document, such as `retry_after_ms`. */
  readonly extra?: Readonly<Record<string, unknown>>;
}

export function refuse(code: Code, detail: string, extra?: Record<string, unknown>): Refusal {
  return extra ? { refused: code, detail, extra } : { refused: code, detail };
}

export function isRefusal(value: unknown): value is Refusal {
  return typeof value === 'object' && value !== null && 'refused' in value && typeof value.refused === 'string';
}

/** A part the hub stands on failed. Thrown, with its cause; retried only where that is idempotent. */
export class Fault extends Error {
  readonly code: Code;
  constructor(code: Code, detail: string, cause?: unknown) {
    super(detail, { cause });
    this.name = 'Fault';
    this.code = code;
  }
}
