/**
 * Which versions may move to a receiver: the one place where that set is made, for fingerprints, for counting and for the documents
 * themselves. What is not in it, neither its id nor a fingerprint over it leaves the hub.
 */
import type { Foreign } from '../../events/memory.ts';
import type { Hub } from '../../hub.ts';
import { clockMs } from '../../knowledge.ts';
import type { MemoryHead } from '../../projections/memories.ts';
import { type WalkedMemory, walkMemories } from '../../projections/memory-queries.ts';
import type { Grant, Judge, Matter, Party } from '../../sovereignty.ts';
import { keySubject } from './content.ts';
import type { Members } from './standing.ts';

/** What it needs of the hub. */
export type Ground = Pick<Hub, 'views' | 'keyring' | 'kernel'> & { readonly live: Pick<Hub['live'], 'sovereignty'> };

/** Memories read at a time. */
const pageRows = 2_000;
/** Subjects that the view is asked for by name; of more, all memories are read and judged. */
const mostNamed = 200;

/** A version that may move, and what lets it. Tombstones are among them. */
export interface Offered {
  readonly memoryId: string;
  readonly version: string;
  /** Milliseconds of its clock. */
  readonly ms: number;
  readonly grant: Grant;
}

/** Of all that may move, what is wanted. */
export interface Wish {
  /** What changed after this position of the log, or may move since then: rules, roles, owners or regions changed. */
  readonly since?: number | undefined;
  readonly ids?: readonly string[] | undefined;
  /** These categories, and all below them. */
  readonly categories?: readonly string[] | undefined;
  /** With any of these. */
  readonly tags?: readonly string[] | undefined;
}

/**
 * The versions that none replaces and that may move to a receiver now, in order of memory, a page at a time: by the rules as they are when
 * each page is judged. Nothing for one that is no member. What nobody can read any more is not among them. Throws a `Fault` when views or
 * keyring cannot be read.
 */
export async function* offeredTo(
  hub: Ground,
  members: Pick<Members, 'judge' | 'sharers' | 'party'>,
  receiver: string,
  wish: Wish = {},
): AsyncGenerator<Offered[]> {
  const keys = new Keys(hub);
  let reading = readPage(hub, members, receiver, wish, '');
  for (;;) {
    const page = await reading;
    if (page.length === pageRows) {
      reading = readPage(hub, members, receiver, wish, page.at(-1)!.memory_id); // while this one is judged; it is full
      reading.catch(() => {}); // whoever stops half-way does not wait for it
    }
    await keys.look(page);
    const now = hub.kernel.now();
    const offered: Offered[] = [];
    // Rules may have changed while the page was read: a judge is asked for anew, in the turn in which it judges.
    const judging = members.judge(receiver, 'move');
    if (!judging) return;
    for (const row of page) {
      for (const head of headsOf(row)) {
        if (!isWanted(head, wish) || keys.isDestroyed(head.key_id)) continue;
        const grant = judging.judge(head, now);
        if (grant) offered.push({ memoryId: row.memory_id, version: head.version, ms: clockMs(head.clock), grant });
      }
    }
    yield offered;
    if (page.length < pageRows) return;
  }
}

/** Memories of those who share anything with a receiver, after an id; none for one that is no member. */
async function readPage(
  hub: Ground,
  members: Pick<Members, 'judge' | 'sharers' | 'party'>,
  receiver: string,
  { since, ids }: Wish,
  after: string,
): Promise<WalkedMemory[]> {
  const judge = members.judge(receiver, 'move');
  if (!judge) return [];
  const subjects = namedSubjects(judge, members);
  const anew = since === undefined ? undefined : declaredSince(hub, since, judge, members);
  const walk = anew === 'all' ? { subjects, ids } : { subjects, since, anew, ids };
  return walkMemories(hub.views.db, walk, after, pageRows);
}

export type Judged = Matter & {
  readonly version: string;
  readonly clock: string;
  readonly deleted: boolean;
  /** Of the key that sealed it. */
  readonly key_id?: string | null;
};

