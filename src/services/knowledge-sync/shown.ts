/** A memory as whoever asks may see it: the versions that the rules let it, opened where their key is still there. */
import { actorOf, type Identity } from '../../doors.ts';
import type { Foreign } from '../../events/memory.ts';
import type { Hub } from '../../hub.ts';
import { subjectOf } from '../../knowledge.ts';
import type { MemoryHead, MemoryRow } from '../../projections/memories.ts';
import type { MemorySummary } from '../../projections/memory-queries.ts';
import {
  findContents,
  findVersions,
  findVersionsById,
  type MemoryVersionRow,
  type VersionSummary,
} from '../../projections/memory-versions.ts';
import type { MemoryContent } from '../../protocol/knowledge.ts';
import { may } from '../../rights.ts';
import type { Judge, Matter } from '../../sovereignty.ts';
import { openContent } from './content.ts';
import type { Members } from './standing.ts';

/** Of a memory in a list, as JSON; longer ones are asked for one by one. */
const mostListedBytes = 16 * 1024;

export interface ShownVersion extends Partial<MemoryContent> {
  readonly version: string;
  readonly clock: string;
  readonly author: string;
  readonly category: string;
  readonly tags: readonly string[];
  readonly deleted: boolean;
  /**
   * `erased`: the key that sealed it was destroyed. `withheld`: who governs may know of it, no more. `none`: a tombstone. `long`: in a list,
   * when it has more than 16 KiB.
   */
  readonly content_state: 'shown' | 'erased' | 'withheld' | 'none' | 'long';
  readonly content_hash: string | null;
  readonly bytes: number;
  readonly foreign?: Foreign;
}

export interface ShownMemory extends ShownVersion {
  readonly memory_id: string;
  readonly owner: string;
  readonly created_at: string;
  readonly updated_at: string;
}

/** What tables hold of a version. */
type Stored = Pick<
  MemoryVersionRow,
  | 'version'
  | 'clock'
  | 'author'
  | 'category'
  | 'tags'
  | 'deleted'
  | 'content_hash'
  | 'bytes'
  | 'sealed_content'
  | 'origin'
>;

/** For whom versions are shown: what it may see, and whether it may know of all. */
export interface Reader {
  readonly judge: Judge | undefined;
  readonly governs: boolean;
  readonly now: number;
}

export function readerOf(members: Members, identity: Identity, now: number): Reader {
  return {
    judge: members.judge(subjectOf(actorOf(identity)), 'show'),
    governs: may(identity, 'govern'),
    now,
  };
}

/** Whether a reader may see what a version says. */
export function maySee({ judge, now }: Reader, matter: Matter): boolean {
  return judge?.judge(matter, now) !== undefined;
}

/** The memory with those of its heads that the reader may know of; undefined when there are none, or all are tombstones. */
export async function showMemory(
  hub: Pick<Hub, 'keyring' | 'views'>,
  reader: Reader,
  row: MemoryRow,
): Promise<(ShownMemory & { concurrent: ShownVersion[] }) | undefined> {
  const heads = row.heads.filter((head) => reader.governs || maySee(reader, head));
  if (!heads.some(({ deleted }) => !deleted)) return undefined;
  const ids = heads.map(({ version }) => version);
  const stored = await findVersionsById(hub.views.db, ids);
  const versions: ShownVersion[] = [];
  for (const head of heads) {
    const found = stored.find(({ version }) => version === head.version);
    if (found) versions.push(await showVersion(hub, found, maySee(reader, head)));
  }
  const [shown, ...concurrent] = versions;
  return shown && { ...shown, ...aboutMemory(row), concurrent };
}

/** Memories in a list, by the versions that are shown, all of which the reader may see. */
export async function showListed(
  hub: Pick<Hub, 'keyring' | 'views'>,
  rows: readonly MemorySummary[],
): Promise<ShownMemory[]> {
  const shown = await showShort(hub, rows, () => true);
  return rows.map((row, at) => ({ ...shown[at]!, ...aboutMemory(row) })); // one a row
}

