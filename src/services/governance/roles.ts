/** Roles of members: what each may do is in rights.ts. */
import { appointIfUsable, dismissThen, shutOut } from '../../admins.ts';
import { wasDone } from '../../commands/command-id.ts';
import type { About, Executed } from '../../commands/execute.ts';
import { changeRole, node, nodeStream } from '../../commands/node.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { NodeRole } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';

type Changed = Executed<{ role: NodeRole; previous: NodeRole }> | Refusal;

export class Roles {
  readonly #hub: Hub;

  constructor(hub: Hub) {
    this.#hub = hub;
  }

  /** Gives a member another role. Refuses `not_found`, `node_removed`, `last_admin`, and `conflict` for an administrator who could do nothing. */
  async change(nodeId: string, role: NodeRole, about: About): Promise<Changed> {
    const { executor } = this.#hub;
    const change = () => executor.execute(nodeStream(nodeId), node, changeRole, { nodeId, role }, about);
    if (role !== 'admin') return dismissThen(this.#hub, `node:${nodeId}`, about, change);
    const useless = (await wasDone(this.#hub.log, about)) ? undefined : await this.#shutOut(nodeId);
    if (useless) return refuse('conflict', `${useless}, so it cannot be an administrator`);
    const changed = await change();
    if (isRefusal(changed)) return changed;
    // By how it stands now: the same command sent again must not count in a node that was demoted since.
    return (await appointIfUsable(this.#hub, nodeId, about)) ?? changed;
  }

  async #shutOut(nodeId: string): Promise<string | undefined> {
    const known = await this.#hub.executor.state(nodeStream(nodeId), node);
    return known.membership === 'member' ? shutOut(this.#hub, nodeId, known.publicKey) : undefined;
  }
}
