/**
 * Appointing and dismissing administrators, for whoever makes or unmakes one.
 *
 * That spans two streams, the set of administrators and the token or node itself, so it goes in two steps. Who becomes one is
 * made one first and counted then; who ceases is taken out of the count first: so the last one is never counted away. What a
 * crash leaves between the steps is mended by governance.
 */
import { adminStream, admins, appoint as decideAppoint, dismiss as decideDismiss } from './commands/admin.ts';
import type { About, Executed, Executor } from './commands/execute.ts';
import { isRefusal, type Refusal } from './errors.ts';
import type { Hub } from './hub.ts';

type Stores = Pick<Hub, 'executor' | 'log'>;

/** Counts one in: `node:<id>` or `operator:<prefix>`. Doing it twice is harmless. */
export async function appoint(
  { executor }: { readonly executor: Executor },
  admin: string,
  about: About,
): Promise<Refusal | undefined> {
  const done = await executor.execute(adminStream, admins, decideAppoint, { admin }, ofItsOwn(about));
  return isRefusal(done) ? done : undefined;
}

/** Counts one out; `gone`: it is none any more, so even the last goes. Refuses `last_admin`. */
export async function dismiss(
  { executor }: { readonly executor: Executor },
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
  if (about.command && (await stores.log.findCommand(about.command.id))) return end();
  const command = { admin };
  const dismissed = await stores.executor.execute(adminStream, admins, decideDismiss, command, ofItsOwn(about));
  if (isRefusal(dismissed)) return dismissed;
  const ended = await end();
  if (isRefusal(ended) && dismissed.reply.dismissed) await appoint(stores, admin, about);
  return ended;
}

/** Without the id of the command: that belongs to the step in the other stream, whose reply is kept under it. */
function ofItsOwn({ command: _, ...about }: About): About {
  return about;
}
