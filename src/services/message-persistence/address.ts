/** Whom an address means: the box that a message lies in, and whether its sender may use it. */
import { actorOf, type Identity } from '../../doors.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Address } from '../../events/message.ts';
import type { Hub } from '../../hub.ts';
import { memberOf } from '../../projections/channels.ts';

/** What another replica did a moment ago is waited for, this long, before a message is refused because of it. */
const longestMs = 500;

/** `node:<id>`, `channel:<name>` or `everyone`; at once when it is known here. Refuses `not_found`, `no_target` and `forbidden`. */
export function boxOf(hub: Pick<Hub, 'live' | 'log'>, to: Address, by: Identity): string | Promise<string | Refusal> {
  const box = knownBox(hub.live, to, by);
  return isRefusal(box) ? afterCatchUp(hub, to, by) : box;
}

async function afterCatchUp(
  { live, log }: Pick<Hub, 'live' | 'log'>,
  to: Address,
  by: Identity,
): Promise<string | Refusal> {
  await live.nodes.waitFor(await log.head(), longestMs).catch(() => {}); // too late: it is judged by what is known
  return knownBox(live, to, by);
}

function knownBox(live: Hub['live'], to: Address, by: Identity): string | Refusal {
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
  if (by.kind === 'node' && !hears(live, to.channel, by.nodeId))
    return refuse('forbidden', `${actorOf(by)} is not in the channel ${to.channel}: who speaks in it hears it`);
  return `channel:${to.channel}`;
}

/** Who joined under a name that another node has now is not that node. */
function hears({ channels, nodes }: Hub['live'], channel: string, nodeId: string): boolean {
  const joined = channels.get(memberOf(channel, nodeId))?.joined_position;
  const since = nodes.get(nodeId)?.registered_position;
  return joined !== undefined && since !== undefined && joined > since;
}
