/** The admission guard: may this node, which proved its key, come in, and as what? */
import { appoint } from '../../admins.ts';
import type { About } from '../../commands/execute.ts';
import { node, nodeStream } from '../../commands/node.ts';
import type { AdmissionGuard, Candidate, Grant } from '../../doors.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { GovernanceMode } from '../../events/federation.ts';
import type { Admission, NodeRole } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import type { Bans } from './bans.ts';
import type { Invites } from './invites.ts';
import type { JoinRequests } from './join-requests.ts';

export interface Ways {
  mode(): GovernanceMode;
  readonly requests: JoinRequests;
  readonly invites: Invites;
  readonly bans: Bans;
}

/** Bans come first, for members too; then an invite counts in every mode; then the mode decides. */
export function createAdmissionGuard(hub: Hub, ways: Ways): AdmissionGuard {
  return async (candidate, about) => {
    const ban = ways.bans.find(candidate.nodeId, candidate.thumbprint);
    if (ban) return refuse('banned', ban.reason);
    if (candidate.member) return grant('member', { by: 'open' });
    const granted = await judgeStranger(hub, ways, candidate, about);
    // The request that used up the nonce of this proof was this one, sent again.
    if (isRefusal(granted)) return granted.refused === 'already_done' ? nonceUsed : granted;
    return { ...granted, settle: (admitted) => settle(hub, ways, candidate, granted, admitted, about) };
  };
}

const nonceUsed = refuse('nonce_used', 'ask for a new challenge: this nonce was used');

async function judgeStranger(hub: Hub, ways: Ways, candidate: Candidate, about: About): Promise<Grant | Refusal> {
  const mode = ways.mode();
  if (mode === 'open' && candidate.invite === undefined) return grant('member', { by: 'open' });
  // It may have become a member a moment ago, at another replica.
  const now = await hub.executor.state(nodeStream(candidate.nodeId), node);
  if (now.membership === 'member' && now.publicKey === candidate.publicKey) return grant(now.role, { by: 'open' });
  if (candidate.invite !== undefined) return ways.invites.redeem(candidate.invite, candidate, about);
  if (isAllowed(hub, candidate)) return grant('member', { by: 'allow_list' });
  if (mode === 'invite') return refuse('invite_required', 'new nodes need an invitation here');
  const removedAt = now.membership === 'removed' ? now.since : undefined;
  const role = await ways.requests.ask(candidate, removedAt, about);
  return isRefusal(role) ? role : grant(role, { by: 'approval' });
}

/** The allow list names node ids and keys. */
function isAllowed({ live }: Hub, { nodeId, publicKey }: Candidate): boolean {
  return live.access.get(`allow/${nodeId}`) !== undefined || live.access.get(`allow/${publicKey}`) !== undefined;
}

function grant(role: NodeRole, admission: Admission): Grant {
  return { role, admission, settle: async () => {} };
}

/** A node that got in waits for nobody any more, and counts as an administrator if it is one. */
async function settle(
  hub: Hub,
  { requests }: Ways,
  { nodeId, publicKey }: Candidate,
  granted: Grant,
  admitted: boolean,
  about: About,
): Promise<void> {
  await granted.settle(admitted);
  if (!admitted) return;
  if (requests.isPending(nodeId)) await requests.settle(nodeId, publicKey, granted.role);
  if (granted.role === 'admin') await appoint(hub, `node:${nodeId}`, about);
}
