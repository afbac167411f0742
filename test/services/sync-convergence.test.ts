/**
 * Any histories of edits at nodes that are mostly offline, and at the hub, synced in any order and cut anywhere: in the end all have the
 * same, nothing that nobody replaced is lost, and the highest clock is shown. The stores, the sync, the frames and the hub's decisions are
 * the real ones; between them stands a hub that keeps its memories in a map.
 */
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { processClock } from '../../src/client/clock.ts';
import { HubUnreachable } from '../../src/client/connection.ts';
import { Knowledge } from '../../src/client/knowledge.ts';
import { runSync, type SyncOptions } from '../../src/client/knowledge-sync.ts';
import { HubRefusal, MemoryKnowledgeStore } from '../../src/client/node.ts';
import type { Line } from '../../src/client/sender.ts';
import type { Happened } from '../../src/commands/execute.ts';
import { type MemoryState, memory, store, take, type Writer } from '../../src/commands/memory.ts';
import { isRefusal } from '../../src/errors.ts';
import { clockMs, contentHash } from '../../src/knowledge.ts';
import { answer, ItemSet } from '../../src/negentropy.ts';
import type { Document } from '../../src/protocol/knowledge.ts';

const start = Date.parse('2026-01-01T00:00:00.000Z');
beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'], now: start }));
afterEach(() => void vi.useRealTimers());

const sealed = { subject: 's', key_id: 'k', sealed: 'x' };
const receipt = { federation: 'f', subject: 's', rule: 'r', policy_version: 1, pass_on: false, edit: true };

interface Asked {
  readonly scope?: { readonly mode: string; readonly since?: number };
  readonly frame?: Uint8Array;
  readonly versions?: readonly string[];
  readonly documents?: readonly Document[];
}

/** Decides as a hub does, and lets everyone have and edit everything. */
class Hub {
  readonly #states = new Map<string, MemoryState>();
  readonly #documents = new Map<string, Document>();
  readonly #updated = new Map<string, number>();
  #position = 0;

