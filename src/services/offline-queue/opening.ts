/** Fills the mailroom with what lay in the views when this replica began to follow the log. */
import type { Kysely } from 'kysely';
import type { Hub } from '../../hub.ts';
import { isoTime } from '../../kernel.ts';
import type { ViewTables } from '../../projections/catalog.ts';
import { keptMs, type Letter, letterOf, type Mailroom, noticeOf } from './mailroom.ts';

type Db = Kysely<ViewTables>;

/** Nodes that are asked about together. */
const together = 50;

/** Puts in all mail up to a position that nobody acknowledged. What came later is for who follows the log from there. */
export async function openMailroom({ live, views, kernel }: Opening, room: Mailroom, upTo: number): Promise<void> {
  for (const { node_id, delivered_through } of live.mailboxes.values()) room.delivered(node_id, delivered_through);
  const { db } = views;
  const letters = new Map<string, Letter[]>();
  const add = (nodeId: string, letter: Letter) => {
    if (letter.position > upTo || letter.position <= room.box(nodeId).through) return;
    const theirs = letters.get(nodeId);
    if (theirs) theirs.push(letter);
    else letters.set(nodeId, [letter]);
  };
  const since = isoTime(kernel.now() - keptMs);
  const nodes = [...live.nodes.values()];
  for (let at = 0; at < nodes.length; at += together) {
    const some = nodes.slice(at, at + together).map(({ node_id, registered_position }) => ({
      nodeId: node_id,
      since: registered_position,
      after: Math.max(registered_position, room.box(node_id).through),
    }));
    await Promise.all([directMail(db, some, add), taskEnds(db, some, since, add), states(db, some, since, add)]);
  }
  await sharedMail(db, room, nodes, add);
  await offers(db, room, upTo, since, add);
  for (const row of await awaitedTasks(db, upTo)) {
    if (row.told_node !== null) room.await(row.task_id, { nodeId: row.told_node, position: row.submitted_position });
  }
  for (const [nodeId, theirs] of letters) {
    for (const letter of theirs.sort((a, b) => a.position - b.position)) room.put(nodeId, letter);
  }
}

/** What of a hub is needed. */
export interface Opening {
  readonly live: {
    readonly nodes: Pick<Hub['live']['nodes'], 'values'>;
    readonly mailboxes: Pick<Hub['live']['mailboxes'], 'values'>;
  };
  readonly views: { readonly db: Db };
  readonly kernel: Pick<Hub['kernel'], 'now'>;
}

type Add = (nodeId: string, letter: Letter) => void;
/** `since`: when it became a member. What was said to, or by, a node that had its name before is not its mail. */
type After = { readonly nodeId: string; readonly since: number; readonly after: number };

async function directMail(db: Db, nodes: readonly After[], add: Add): Promise<void> {
  const rows = await db
    .selectFrom('federation_messages')
    .select(['message_id', 'sender', 'box', 'recipient', 'bytes', 'sent_position', 'expires_at', 'sent_at', 'said_at'])
    .where(({ or, and, eb }) =>
      or(nodes.map(({ nodeId, after }) => and([eb('box', '=', `node:${nodeId}`), eb('sent_position', '>', after)]))),
    )
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('federation_message_receipts as over')
            .select('over.receipt')
            .whereRef('over.message_id', '=', 'federation_messages.message_id')
            .where('over.state', 'in', ['received', 'refused', 'expired']),
        ),
      ),
    )
    .execute();
  for (const row of rows) add(row.box.slice('node:'.length), letterFrom(row));
}

/** Messages for channels and for everyone: kept once, and in the mailbox of each who was a member then. */
async function sharedMail(
  db: Db,
  room: Mailroom,
  nodes: readonly { readonly node_id: string; readonly registered_position: number }[],
  add: Add,
): Promise<void> {
  const oldest = nodes.reduce(
    (least, { node_id, registered_position }) =>
      Math.min(least, Math.max(room.box(node_id).through, registered_position)),
    Number.MAX_SAFE_INTEGER,
  );
  const rows = await db
    .selectFrom('federation_messages')
    .select([
      'message_id',
      'sender',
      'box',
      'recipient',
      'bytes',
      'sent_position',
      'expires_at',
      'sent_at',
      'said_at',
      'without',
    ])
    .where(({ or, and, eb }) =>
      or([eb('box', '=', 'everyone'), and([eb('box', '>', 'channel:'), eb('box', '<', 'channel;')])]),
    )
    .where('sent_position', '>', oldest)
    .execute();
  const over = await db
    .selectFrom('federation_message_receipts')
    .select(['message_id', 'state', 'nodes'])
    .where('sent_position', '>', oldest)
    .where('state', 'in', ['received', 'refused', 'expired'])
    .where(({ or, and, eb }) =>
      or([eb('box', '=', 'everyone'), and([eb('box', '>', 'channel:'), eb('box', '<', 'channel;')])]),
    )
    .execute();
  const expired = new Set(over.filter(({ state }) => state === 'expired').map(({ message_id }) => message_id));
  const overFor = new Set(over.flatMap(({ message_id, nodes: by }) => by.map((nodeId) => `${message_id}/${nodeId}`)));
  for (const row of rows) {
    if (expired.has(row.message_id)) continue;
    const letter = letterFrom(row); // one, in all of their mailboxes
    const message = { box: row.box, from: row.sender, without: row.without ?? [] };
    for (const nodeId of room.recipients(message, row.sent_position))
      if (!overFor.has(`${row.message_id}/${nodeId}`)) add(nodeId, letter);
  }
}

