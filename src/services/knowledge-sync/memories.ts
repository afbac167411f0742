/** Memories as they are written: stored by their owner or whom a rule lets, brought by a sync, deleted. */
import { LRUCache } from 'lru-cache';
import type { About, Executed } from '../../commands/execute.ts';
import {
  isForeign,
  type LetGo,
  letGo,
  memory,
  memoryStream,
  remove,
  store,
  take,
  type Version,
  type Writer,
  type Written,
} from '../../commands/memory.ts';
import { actorOf, type Identity } from '../../doors.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import { decode } from '../../events/decode.ts';
import type { Hub } from '../../hub.ts';
import { subjectOf } from '../../knowledge.ts';
import { findMemory } from '../../projections/memories.ts';
import type { Document, NewMemory } from '../../protocol/knowledge.ts';
import { may } from '../../rights.ts';
import { sealContent } from './content.ts';
import { Room } from './room.ts';
import type { Members } from './standing.ts';

/** Memories whose first fact is remembered. */
const rememberedFirsts = 50_000;

/** The first fact of a memory: whose it is, and since when. */
interface First {
  readonly owner: string;
  readonly position: number;
}

/** What it needs of the hub. */
type Ground = Pick<Hub, 'executor' | 'views' | 'kernel' | 'log' | 'keyring' | 'federationId'>;

export class Memories {
  readonly #hub: Ground;
  readonly #members: Members;
  readonly #room: Room;
  readonly #firsts = new LRUCache<string, First>({ maxSize: rememberedFirsts, sizeCalculation: () => 1 });

  constructor(hub: Ground, members: Members) {
    this.#hub = hub;
    this.#members = members;
    this.#room = new Room(hub);
  }

