/**
 * Finishes what a crash left between two streams, and what time brings: requests that lapse, approvals that were not carried
 * out, claims of invites that nobody settled, administrators that are counted wrongly. The replica with the lease looks every
 * few seconds; each step is idempotent.
 */
import { appoint, dismiss } from '../../admins.ts';
import { rejectionMs } from '../../commands/join.ts';
import { node, nodeStream } from '../../commands/node.ts';
import { keyThumbprint } from '../../ed25519.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { Lease } from '../../lease.ts';
import type { Invites } from './invites.ts';
import type { JoinRequests } from './join-requests.ts';

const lookEveryMs = 2_000;
/** Whoever approved may still be at work on it before this, milliseconds. */
const approvalMs = 5_000;
/** Whoever makes or unmakes an administrator may still be between the two steps before this, milliseconds. */
const countingMs = 60_000;

/** Rejections that one look may end. */
const mostEnded = 100;

/** Starts looking; what is returned stops it. */
export function finishGovernance(hub: Hub, lease: Lease, requests: JoinRequests, invites: Invites): Cancel {
  /** Approved nodes that this process found finished. Forgotten when their requests change. */
  const done = new Set<string>();
  const forget = hub.live.joins.onChange((nodeId) => done.delete(nodeId));
  const miscounted = new Map<string, number>();
  let looking = false;
  const look = async () => {
    if (looking || !lease.held()) return;
    looking = true;
    try {
      await finishRequests(hub, requests, done);
      await finishClaims(hub, invites);
      await recount(hub, miscounted);
    } catch (error) {
      hub.kernel.log.warn({ err: error }, 'governance could not finish what was left open; it is tried again');
    } finally {
      looking = false;
    }
  };
  const stop = hub.kernel.every(lookEveryMs, () => void look());
  return () => {
    stop();
    forget();
  };
}

async function finishRequests({ live, kernel }: Hub, requests: JoinRequests, done: Set<string>): Promise<void> {
  for (const nodeId of requests.pending()) {
    const row = live.joins.get(nodeId);
    const member = live.nodes.get(nodeId);
    if (row && Date.parse(row.expires_at) <= kernel.now()) await requests.expire(nodeId);
    else if (row && member?.public_key === row.public_key) await requests.settle(nodeId, row.public_key, member.role);
  }
  for (const nodeId of outlivedRejections(live, kernel.now())) await requests.expire(nodeId);
  for (const row of live.joins.values()) {
    if (row.status !== 'approved' || done.has(row.node_id) || live.nodes.get(row.node_id)) continue;
    if (kernel.now() - Date.parse(row.decided_at ?? row.requested_at) < approvalMs) continue;
    const failed = await requests.complete(row.node_id, { actor: 'hub' });
    if (failed) kernel.log.warn({ nodeId: row.node_id, code: failed.refused }, 'an approved node could not be let in');
    done.add(row.node_id);
  }
}

/** Rejected nodes that would be heard again by now: nothing needs to be kept of them. */
function outlivedRejections({ joins }: Hub['live'], now: number): string[] {
  const outlived: string[] = [];
  for (const { node_id, status, decided_at } of joins.values()) {
    if (outlived.length >= mostEnded) break;
    if (status === 'rejected' && decided_at !== null && now - Date.parse(decided_at) >= rejectionMs)
      outlived.push(node_id);
  }
  return outlived;
}

async function finishClaims({ live, kernel, executor }: Hub, invites: Invites): Promise<void> {
  for (const { invite_id: inviteId, used_by } of live.invites.values()) {
    for (const { node_id: nodeId, thumbprint, status, expires_at } of used_by) {
      if (status !== 'claimed' || Date.parse(expires_at) > kernel.now()) continue;
      const state = await executor.state(nodeStream(nodeId), node);
      const isIn = state.membership === 'member' && keyThumbprint(state.publicKey) === thumbprint;
      await invites.settle({ inviteId, nodeId, thumbprint }, isIn, { actor: 'hub' });
    }
  }
}

/** Holds the set of administrators against the tokens and nodes that are some. `since`: when each was first found miscounted. */
async function recount(hub: Hub, since: Map<string, number>): Promise<void> {
  const now = hub.kernel.monotonicMs();
  const wrong = miscounts(hub);
  for (const admin of since.keys()) if (!wrong.has(admin)) since.delete(admin);
  for (const [admin, missing] of wrong) {
    const first = since.get(admin) ?? now;
    since.set(admin, first);
    if (now - first < countingMs) continue;
    hub.kernel.log.warn({ admin, missing }, 'the count of administrators is put right');
    await (missing ? appoint(hub, admin, { actor: 'hub' }) : dismiss(hub, admin, { actor: 'hub' }, 'gone'));
    since.delete(admin);
  }
}

/** Who is an administrator and not counted (true), or counted and none (false). */
function miscounts({ live, kernel }: Hub): Map<string, boolean> {
  const wrong = new Map<string, boolean>();
  const nodes = new Set<string>();
  const blocked = (subject: string) => live.access.get(`block/${subject}`) !== undefined;
  for (const { node_id, role, public_key } of live.nodes.values()) {
    if (role !== 'admin' || live.bans.get(node_id) || blocked(node_id) || blocked(public_key)) continue;
    if (live.keys.get(keyThumbprint(public_key))?.status !== 'retired') nodes.add(`node:${node_id}`);
  }
  const real = new Set(nodes);
  const lasting = new Set<string>();
  for (const { prefix, scopes, expires_at, revoked_at } of live.operatorTokens.values()) {
    const good = revoked_at === null && (expires_at === null || Date.parse(expires_at) > kernel.now());
    if (!good || !scopes.includes('admin')) continue;
    real.add(`operator:${prefix}`);
    if (expires_at === null) lasting.add(`operator:${prefix}`);
  }
  for (const { admin } of live.admins.values()) if (!real.has(admin)) wrong.set(admin, false);
  // Tokens count from the moment they are made, but for those of a federation that is older than this count.
  const countable = live.admins.size === 0 ? [...nodes, ...lasting] : nodes;
  for (const admin of countable) if (!live.admins.get(admin)) wrong.set(admin, true);
  return wrong;
}
