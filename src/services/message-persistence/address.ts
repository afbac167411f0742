/** Whom an address means: the box that a message lies in, and whether its sender may use it. */
import { actorOf, type Identity } from '../../doors.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Address } from '../../events/message.ts';
import type { Hub } from '../../hub.ts';
import type { OfflineQueue } from '../offline-queue.ts';

/** What another replica did a moment ago is waited for, this long, before a message is refused because of it. */
const longestMs = 500;

/** What is known of nodes, entities and channels here. */
export interface Known extends Pick<Hub, 'live' | 'log'> {
  readonly members: Pick<OfflineQueue['members'], 'hears'>;
}

/** `node:<id>`, `channel:<name>` or `everyone`; at once when it is known here. Refuses `not_found`, `no_target` and `forbidden`. */
export function boxOf(known: Known, to: Address, by: Identity): string | Promise<string | Refusal> {
  const box = knownBox(known, to, by);
  return isRefusal(box) ? afterCatchUp(known, to, by) : box;
}

async function afterCatchUp(known: Known, to: Address, by: Identity): Promise<string | Refusal> {
  await known.live.nodes.waitFor(await known.log.head(), longestMs).catch(() => {}); // too late: it is judged by what is known
  return knownBox(known, to, by);
}

function knownBox({ live, members }: Known, to: Address, by: Identity): string | Refusal {
  if ('everyone' in to) return 'everyone';
  if ('node' in to) {
    return live.nodes.get(to.node) ? `node:${to.node}` : refuse('not_found', `there is no node ${to.node}`);
  }
  if ('entity' in to) {
    const entity = live.entities.get(to.entity);
    if (!entity) return refuse('not_found', `there is no entity ${to.entity}`);
    if (entity.node_id === null)
      return refuse('no_target', `the entity ${to.entity} belongs to no node that could get it`);
    return `node:${entity.node_id}`;
  }
  if (by.kind === 'node' && !members.hears(to.channel, by.nodeId))
    return refuse('forbidden', `${actorOf(by)} is not in the channel ${to.channel}: who speaks in it hears it`);
  return `channel:${to.channel}`;
}