/** The versions of a memory that none replaces. */
export function headsOf(row: WalkedMemory): readonly Judged[] {
  return row.heads_text === null ? [new OnlyHead(row)] : (JSON.parse(row.heads_text) as MemoryHead[]); // as the view wrote them
}

/** A version without any beside it, as the view has it. */
class OnlyHead implements Judged {
  readonly version: string;
  readonly clock: string;
  readonly category: string;
  readonly subject: string;
  readonly subject_position: number;
  readonly key_id: string | null;
  readonly deleted: boolean;
  readonly foreign: Foreign | null;
  readonly #tags: string;

  constructor(row: WalkedMemory) {
    this.version = row.version;
    this.clock = row.clock;
    this.category = row.category;
    this.subject = row.subject;
    this.subject_position = row.subject_position;
    this.key_id = row.key_id;
    this.deleted = row.deleted === 1;
    this.foreign = row.origin_text === null ? null : (JSON.parse(row.origin_text) as Foreign); // as the view wrote it
    this.#tags = row.tags_text;
  }

  /** Read when they are asked for: few rules do. */
  get tags(): string[] {
    return JSON.parse(this.#tags) as string[]; // as the view wrote them
  }
}

function isWanted(head: Pick<Judged, 'category' | 'tags'>, { categories, tags }: Wish): boolean {
  return (
    (!categories || categories.some((one) => `${head.category}/`.startsWith(`${one}/`))) &&
    (!tags || head.tags.some((tag) => tags.includes(tag)))
  );
}

/** The receiver, and whoever shares anything with it; undefined when these are many. */
function namedSubjects(judge: Judge, members: Pick<Members, 'sharers'>): string[] | undefined {
  const subjects = new Set([judge.receiver.subject]);
  for (const subject of members.sharers()) {
    if (judge.sharedBy(subject)) subjects.add(subject);
    if (subjects.size > mostNamed) return undefined;
  }
  return [...subjects];
}

/** Whose rules, or standing among the rules of others, changed after a position. When those of the receiver itself did, `all`. */
function declaredSince(
  { live }: Pick<Ground, 'live'>,
  since: number,
  { receiver }: Judge,
  members: Pick<Members, 'party'>,
): string[] | 'all' {
  const isAnew = (party: Party | undefined) => (party?.stands ?? -1) > since;
  const anew = [...live.sovereignty.values()].filter(
    ({ subject, declared_position }) => declared_position > since || isAnew(members.party(subject)),
  );
  const itself = receiver.since > since || isAnew(receiver);
  if (itself || anew.some(({ subject }) => subject === receiver.subject)) return 'all';
  return anew.map(({ subject }) => subject);
}

/** Which of the keys that seal memories are destroyed: each is asked for once a walk. */
export class Keys {
  readonly #hub: Pick<Hub, 'keyring'>;
  readonly #there = new Map<string, boolean>();

  constructor(hub: Pick<Hub, 'keyring'>) {
    this.#hub = hub;
  }

  async look(rows: readonly Pick<WalkedMemory, 'owner' | 'key_id' | 'heads_text'>[]): Promise<void> {
    for (const { owner, key_id, heads_text } of rows) {
      if (!this.knows(key_id)) await this.find(owner, key_id);
      if (heads_text === null) continue;
      for (const head of JSON.parse(heads_text) as MemoryHead[]) await this.find(owner, head.key_id); // as the view wrote them
    }
  }

  async find(owner: string, keyId: string | null | undefined): Promise<void> {
    if (keyId === null || keyId === undefined || this.knows(keyId)) return;
    this.#there.set(keyId, (await this.#hub.keyring.dataKeyById(keySubject(owner), keyId)) !== undefined);
  }

  /** Whether there is nothing to ask; few keys seal many memories. */
  knows(keyId: string | null | undefined): boolean {
    return keyId === null || keyId === undefined || this.#there.has(keyId);
  }

  isDestroyed(keyId: string | null | undefined): boolean {
    return keyId !== null && keyId !== undefined && this.#there.get(keyId) === false;
  }
}
