/** Whether someone who came through the door of HTTP would still be let in: asked again and again while a call goes on. */
import type { Identity } from '../../doors.ts';
import type { Hub } from '../../hub.ts';
import { type Access, mayUse } from '../../rights.ts';

/**
 * Turns false when the caller is banned, blocked, removed or has lost the right, when its key was changed, its sessions were all
 * ended or its operator token revoked. A token that expires, or a newer session, does not end what was begun before.
 */
export function stillAdmitted(
  { live, doors }: Pick<Hub, 'live' | 'doors'>,
  identity: Identity,
  access: Access,
): () => boolean {
  const may = (now: Identity) => doors.judge(now) === undefined && mayUse(now, access, undefined);
  if (identity.kind === 'operator')
    return () => live.operatorTokens.get(identity.prefix)?.revoked_at === null && may(identity);
  if (identity.kind !== 'node') return () => may(identity);
  const { nodeId } = identity;
  const ended = () => live.sessions.get(`${nodeId}/all`)?.epoch;
  const [key, endedBefore] = [live.nodes.get(nodeId)?.public_key, ended()];
  return () => {
    const node = live.nodes.get(nodeId);
    if (!node || node.public_key !== key || ended() !== endedBefore) return false;
    return may({ ...identity, role: node.role });
  };
}
