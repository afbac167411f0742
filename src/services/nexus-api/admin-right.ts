/** What concerns administrators asks for the right `admin`: else whoever may govern could make itself one, or be left the only one. */
import { adminsNamed } from '../../admins.ts';
import type { Identity } from '../../doors.ts';
import { type Refusal, refuse } from '../../errors.ts';
import type { NodeRole } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import { may } from '../../rights.ts';

/** Whether this identity may give this role. Refuses `forbidden`. */
export function mayGive(identity: Identity, role: NodeRole | undefined): Refusal | undefined {
  if (role !== 'admin' || may(identity, 'admin')) return undefined;
  return refuse('forbidden', 'to make an administrator takes the right admin');
}

/**
 * Whether this identity may decide on the node that this id or key names: when its role is admin, that takes the right `admin`.
 * Refuses `forbidden`.
 */
export async function mayDecideOn(hub: Hub, identity: Identity, subject: string): Promise<Refusal | undefined> {
  if (may(identity, 'admin')) return undefined;
  const [admin] = await adminsNamed(hub, subject);
  return admin === undefined
    ? undefined
    : refuse('forbidden', `${admin} is an administrator: that takes the right admin`);
}