/** Of tasks that ended since a time, ISO 8601. */
async function taskEnds(db: Db, nodes: readonly After[], since: string, add: Add): Promise<void> {
  const rows = await db
    .selectFrom('federation_tasks')
    .select(['task_id', 'told_node', 'submitted_position', 'ended_at', 'ended_position'])
    .where(({ or, and, eb }) =>
      or(nodes.map(({ nodeId, after }) => and([eb('told_node', '=', nodeId), eb('ended_position', '>', after)]))),
    )
    .where('ended_at', '>', since)
    .execute();
  const memberSince = sinceOf(nodes);
  for (const { task_id, told_node, submitted_position, ended_at, ended_position } of rows) {
    if (told_node === null || ended_position === null || ended_at === null) continue;
    if (submitted_position < memberSince(told_node)) continue;
    add(told_node, noticeOf('task', task_id, told_node, ended_position, Date.parse(ended_at)));
  }
}

async function states(db: Db, nodes: readonly After[], since: string, add: Add): Promise<void> {
  const rows = await db
    .selectFrom('federation_message_receipts')
    .select(['message_id', 'sender', 'sent_position', 'position', 'time'])
    .where('state', 'in', ['refused', 'expired'])
    .where(({ or, and, eb }) =>
      or(nodes.map(({ nodeId, after }) => and([eb('sender', '=', `node:${nodeId}`), eb('position', '>', after)]))),
    )
    .where('time', '>', since)
    .execute();
  const memberSince = sinceOf(nodes);
  for (const { message_id, sender, sent_position, position, time } of rows) {
    const nodeId = sender.slice('node:'.length);
    if (sent_position > memberSince(nodeId))
      add(nodeId, noticeOf('state', message_id, nodeId, position, Date.parse(time)));
  }
}

/** Word of files that were stored since a time, ISO 8601, and are there still. */
async function offers(db: Db, room: Mailroom, upTo: number, since: string, add: Add): Promise<void> {
  const rows = await db
    .selectFrom('federation_files')
    .select(['file_id', 'box', 'recipient', 'owner', 'stored_at', 'stored_position'])
    .where('stored_at', '>', since)
    .execute();
  for (const { recipient: to, stored_at, stored_position, ...file } of rows) {
    if (stored_at === null || stored_position === null || stored_position > upTo) continue;
    const at = { position: stored_position, time: stored_at };
    for (const [nodeId, letter] of room.offers({ ...file, to }, at)) add(nodeId, letter);
  }
}

function sinceOf(nodes: readonly After[]): (nodeId: string) => number {
  const since = new Map(nodes.map((node) => [node.nodeId, node.since]));
  return (nodeId) => since.get(nodeId) ?? Number.POSITIVE_INFINITY;
}

/** Tasks that were not over at a position, whose end somebody waits for at its socket. Their rows may be newer by now. */
function awaitedTasks(db: Db, position: number) {
  return db
    .selectFrom('federation_tasks')
    .select(['task_id', 'told_node', 'submitted_position'])
    .where(({ or, eb }) =>
      or([eb('status', 'in', ['pending', 'assigned', 'running']), eb('ended_position', '>', position)]),
    )
    .where('told_node', 'is not', null)
    .execute();
}

function letterFrom(row: {
  readonly message_id: string;
  readonly sender: string;
  readonly box: string;
  readonly recipient: Parameters<typeof letterOf>[0]['to'];
  readonly bytes: number;
  readonly sent_position: number;
  readonly expires_at: string;
  readonly sent_at: string;
  readonly said_at: string | null;
}): Letter {
  const { sender, recipient, sent_position, sent_at, said_at, ...about } = row;
  const cameHome = said_at === null ? undefined : Date.parse(sent_at);
  return letterOf({ ...about, from: sender, to: recipient }, sent_position, cameHome);
}
