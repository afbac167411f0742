/** Whom a file is for, and who may have it now: rights are those of the moment when it is asked for. */
import { actorOf, type Identity } from '../../doors.ts';
import { type Refusal, refuse } from '../../errors.ts';
import type { FileAddress } from '../../events/file.ts';
import type { Hub } from '../../hub.ts';
import type { FileRow, FileSight } from '../../projections/files.ts';
import { may } from '../../rights.ts';
import { boxOf } from '../message-persistence.ts';
import type { OfflineQueue } from '../offline-queue.ts';

type Members = OfflineQueue['members'];

/** `node:<id>`, `channel:<name>`, `role:<role>` or `everyone`. Refuses `not_found`, `no_target` and `forbidden`. */
export function fileBoxOf(
  { live, log }: Pick<Hub, 'live' | 'log'>,
  members: Members,
  to: FileAddress,
  by: Identity,
): string | Promise<string | Refusal> {
  return 'role' in to ? `role:${to.role}` : boxOf({ live, log, members }, to, by);
}

/** Where a node registered under its name; undefined for others, who have names that nobody else gets. */
export function sinceOf({ live }: Pick<Hub, 'live'>, by: Identity): number | undefined {
  if (by.kind !== 'node') return undefined;
  return live.nodes.get(by.nodeId)?.registered_position ?? Number.MAX_SAFE_INTEGER; // removed a moment ago
}

/** What somebody may see of files now. */
export function fileSightOf(hub: Pick<Hub, 'live'>, members: Members, by: Identity): FileSight {
  const actor = actorOf(by);
  const since = sinceOf(hub, by) ?? 0;
  const all = may(by, 'govern');
  const node = by.kind === 'node' ? hub.live.nodes.get(by.nodeId) : undefined;
  if (!node) return { actor, since, boxes: [], all };
  const channels = [...members.channelsOf(node.node_id)].map(([name, joined]) => [`channel:${name}`, joined] as const);
  const own = [`node:${node.node_id}`, `role:${node.role}`, 'everyone'].map((box) => [box, since] as const);
  return { actor, since, boxes: [...own, ...channels], all };
}

export function isOwn({ actor, since }: FileSight, { owner, begun_position }: FileRow): boolean {
  return owner === actor && begun_position > since;
}

/** Whether it was for somebody when it was stored, and is now; what is for an entity, for as long as that is its node's. */
export function isFor(
  { live }: Pick<Hub, 'live'>,
  { actor, boxes }: FileSight,
  { box, owner, recipient, stored_position }: FileRow,
): boolean {
  if (stored_position === null || owner === actor) return false;
  if ('entity' in recipient && `node:${live.entities.get(recipient.entity)?.node_id}` !== actor) return false;
  return boxes.some(([name, after]) => name === box && stored_position > after);
}

/** What somebody who may not send now had sent is not handed out. */
export function ownerBarred({ doors }: Pick<Hub, 'doors'>, { owner }: FileRow): Refusal | undefined {
  if (!owner.startsWith('node:')) return undefined;
  const sender = { kind: 'node', nodeId: owner.slice('node:'.length), sessionId: '', role: 'member' } as const;
  const refused = doors.judge(sender);
  if (!refused || refused.refused === 'guard_unavailable') return refused;
  return refuse('forbidden', 'the sender of this file may not send any more');
}
