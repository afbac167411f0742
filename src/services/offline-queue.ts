/** Keeps messages, ends of tasks and notices for nodes that are away, and hands them over in order when they are back, until they are acknowledged. */
import type { About, Executed } from '../commands/execute.ts';
import { taskStream } from '../commands/task.ts';
import { isRefusal, type Refusal } from '../errors.ts';
import { decode, type EventType, type LogEvent } from '../events/catalog.ts';
import type { Hub } from '../hub.ts';
import { whenOpen } from '../jobs.ts';
import { Acks } from './offline-queue/acks.ts';
import { Callers } from './offline-queue/callers.ts';
import { Clearance } from './offline-queue/clearance.ts';
import { Contents, type Mail, mailTypes } from './offline-queue/contents.ts';
import { fitting } from './offline-queue/courier.ts';
import { Couriers } from './offline-queue/couriers.ts';
import { Drains } from './offline-queue/drains.ts';
import { Mailroom } from './offline-queue/mailroom.ts';
import { Memberships } from './offline-queue/members.ts';
import { openMailroom } from './offline-queue/opening.ts';
import { Progress } from './offline-queue/progress.ts';
import { service } from './service.ts';
import { speakerOf, websocketPool } from './websocket-pool.ts';

export type { Mail } from './offline-queue/contents.ts';

export interface OfflineQueue {
  /** Takes room for a message in mailboxes, until it is `settled` or `release`d. Answers whose have none left. */
  reserve(nodeIds: Iterable<string>, messageId: string, bytes: number): string[];
  release(nodeIds: Iterable<string>, messageId: string): void;
  /** The message lies in the log: its room is its own when it is seen there. */
  settled(nodeIds: Iterable<string>, messageId: string, position: number): void;
  /** Who gets a message in a box (`node:`, `channel:`, `everyone`) that lies at this position; unsaid: that is sent now. */
  recipients(box: string, from: string, position?: number): string[];
  /** The mail of a node after a position, the oldest first; waits for some for at most `waitMs`. Throws a `Fault`. */
  fetch(
    nodeId: string,
    asked: { readonly after: number; readonly limit: number; readonly waitMs: number; readonly signal: AbortSignal },
  ): Promise<Mail[]>;
  /** The node has all of its mail up to here. */
  acknowledge(nodeId: string, through: number, about: About): Promise<Executed<{ through: number }> | Refusal>;
  /** Whether a message lies in the mailbox of a node. */
  holds(nodeId: string, position: number): boolean;
  /** All of the log up to here was taken. */
  readonly position: number;
  /** Whether all of the log up to a position was taken; waits up to two seconds for it. */
  reached(position: number): Promise<boolean>;
  /** Messages whose time is over, with those who did not get them. */
  expired(limit: number): readonly Expired[];
  /** Of a message, milliseconds since 1970. */
  nextExpiry(): number | undefined;
  /** Who hears what, at this replica. */
  readonly members: Pick<Memberships, 'hears' | 'channelsOf' | 'since'>;
  /** Of all mailboxes. */
  counts(): { readonly nodes: number; readonly letters: number; readonly bytes: number };
}

export interface Expired {
  readonly messageId: string;
  readonly position: number;
  readonly unreached: readonly string[];
}

const followed = [
  ...mailTypes,
  'message.received',
  'mail.delivered',
  'task.submitted',
  'task.retried',
  'file.expired',
  'file.removed',
  'node.removed',
  'channel.left',
  'session.opened',
] as const satisfies EventType[];

const dropOldEveryMs = 60_000;
/** Of messages that are fetched at once; a single larger one goes by itself. */
const mostFetchedBytes = 4 * 1024 * 1024;

export const offlineQueue = service({
  name: 'offline-queue',
  purpose: 'Mail for nodes that are away: kept, drained in order when they are back, gone when acknowledged',
  needs: { sockets: websocketPool },
  async start(hub, { sockets }, standing) {
    const { position } = await hub.views.state();
    const members = new Memberships(hub);
    const callers = new Callers(hub.kernel);
    const arrived = (nodeId: string) => {
      couriers.arrived(nodeId);
      callers.arrived(nodeId);
    };
    const room = new Mailroom(members, arrived, (nodeId) => couriers.moved(nodeId));
    const clearance = new Clearance(hub, room);
    const contents = new Contents(hub, clearance);
    const couriers = new Couriers(hub, sockets, { room, contents, clearance });
    await openMailroom(hub, room, position).catch((error: unknown) => {
      couriers.close();
      members.close();
      throw error;
    });
    couriers.kickAll();

    const progress = new Progress(hub.kernel, position);
    const lease = hub.leases.acquire('offline-queue');
    const drains = new Drains(hub, room, lease, sockets.cluster, (nodeId) => couriers.kick(nodeId));
    const take = takerOf(hub, { room, contents, drains, clearance, isFirst: () => lease.held() });
    const following = hub.log.subscribe(
      position,
      async ({ events, through }) => {
        await hub.live.nodes.waitFor(through); // who is a member is at least as new as what is read
        for (const recorded of events) await take(decode(recorded));
        progress.reached(through);
      },
      { types: followed },
    );
    const stopOpening = whenOpen(hub, standing, (jobs) => drains.use(jobs));
    const acks = new Acks(hub, room);
    const stops = [
      hub.kernel.every(dropOldEveryMs, () => room.dropOld(hub.kernel.now())),
      sockets.handle('federation:message:ack', async (client, { through }) => {
        const { nodeId, about } = speakerOf(client);
        const handed = Math.min(through, couriers.furthest(nodeId));
        const done = await acks.acknowledge(nodeId, handed, about);
        return isRefusal(done) ? done : { through: done.reply.through };
      }),
    ];
    return {
      api: createQueue(hub, { room, members, contents, clearance, acks, callers, progress }),
      async stop() {
        stopOpening();
        for (const stop of stops) stop();
        couriers.close();
        callers.close();
        drains.close();
        await following.close();
        members.close();
        await lease.release();
      },
    };
  },
});

