/** Roles of members: what each may do is in rights.ts. */
import { appoint, dismissThen } from '../../admins.ts';
import type { About, Executed } from '../../commands/execute.ts';
import { changeRole, node, nodeStream } from '../../commands/node.ts';
import { isRefusal, type Refusal } from '../../errors.ts';
import type { NodeRole } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';

type Changed = Executed<{ role: NodeRole; previous: NodeRole }> | Refusal;

export class Roles {
  readonly #hub: Hub;

  constructor(hub: Hub) {
    this.#hub = hub;
  }

  /** Gives a member another role. Refuses `not_found`, `node_removed`, `last_admin`. */
  async change(nodeId: string, role: NodeRole, about: About): Promise<Changed> {
    const { executor } = this.#hub;
    const change = () => executor.execute(nodeStream(nodeId), node, changeRole, { nodeId, role }, about);
    if (role !== 'admin') return dismissThen(this.#hub, `node:${nodeId}`, about, change);
    const changed = await change();
    if (isRefusal(changed)) return changed;
    return (await this.#appoint(nodeId, about)) ?? changed;
  }

  /** The same command sent again must not count in a node that was demoted since. */
  async #appoint(nodeId: string, about: About): Promise<Refusal | undefined> {
    const known = await this.#hub.executor.state(nodeStream(nodeId), node);
    const isAdmin = known.membership === 'member' && known.role === 'admin';
    return isAdmin ? appoint(this.#hub, `node:${nodeId}`, about) : undefined;
  }
}