  heads(memoryId: string): Document[] {
    const state = this.#states.get(memoryId);
    return state?.there ? state.heads.map(({ version }) => this.#documents.get(version)!) : [];
  }

  memoryIds(): string[] {
    return [...this.#states.keys()];
  }

  /** Somebody edits over HTTP. */
  edit(memoryId: string, text: string): Document | undefined {
    const state = this.#states.get(memoryId);
    if (!state?.there) return undefined;
    const said = { memoryId, category: 'c', tags: [], basedOn: undefined, change: false, full: undefined };
    const hashed = { content: sealed, content_hash: contentHash({ content: text }), bytes: 1 };
    const decided = store(state, { ...said, ...hashed, by: writer('operator:x') }, { now: Date.now(), id: '' });
    if (isRefusal(decided)) throw new Error(decided.detail);
    return this.#append(memoryId, decided.events, { content: text });
  }

  take({ receipt: _, foreign, content, version, ...said }: Document, actor: string): void {
    const state = this.#states.get(said.memory_id) ?? memory.initial;
    const content_hash = content ? contentHash(content) : null;
    const brought = { stated: { ...said, content_hash }, version, foreign, by: writer(actor), full: undefined };
    const given = content && { content: sealed, content_hash: contentHash(content), bytes: 1 };
    const decided = take(state, { ...brought, sealed: given }, { now: Date.now(), id: '' });
    if (isRefusal(decided)) throw new Error(`${decided.refused}: ${decided.detail}`);
    this.#append(said.memory_id, decided.events, content);
  }

  /** A connection of a node, which is cut at the call of this number, before or after it was heard. */
  line(actor: string, cutAt: number, heard: boolean): { line: Pick<Line, 'ask' | 'clock'>; cut: () => boolean } {
    let calls = 0;
    let since = 0;
    const ask = async (name: string, packet: Asked) => {
      calls++;
      if (calls === cutAt && !heard) throw new HubUnreachable('cut');
      if (name === 'federation:knowledge:sync') {
        const { mode, since: from } = packet.scope!;
        since = mode === 'incremental' ? from! : 0;
      }
      const answered = this.#answer(name, packet, actor, since);
      if (calls >= cutAt) throw new HubUnreachable('cut');
      return answered;
    };
    return { line: { ask: ask as unknown as Line['ask'], clock: processClock }, cut: () => calls >= cutAt };
  }

  #answer(name: string, packet: Asked, actor: string, since: number): object {
    const offered = this.memoryIds().flatMap((id) => (this.#updated.get(id)! > since ? this.heads(id) : []));
    switch (name) {
      case 'federation:knowledge:sync':
        return { sync_id: 's', position: this.#position, offered: offered.length, frame_bytes: 4_096 };
      case 'federation:knowledge:reconcile': {
        const items = offered.map(({ clock, version }) => ({
          timestamp: clockMs(clock),
          id: Buffer.from(version, 'hex'),
        }));
        return { frame: answer(ItemSet.of(items), packet.frame!, { frameBytes: 4_096 }) };
      }
      case 'federation:knowledge:pull': {
        const asked = packet.versions!.slice(0, 3); // no more fit
        const there = asked.filter((version) => this.#documents.has(version));
        return { documents: there.map((version) => ({ ...this.#documents.get(version)!, receipt })), refused: [] };
      }
      case 'federation:knowledge:push':
        for (const document of packet.documents!) this.take(document, actor);
        return { taken: packet.documents!.map(({ version }) => version), refused: [] };
      default:
        return { position: this.#position, cursor: this.#position };
    }
  }

  #append(memoryId: string, events: readonly object[], content: Document['content']): Document | undefined {
    let document: Document | undefined;
    for (const event of events) {
      const happened = { ...event, time: '', revision: 0 } as Happened;
      this.#states.set(memoryId, memory.evolve(this.#states.get(memoryId) ?? memory.initial, happened));
      this.#updated.set(memoryId, ++this.#position);
      if (happened.type !== 'memory.stored' && happened.type !== 'memory.deleted') continue;
      const { version, clock, owner, author, category, tags, seen } = happened.data;
      const deleted = happened.type === 'memory.deleted';
      document = { memory_id: memoryId, version, clock, owner, author, category, tags, seen, deleted };
      if (content) document = { ...document, content };
      this.#documents.set(version, document);
    }
    return document;
  }
}

function writer(actor: string): Writer {
  return { actor, governs: false, may: (owner) => (owner === actor ? 'own' : 'edit') };
}

class Node {
  readonly store = new MemoryKnowledgeStore();
  readonly knowledge: Knowledge;
  readonly errors: Error[] = [];
  #cutAt = Number.POSITIVE_INFINITY;
  #heard = false;

  constructor(hub: Hub, self: string) {
    this.knowledge = new Knowledge(
      {
        self,
        trouble: (error) => void this.errors.push(error),
        letGo: () => {},
        sync: (side, options) => {
          const { line, cut } = hub.line(self, this.#cutAt, this.#heard);
          return runSync(line, side, options, cut);
        },
      },
      this.store,
    );
  }

  async sync(options: Omit<SyncOptions, 'scope'> & { mode: 'full' | 'incremental' }, cutAt?: number, heard = false) {
    this.#cutAt = cutAt ?? Number.POSITIVE_INFINITY;
    this.#heard = heard;
    const { mode, ...others } = options;
    const cut = (error: unknown) => {
      if (!(error instanceof HubUnreachable)) throw error;
    };
    const scope = mode === 'full' ? { mode } : { mode };
    await this.knowledge.sync({ ...others, scope }).catch(cut);
  }
}

const who = fc.integer({ min: 0, max: 2 });
const memoryName = fc.constantFrom('m0-a', 'm0-b', 'm1-a', 'm2-a');
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('put' as const), who, name: memoryName, apart: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('delete' as const), who, name: memoryName }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('hub' as const), name: memoryName }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('sync' as const),
      who,
      direction: fc.constantFrom('pull' as const, 'push' as const, 'both' as const),
      mode: fc.constantFrom('full' as const, 'incremental' as const),
      cutAt: fc.option(fc.integer({ min: 1, max: 8 }), { nil: undefined }),
      heard: fc.boolean(),
    }),
  },
);
const history = fc.array(fc.tuple(step, fc.integer({ min: -30_000, max: 30_000 })), { minLength: 5, maxLength: 40 });
const last = fc.constantFrom('full' as const, 'incremental' as const);

it('all have the same in the end: every version that none replaces, the highest clock first', async () => {
  await fc.assert(
    fc.asyncProperty(history, last, async (steps, mode) => {
      const hub = new Hub();
      const nodes = [0, 1, 2].map((at) => new Node(hub, `node:n${at}`));
      const written: Pick<Document, 'memory_id' | 'version' | 'clock' | 'author' | 'seen'>[] = [];
      for (const [at, [one, skew]] of steps.entries()) {
        vi.setSystemTime(start + at * 1_000 + skew); // clocks that go wrong, all of them
        if (one.kind === 'hub') {
          const edited = hub.edit(one.name, `hub ${at}`);
          if (edited) written.push(edited);
        } else if (one.kind === 'sync') {
          const { direction, mode, cutAt, heard } = one;
          await nodes[one.who]!.sync({ direction, mode }, cutAt, heard);
        } else {
          const document = await write(nodes[one.who]!, one.who, one.name, one, `n${one.who} ${at}`);
          if (document) written.push(document);
        }
      }
      vi.setSystemTime(start + 10_000_000);
      for (const node of [...nodes, ...nodes]) await node.sync({ direction: 'both', mode });
      for (const name of new Set(written.map(({ memory_id }) => memory_id))) {
        const all = written.filter(({ memory_id }) => memory_id === name);
        const standing = all.filter((one) => !all.some((other) => knew(other, one)));
        const expected = standing.sort((a, b) => (a.clock < b.clock ? 1 : -1)).map(({ version }) => version);
        expect(hub.heads(name).map(({ version }) => version)).toEqual(expected);
        for (const { store, knowledge } of nodes) {
          const kept = store.versionsOf(name).map(({ document }) => document);
          expect(kept.map(({ version }) => version).sort()).toEqual([...expected].sort());
          const shown = await knowledge.get(name);
          if (kept.some(({ deleted }) => !deleted)) {
            expect([shown?.version, ...(shown?.concurrent ?? []).map(({ version }) => version)]).toEqual(expected);
          } else expect(shown).toBeUndefined();
        }
      }
      expect(nodes.flatMap(({ errors }) => errors)).toEqual([]);
    }),
    { numRuns: 200 },
  );
}, 120_000);

/** Whether one version was written knowing of another. */
function knew(one: { seen: Readonly<Record<string, string>> }, of: { author: string; clock: string }): boolean {
  return (one.seen[of.author] ?? '') >= of.clock;
}

/** What a node writes, if it may; a new memory only under a name of its own. */
async function write(
  { knowledge, store }: Node,
  at: number,
  name: string,
  how: { kind: 'put'; apart: boolean } | { kind: 'delete' },
  content: string,
): Promise<Document | undefined> {
  const kept = store.versionsOf(name);
  if (kept.length === 0 && !name.startsWith(`m${at}`)) return undefined;
  try {
    const base = how.kind === 'put' && how.apart ? kept[0]?.document.version : undefined;
    const said = { memoryId: name, category: 'c', content, ...(base && { basedOn: base }) };
    const { version } = how.kind === 'put' ? await knowledge.put(said) : await knowledge.delete(name);
    return store.find([version])[0]!.document;
  } catch (error) {
    if (error instanceof HubRefusal) return undefined; // of another, or gone
    throw error;
  }
}