interface Parts {
  readonly room: Mailroom;
  readonly members: Memberships;
  readonly contents: Contents;
  readonly clearance: Clearance;
  readonly acks: Acks;
  readonly callers: Callers;
  readonly progress: Progress;
}

interface Taking extends Pick<Parts, 'room' | 'contents' | 'clearance'> {
  readonly drains: Drains;
  /** Whether this replica writes down what follows from facts. */
  isFirst(): boolean;
}

/** Takes what the log says, one after another. */
function takerOf(
  { log }: Hub,
  { room, contents, drains, clearance, isFirst }: Taking,
): (event: LogEvent) => void | Promise<void> {
  return (event) => {
    if (isMail(event)) contents.remember(event);
    if (event.type === 'session.opened') return drains.opened(event);
    if (event.type === 'node.removed' && isFirst())
      void clearance.giveBack(event.data.node_id, room.box(event.data.node_id).all());
    room.take(event);
    if (event.type === 'task.retried') return awaitAgain(log, room, event);
  };
}

/** Where a task that is tried again was handed in tells whether its node is still the same. */
async function awaitAgain(
  log: Hub['log'],
  room: Mailroom,
  { data: { task_id, submitter, callback } }: LogEvent<'task.retried'>,
): Promise<void> {
  if (callback?.kind !== 'socket' || !submitter.startsWith('node:')) return;
  const [submitted] = await log.readStream(taskStream(task_id), 0, 1);
  if (submitted) room.await(task_id, { nodeId: submitter.slice('node:'.length), position: submitted.position });
}

function createQueue(hub: Hub, { room, members, contents, clearance, acks, callers, progress }: Parts): OfflineQueue {
  return {
    members,
    reserve: (nodeIds, messageId, bytes) => room.reserve(nodeIds, messageId, bytes),
    release: (nodeIds, messageId) => room.release(nodeIds, messageId),
    settled: (nodeIds, messageId, position) => void progress.at(position, () => room.release(nodeIds, messageId)),
    recipients: (box, from, position = Number.MAX_SAFE_INTEGER) => [...room.recipients({ box, from }, position)],
    async fetch(nodeId, { after, limit, waitMs, signal }) {
      const until = hub.kernel.monotonicMs() + waitMs;
      let passed = after;
      for (;;) {
        const box = room.box(nodeId);
        const letters = fitting(box.after(Math.max(passed, box.through), limit), 0, mostFetchedBytes);
        const cleared = await clearance.of(nodeId, letters);
        const mail = await contents.of(nodeId, cleared);
        if (mail.length > 0) return mail;
        passed = letters.at(-1)?.position ?? passed;
        if (letters.length > 0) continue;
        if (!(await callers.wait(nodeId, until - hub.kernel.monotonicMs(), signal))) return [];
      }
    },
    async acknowledge(nodeId, through, about) {
      await progress.waitFor(through); // it may have been fetched at a replica that is ahead
      return acks.acknowledge(nodeId, through, about);
    },
    holds: (nodeId, position) => position > progress.position || room.box(nodeId).has(position),
    get position() {
      return progress.position;
    },
    reached: (position) => progress.waitFor(position),
    expired: (limit) =>
      room
        .expired(hub.kernel.now(), limit)
        .map(({ letter, unreached }) => ({ messageId: letter.name, position: letter.position, unreached })),
    nextExpiry: () => room.nextExpiry,
    counts() {
      const counts = { nodes: 0, letters: 0, bytes: 0 };
      for (const [, box] of room.waiting()) {
        counts.nodes++;
        counts.letters += box.size;
        counts.bytes += box.bytes;
      }
      return counts;
    },
  };
}

function isMail(event: LogEvent): event is LogEvent<(typeof mailTypes)[number]> {
  return (mailTypes as readonly string[]).includes(event.type);
}
