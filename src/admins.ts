/**
 * Appointing and dismissing administrators, for whoever makes or unmakes one.
 *
 * That spans two streams, the set of administrators and the token or node itself, so it goes in two steps. Who becomes one is
 * made one first and counted then; who ceases is taken out of the count first: so the last one is never counted away. What a
 * crash leaves between the steps is mended by governance.
 */
import { accessLists, accessStream, isBlocked } from './commands/access.ts';
import { adminStream, admins, appoint as decideAppoint, dismiss as decideDismiss } from './commands/admin.ts';
import { ban, banStream } from './commands/ban.ts';
import { wasDone } from './commands/command-id.ts';
import type { About, Executed, Executor } from './commands/execute.ts';
import { key, keyStream } from './commands/key.ts';
import { node, nodeStream } from './commands/node.ts';
import { keyThumbprint } from './ed25519.ts';
import { isRefusal, type Refusal } from './errors.ts';
import type { Hub } from './hub.ts';

type Stores = Pick<Hub, 'executor' | 'log'>;
/** Where deciding reads what stands now. */
type Deciding = { readonly executor: Executor };

/** Counts one in: `node:<id>` or `operator:<prefix>`. Doing it twice is harmless. */
export async function appoint({ executor }: Deciding, admin: string, about: About): Promise<Refusal | undefined> {
  const done = await executor.execute(adminStream, admins, decideAppoint, { admin }, ofItsOwn(about));
  return isRefusal(done) ? done : undefined;
}

/** Counts one out; `gone`: it is none any more, so even the last goes. Refuses `last_admin`. */
export async function dismiss(
  { executor }: Deciding,
  admin: string,
  about: About,
  gone?: 'gone',
): Promise<Refusal | undefined> {
  const command = gone ? { admin, gone: true as const } : { admin };
  const done = await executor.execute(adminStream, admins, decideDismiss, command, ofItsOwn(about));
  return isRefusal(done) ? done : undefined;
}

/**
 * Counts one out and then does what makes it none: revoking, demoting, removing, banning. It is counted in again when that is
 * refused. A command that was done before is not begun again: who was appointed since stays. Refuses `last_admin`.
 */
export async function dismissThen<Reply>(
  stores: Stores,
  admin: string,
  about: About,
  end: () => Promise<Executed<Reply> | Refusal>,
): Promise<Executed<Reply> | Refusal> {
  if (await wasDone(stores.log, about)) return end();
  const command = { admin };
  const dismissed = await stores.executor.execute(adminStream, admins, decideDismiss, command, ofItsOwn(about));
  if (isRefusal(dismissed)) return dismissed;
  const ended = await end();
  if (isRefusal(ended) && dismissed.reply.dismissed) await appoint(stores, admin, about);
  return ended;
}

/** Counts a node in if it is an administrator by its role and nothing shuts it out. Doing it twice is harmless. */
export async function appointIfUsable(stores: Deciding, nodeId: string, about: About): Promise<Refusal | undefined> {
  const known = await stores.executor.state(nodeStream(nodeId), node);
  if (known.membership !== 'member' || known.role !== 'admin') return undefined;
  return (await shutOut(stores, nodeId, known.publicKey)) ? undefined : appoint(stores, `node:${nodeId}`, about);
}

/** Why a node of this id and key could do nothing as an administrator; undefined when it could. */
export async function shutOut({ executor }: Deciding, nodeId: string, publicKey: string): Promise<string | undefined> {
  if ((await executor.state(banStream(nodeId), ban)).reason !== undefined) return `${nodeId} is banned`;
  const lists = await executor.state(accessStream, accessLists);
  if (isBlocked(lists, nodeId)) return `${nodeId} is on the block list`;
  if (isBlocked(lists, publicKey)) return `the key of ${nodeId} is on the block list`;
  const { held } = await executor.state(keyStream(keyThumbprint(publicKey)), key);
  return held === 'retired' ? `the key of ${nodeId} is retired` : undefined;
}

const keyText = /^[A-Za-z0-9_-]{43}$/;

/** Ids of the nodes that a node id or public key names and whose role is admin. A text may be the id of one and the key of another. */
export async function adminsNamed({ executor }: Deciding, subject: string): Promise<readonly string[]> {
  const named = new Set([subject]);
  if (keyText.test(subject)) {
    const holder = await executor.state(keyStream(keyThumbprint(subject)), key);
    if (holder.held !== 'free') named.add(holder.nodeId);
  }
  const found: string[] = [];
  for (const nodeId of named) {
    const known = await executor.state(nodeStream(nodeId), node);
    if (known.membership !== 'member' || known.role !== 'admin') continue;
    if (nodeId === subject || known.publicKey === subject) found.push(nodeId);
  }
  return found;
}

/** Without the id of the command: that belongs to the step in the other stream, whose reply is kept under it. */
function ofItsOwn({ command: _, ...about }: About): About {
  return about;
}