  /**
   * Stores a memory, or with `memory_id` a new version of one. `change`: only of one that is there. Refuses `not_found`,
   * `sovereignty_refused`, `conflict`, `limit_reached`, `payload_too_large`. What is of another federation is not stored here: it comes by a sync.
   */
  async store(
    { memory_id, category, tags = [], based_on: basedOn, ...content }: NewMemory,
    by: Identity,
    about: About,
    change = false,
  ): Promise<Executed<Written> | Refusal> {
    const memoryId = memory_id ?? this.#hub.kernel.uuid();
    const first = memory_id === undefined ? undefined : await this.#firstOf(memoryId);
    if (isForeign(first?.owner ?? memoryId)) return this.#foreign(memoryId, by);
    const actor = actorOf(by);
    const sealed = await sealContent(this.#hub, first?.owner ?? actor, content);
    if (isRefusal(sealed)) return sealed;
    const full = first ? undefined : await this.#room.take(actor);
    const writer = this.#writer(actor, may(by, 'govern'), first);
    const command = { memoryId, category, tags, basedOn, change, by: writer, full, ...sealed };
    return this.#hub.executor.execute(memoryStream(memoryId), memory, store, command, about);
  }

  /** Leaves a tombstone: by the owner, or who governs. Refuses `not_found`, `sovereignty_refused`. */
  async remove(memoryId: string, by: Identity, about: About): Promise<Executed<Written> | Refusal> {
    const first = await this.#firstOf(memoryId);
    const writer = this.#writer(actorOf(by), may(by, 'govern'), first);
    if (isForeign(first?.owner ?? '') && !writer.governs) return this.#foreign(memoryId, by);
    return this.#hub.executor.execute(memoryStream(memoryId), memory, remove, { memoryId, by: writer }, about);
  }

  /**
   * Takes a version that a node (or, for a hub that this one is a member of, `hub`) brings in a sync. `taken` is false for one that is there
   * or was replaced. Refuses `version_invalid`, `clock_ahead`, `not_found`, `sovereignty_refused`, `loop_detected`, `limit_reached`,
   * `payload_too_large`.
   */
  async take(document: Document, actor: string, about: About): Promise<Executed<{ taken: boolean }> | Refusal> {
    const { version, receipt: _, foreign, content, ...said } = document;
    const misnamed = this.#misnamed(document);
    if (misnamed) return misnamed;
    if (said.deleted !== (content === undefined))
      return refuse('version_invalid', 'a tombstone has no content, and every other version has one');
    const first = await this.#firstOf(said.memory_id);
    const owner = foreign ? said.owner : (first?.owner ?? said.owner);
    const sealed = content && (await sealContent(this.#hub, owner, content));
    if (isRefusal(sealed)) return sealed;
    const full = first || said.deleted ? undefined : await this.#room.take(said.owner);
    const stated = { ...said, content_hash: sealed?.content_hash ?? null };
    const command = { stated, version, foreign, sealed, by: this.#writer(actor, false, first), full };
    return this.#hub.executor.execute(memoryStream(said.memory_id), memory, take, command, about);
  }

  /** Lets go of what came from another federation. False when it stays: it did not come from one, or is not to go as it is now. */
  async letGo(command: LetGo): Promise<boolean> {
    const stream = memoryStream(command.memoryId);
    const done = await this.#hub.executor.execute(stream, memory, letGo, command, { actor: 'hub' });
    this.#firsts.delete(command.memoryId);
    return !isRefusal(done) && done.reply.gone;
  }

  /** What is foreign says where it is from, and did not pass here; what is not has none of the marks. */
  #misnamed({ memory_id, owner, author, foreign }: Document): Refusal | undefined {
    const { federationId } = this.#hub;
    if (!foreign) {
      const marked = [memory_id, owner, author].find(isForeign);
      return marked === undefined ? undefined : refuse('version_invalid', `${marked} does not say how it came here`);
    }
    const { federation, hops } = foreign;
    if (federation === federationId || hops.includes(federationId))
      return refuse('loop_detected', `${memory_id} was here before`);
    if (new Set(hops).size < hops.length) return refuse('loop_detected', `${memory_id} passed a federation twice`);
    const from = [memory_id, owner, author].every((name) => name.endsWith(`@${federation}`));
    return from && hops[0] === federation
      ? undefined
      : refuse('version_invalid', `${memory_id} is not named after the federation that it is from`);
  }

  #writer(actor: string, governs: boolean, first: First | undefined): Writer {
    const party = subjectOf(actor);
    const standingOf = (owner: string, { category, tags }: Version) => {
      const subject = subjectOf(owner);
      if (isForeign(owner)) return undefined;
      if (!first) return owner === actor ? 'own' : undefined; // stored a moment ago
      const matter = { subject, subject_position: first.position, category, tags };
      const editing = this.#members.judge(party, 'edit');
      if (editing?.owns(matter)) return 'own';
      const now = this.#hub.kernel.now();
      if (editing?.judge(matter, now)) return 'edit';
      return this.#members.judge(party, 'show')?.judge(matter, now) && 'show';
    };
    return { actor, governs, may: standingOf };
  }

  /** What is of another federation is changed there. */
  async #foreign(memoryId: string, by: Identity): Promise<Refusal> {
    const row = await findMemory(this.#hub.views.db, memoryId);
    const judge = this.#members.judge(subjectOf(actorOf(by)), 'show');
    const seen = row && judge?.judge({ ...row, foreign: row.origin }, this.#hub.kernel.now());
    return seen
      ? refuse('sovereignty_refused', `${memoryId} is of another federation: it is changed there`)
      : refuse('not_found', `there is no memory ${memoryId}`);
  }

  async #firstOf(memoryId: string): Promise<First | undefined> {
    const known = this.#firsts.get(memoryId);
    if (known) return known;
    const [recorded] = await this.#hub.log.readStream(memoryStream(memoryId), 0, 1);
    const event = recorded && decode(recorded);
    if (event?.type !== 'memory.stored' && event?.type !== 'memory.deleted') return undefined;
    const first = { owner: event.data.owner, position: event.position };
    this.#firsts.set(memoryId, first);
    return first;
  }
}
