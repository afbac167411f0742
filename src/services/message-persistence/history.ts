/** What was said: to whom it concerns, as long as it has not expired, and found by its words. */
import type { ExpressionBuilder, Kysely } from 'kysely';
import { actorOf, type Identity } from '../../doors.ts';
import { isRefusal, type Refusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { isoTime } from '../../kernel.ts';
import type { ViewTables } from '../../projections/catalog.ts';
import type { MessageRow } from '../../projections/messages.ts';
import type { SearchCursor } from '../../search.ts';
import type { OfflineQueue } from '../offline-queue.ts';

export interface HistoryFilter {
  /** Between whoever asks and this node. */
  readonly peer?: string | undefined;
  readonly channel?: string | undefined;
}

/** What an identity may see of messages now: what was sent to it, in its channels, to everyone, and by itself. */
export interface Sight {
  readonly actor: string;
  /** Of a node; undefined for others, who have no mailbox, and names that nobody else gets. */
  readonly nodeId: string | undefined;
  /** Whoever took the name of a node that was removed sees nothing from before this position. */
  readonly since: number;
  /** Channels that it hears, and since when. */
  readonly channels: ReadonlyMap<string, number>;
}

export function sightOf(members: OfflineQueue['members'], by: Identity): Sight {
  const actor = actorOf(by);
  if (by.kind !== 'node') return { actor, nodeId: undefined, since: 0, channels: new Map() };
  const { nodeId } = by;
  const since = members.since(nodeId) ?? Number.MAX_SAFE_INTEGER; // removed a moment ago
  return { actor, nodeId, since, channels: members.channelsOf(nodeId) };
}

/** The parts of a message that tell whom it concerns. */
export type Concerning = Pick<MessageRow, 'sender' | 'box' | 'without' | 'sent_position'>;

/** Whether a message concerns someone. */
export function mayRead(sight: Sight, row: Concerning): boolean {
  return isFor(sight, row) || (row.sender === sight.actor && row.sent_position > sight.since);
}

/** Whether it was sent to someone: by name, or to those whom it belonged to then and belongs to still. */
export function isFor(sight: Sight, { box, without, sent_position }: Concerning): boolean {
  const since = sinceIn(sight, box);
  return since !== undefined && sent_position > since && !without?.some((nodeId) => nodeId === sight.nodeId);
}

/** Since which position what lies in a box is for someone; undefined for what is not. */
function sinceIn({ nodeId, since, channels }: Sight, box: string): number | undefined {
  if (nodeId === undefined) return undefined;
  if (box === 'everyone' || box === `node:${nodeId}`) return since;
  return box.startsWith('channel:') ? channels.get(box.slice('channel:'.length)) : undefined;
}

/** All boxes whose content is for someone. */
function boxesOf(sight: Sight): string[] {
  if (sight.nodeId === undefined) return [];
  return [`node:${sight.nodeId}`, 'everyone', ...[...sight.channels.keys()].map((channel) => `channel:${channel}`)];
}

export interface HistoryPage {
  readonly rows: MessageRow[];
  /** Where to read on; undefined when that was all. */
  readonly before: number | undefined;
}

/** Content of one page, at most, in bytes; a message that is larger comes by itself. */
const pageBytes = 4 * 1024 * 1024;

/** The newest first, before a position. A page may be shorter than asked: it holds 4 MiB at most. */
export async function readHistory(
  hub: Hub,
  db: Kysely<ViewTables>,
  sight: Sight,
  filter: HistoryFilter,
  before: number,
  limit: number,
): Promise<HistoryPage> {
  const known = await db
    .selectFrom('federation_messages')
    .select(['message_id', 'bytes', 'sent_position'])
    .where((where) => within(where, sight, filter))
    .where('sent_position', '<', before)
    .where('expires_at', '>', isoTime(hub.kernel.now()))
    .orderBy('sent_position', 'desc')
    .limit(limit)
    .execute();
  const some = fitting(known);
  const byId = await messagesOf(
    db,
    some.map(({ message_id }) => message_id),
  );
  const rows = some.flatMap(({ message_id }) => byId.get(message_id) ?? []);
  const readable = rows.filter((row) => mayRead(sight, row)); // those that are not for it are not found by SQL alone
  const isCut = some.length < known.length || known.length === limit;
  return { rows: readable, before: isCut ? some.at(-1)?.sent_position : undefined };
}

/** The first of them, as many as a page holds. */
function fitting<Row extends { readonly bytes: number }>(rows: readonly Row[]): Row[] {
  let bytes = 0;
  const end = rows.findIndex((row, at) => {
    bytes += row.bytes;
    return at > 0 && bytes > pageBytes;
  });
  return rows.slice(0, end === -1 ? rows.length : end);
}

/** Those that have the words, the best first. Refuses what the search refuses. */
export async function searchHistory(
  hub: Hub,
  sight: Sight,
  { peer, channel }: HistoryFilter,
  asked: { readonly words: string; readonly after: SearchCursor | undefined; readonly limit: number },
): Promise<{ rows: MessageRow[]; next: SearchCursor | undefined } | Refusal> {
  const own = [...boxesOf(sight).map((box) => `box:${box}`), `from:${sight.actor}`];
  const where = [own];
  if (peer !== undefined) where.push(...between(sight, peer));
  if (channel !== undefined) where.push([`box:channel:${channel}`]);
  const found = await hub.search.find({ kind: 'message', where, ...asked });
  if (isRefusal(found)) return found;
  // The index may be ahead of the views: what it found is waited for there.
  const newest = Math.max(0, ...found.hits.map(({ position }) => position));
  const { value } = await hub.views.read(newest, async (db) => {
    const sizes = await sizesOf(
      db,
      found.hits.map(({ id }) => id),
    );
    const hits = fitting(found.hits.map((hit) => ({ ...hit, bytes: sizes.get(hit.id) ?? 0 })));
    const byId = await messagesOf(
      db,
      hits.map(({ id }) => id),
    );
    return { hits, rows: hits.flatMap(({ id }) => byId.get(id) ?? []) };
  });
  const now = isoTime(hub.kernel.now());
  const last = value.hits.length < found.hits.length ? value.hits.at(-1) : undefined;
  return {
    rows: value.rows.filter((row) => row.expires_at > now && mayRead(sight, row)),
    next: last
      ? { through: asked.after?.through ?? found.position, last: { score: last.score, position: last.position } }
      : found.next,
  };
}

/** What one of two wrote to the other: `(from me and to it) or (from it and to me)`, as groups that must all match. */
function between({ actor, nodeId }: Sight, peer: string): string[][] {
  const [mine, theirs] = [`from:${actor}`, `from:node:${peer}`];
  if (nodeId === undefined) return [[mine], [`box:node:${peer}`]]; // nobody writes to it
  const [toThem, toMe] = [`box:node:${peer}`, `box:node:${nodeId}`];
  return [
    [mine, theirs],
    [mine, toMe],
    [toThem, theirs],
    [toThem, toMe],
  ];
}

async function sizesOf(db: Kysely<ViewTables>, ids: readonly string[]): Promise<Map<string, number>> {
  if (ids.length === 0) return new Map();
  const rows = await db
    .selectFrom('federation_messages')
    .select(['message_id', 'bytes'])
    .where('message_id', 'in', ids)
    .execute();
  return new Map(rows.map(({ message_id, bytes }) => [message_id, bytes]));
}

async function messagesOf(db: Kysely<ViewTables>, ids: readonly string[]): Promise<Map<string, MessageRow>> {
  if (ids.length === 0) return new Map();
  const rows = await db.selectFrom('federation_messages').selectAll().where('message_id', 'in', ids).execute();
  return new Map(rows.map((row) => [row.message_id, row]));
}

function within(
  { or, and, eb }: ExpressionBuilder<ViewTables, 'federation_messages'>,
  sight: Sight,
  { peer, channel }: HistoryFilter,
) {
  const { actor } = sight;
  const inBox = (box: string) =>
    and([eb('box', '=', box), eb('sent_position', '>', sinceIn(sight, box) ?? Number.MAX_SAFE_INTEGER)]);
  const sent = and([eb('sender', '=', actor), eb('sent_position', '>', sight.since)]);
  if (channel !== undefined) return inBox(`channel:${channel}`);
  if (peer === undefined) return or([sent, ...boxesOf(sight).map(inBox)]);
  return or([and([sent, eb('box', '=', `node:${peer}`)]), and([inBox(actor), eb('sender', '=', `node:${peer}`)])]);
}