/** Versions with what they say where the reader may see that, unless it is long. */
async function showShort(
  hub: Pick<Hub, 'keyring' | 'views'>,
  rows: readonly Omit<Stored, 'sealed_content'>[],
  open: (at: number) => boolean,
): Promise<ShownVersion[]> {
  const ids = rows.map(({ version }) => version);
  const contents = await findContents(hub.views.db, ids, mostListedBytes);
  return Promise.all(
    rows.map((row, at) => {
      const sealed_content = contents.get(row.version) ?? null;
      const long = row.bytes > mostListedBytes && open(at);
      return long ? withoutContent(row, 'long') : showVersion(hub, { ...row, sealed_content }, open(at));
    }),
  );
}

/** `open`: with what it says. Throws a `Fault` when the keyring cannot be reached. */
async function showVersion(hub: Pick<Hub, 'keyring'>, row: Stored, open: boolean): Promise<ShownVersion> {
  if (row.deleted === 1) return withoutContent(row, 'none');
  if (!open) return withoutContent(row, 'withheld');
  const content = row.sealed_content ? await openContent(hub, row.sealed_content) : undefined;
  return content ? { ...withoutContent(row, 'shown'), ...content } : withoutContent(row, 'erased');
}

function withoutContent(
  row: Omit<Stored, 'sealed_content'>,
  content_state: ShownVersion['content_state'],
): ShownVersion {
  const { version, clock, author, category, tags, deleted, content_hash, bytes, origin } = row;
  const about = { version, clock, author, category, tags, deleted: deleted === 1, content_state, content_hash, bytes };
  return { ...about, ...(origin && { foreign: origin }) };
}

function aboutMemory({ memory_id, owner, created_at, updated_at }: MemorySummary) {
  return { memory_id, owner, created_at, updated_at };
}

/**
 * Whether a reader may see what versions said that stand no more: with a memory of its own always; with another's, or one of another federation,
 * while it may see one that stands. What was deleted or taken out of its reach is not to be read in what it said before.
 */
function maySeePast(reader: Reader, { heads }: MemoryRow): boolean {
  const isOwn = (head: MemoryHead) => !head.foreign && reader.judge?.owns(head) === true;
  return heads.some((head) => isOwn(head) || (!head.deleted && maySee(reader, head)));
}

/** Versions read at a time while those that may not be seen are passed over. */
const pageVersions = 100;

export interface WrittenVersion extends ShownVersion {
  readonly written_at: string;
}

/** The versions of a memory that the reader may know of, the newest first, before a clock ('' for all). */
export async function showVersions(
  hub: Pick<Hub, 'keyring' | 'views'>,
  reader: Reader,
  row: MemoryRow,
  before: string,
  limit: number,
): Promise<WrittenVersion[]> {
  const { memory_id, created_position } = row;
  const past = maySeePast(reader, row);
  const known: { readonly row: VersionSummary; readonly seen: boolean }[] = [];
  for (let from = before; known.length < limit; ) {
    const page = await findVersions(hub.views.db, memory_id, from, pageVersions);
    for (const version of page) {
      const seen = past && maySee(reader, matterOf(version, created_position));
      if (seen || reader.governs) known.push({ row: version, seen });
    }
    if (page.length < pageVersions) break;
    from = page.at(-1)!.clock; // it is full
  }
  const page = known.slice(0, limit);
  const rows = page.map(({ row }) => row);
  const shown = await showShort(hub, rows, (at) => page[at]!.seen); // one a row
  return shown.map((version, at) => ({ ...version, written_at: rows[at]!.written_at })); // as above
}

/** One version of a memory, whether or not others replaced it; undefined when the reader may not know of it. */
export async function showOneVersion(
  hub: Pick<Hub, 'keyring' | 'views'>,
  reader: Reader,
  row: MemoryRow,
  version: string,
): Promise<(ShownMemory & { concurrent: ShownVersion[] }) | undefined> {
  const [found] = await findVersionsById(hub.views.db, [version]);
  if (found?.memory_id !== row.memory_id) return undefined;
  const seen = maySeePast(reader, row) && maySee(reader, matterOf(found, row.created_position));
  if (!seen && !reader.governs) return undefined;
  return { ...(await showVersion(hub, found, seen)), ...aboutMemory(row), concurrent: [] };
}

function matterOf(row: VersionSummary, created: number): Matter {
  const { subject, category, tags, origin: foreign, written_position } = row;
  return { subject, category, tags, foreign, subject_position: foreign ? written_position : created };
}
