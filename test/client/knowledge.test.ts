/** What a node knows while it is offline, in memory and in a file: what it may write, what replaces what, and what it keeps over a restart. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Knowledge } from '../../src/client/knowledge.ts';
import {
  type KeptVersion,
  type KnowledgeStore,
  MemoryKnowledgeStore,
  SqliteKnowledgeStore,
} from '../../src/client/node.ts';
import type { Document } from '../../src/protocol/knowledge.ts';

const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

async function file(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-store-'));
  folders.push(folder);
  return path.join(folder, 'knowledge.db');
}

function offline(store: KnowledgeStore = new MemoryKnowledgeStore(), self = 'node:ada') {
  const letGo = vi.fn();
  const errors: Error[] = [];
  const sync = () => Promise.reject(new Error('there is no hub'));
  const knowledge = new Knowledge({ self, sync, letGo, trouble: (error) => void errors.push(error) }, store);
  return { knowledge, store, letGo, errors };
}

function nested(depth: number): object {
  return depth === 0 ? {} : { in: nested(depth - 1) };
}

describe('what a node writes', () => {
  it('is a version with a clock of its own, and each replaces the one before', async () => {
    const { knowledge, store } = offline();
    const first = await knowledge.put({ category: 'notes', content: 'one' });
    const second = await knowledge.put({ memoryId: first.memoryId, category: 'notes', content: 'two' });
    expect(second.clock > first.clock).toBe(true);
    expect(await store.versionsOf(first.memoryId)).toHaveLength(1);
    expect(await knowledge.get(first.memoryId)).toMatchObject({ content: 'two', owner: 'node:ada', synced: false });
    await knowledge.delete(first.memoryId);
    expect(await knowledge.get(first.memoryId)).toBeUndefined();
    expect(await knowledge.list()).toEqual([]);
    await expect(knowledge.delete(first.memoryId)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('is based on what it says', async () => {
    const { knowledge } = offline();
    const { memoryId } = await knowledge.put({ category: 'notes', content: 'one' });
    const unknown = { memoryId, category: 'notes', content: 'x', basedOn: '0'.repeat(64) };
    await expect(knowledge.put(unknown)).rejects.toMatchObject({ code: 'conflict' });
  });

  it.each([
    ['no category', { content: 1 }, 'invalid_input', /^\/category: /],
    ['no content', { category: 'notes' }, 'invalid_input', /content/],
    ['a member that memories have not', { category: 'notes', content: 1, body: 'x' }, 'invalid_input', /^\/body: /],
    ['content that is nested too deep', { category: 'notes', content: nested(40) }, 'invalid_input', /deeper/],
    ['more than a memory holds', { category: 'notes', content: 'x'.repeat(262_144) }, 'payload_too_large', /262144/],
  ])('is refused at once with %s, as the hub would', async (_what, memory, code, message) => {
    const { knowledge } = offline();
    const written = knowledge.put(memory as Parameters<Knowledge['put']>[0]); // as a program without types gives it
    await expect(written).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(await knowledge.list()).toEqual([]);
  });

  it('is what JSON has of it, whatever the program does with it later', async () => {
    const { knowledge, store } = offline();
    const content = { at: new Date(0), none: undefined, list: [Number.NaN] };
    const { memoryId, version } = await knowledge.put({ category: 'notes', content });
    content.list.push(1);
    expect((await knowledge.get(memoryId))?.content).toEqual({ at: '1970-01-01T00:00:00.000Z', list: [null] });
    const other = offline();
    await other.knowledge.side.take(
      (await store.find([version])).map(({ document }) => document),
      1,
    );
    expect(await other.knowledge.get(memoryId)).toBeDefined();
  });

  it('is found by category and tag', async () => {
    const { knowledge } = offline();
    const { memoryId } = await knowledge.put({ category: 'a/b', tags: ['t'], content: 1 });
    await knowledge.put({ category: 'ab', content: 2 });
    expect(await knowledge.list({ category: 'a' })).toEqual([memoryId]);
    expect(await knowledge.list({ tag: 't' })).toEqual([memoryId]);
    expect(await knowledge.list()).toHaveLength(2);
  });
});

describe('what comes from a hub', () => {
  const from = async (self: string, content: string, receipt?: Partial<NonNullable<Document['receipt']>>) => {
    const { knowledge, store } = offline(undefined, self);
    const { version } = await knowledge.put({ memoryId: 'm', category: 'notes', content });
    const allows = { federation: 'f', subject: 'bob', rule: 'r', policy_version: 1, pass_on: false, edit: false };
    return { ...(await store.find([version]))[0]!.document, receipt: { ...allows, ...receipt } };
  };

  it('is changed where the receipt says so, under its owner’s category', async () => {
    const { knowledge } = offline();
    await knowledge.side.take([await from('node:bob', 'his')], 5);
    const change = { memoryId: 'm', category: 'notes', content: 'mine' };
    await expect(knowledge.put(change)).rejects.toMatchObject({ code: 'sovereignty_refused' });
    const other = offline();
    await other.knowledge.side.take([await from('node:bob', 'his', { edit: true })], 5);
    await expect(other.knowledge.put({ ...change, category: 'else' })).rejects.toMatchObject({
      code: 'sovereignty_refused',
    });
    await other.knowledge.put(change);
    expect(await other.knowledge.get('m')).toMatchObject({ content: 'mine', owner: 'node:bob', author: 'node:ada' });
    await expect(other.knowledge.delete('m')).rejects.toMatchObject({ code: 'sovereignty_refused' });
  });

  it('is kept only when it is what its id says', async () => {
    const { knowledge, store, errors } = offline();
    const document = await from('node:bob', 'his');
    await knowledge.side.take([{ ...document, content: { content: 'forged' } }], 5);
    expect(await store.versionsOf('m')).toEqual([]);
    expect(errors).toHaveLength(1);
  });

  it('goes when its time is over, and the hub is told', async () => {
    const { knowledge, store, letGo } = offline();
    await knowledge.side.take([await from('node:bob', 'his', { until: '2026-01-01T00:00:00.000Z' })], 5);
    vi.useFakeTimers({ toFake: ['Date'], now: Date.parse('2025-12-31T23:59:59.000Z') });
    try {
      await knowledge.expire();
      expect(await knowledge.get('m')).toBeDefined();
      vi.setSystemTime(Date.parse('2026-01-01T00:00:01.000Z'));
      expect(await knowledge.get('m')).toBeUndefined();
      await knowledge.expire();
      expect(await store.versionsOf('m')).toEqual([]);
      expect(letGo).toHaveBeenCalledWith(['m']);
    } finally {
      vi.useRealTimers();
    }
  });

  it('is not told of to the hub by a sync that only pulls, when the hub never had it', async () => {
    const { knowledge } = offline();
    await knowledge.put({ category: 'notes', content: 'mine' });
    const items = async (direction: 'pull' | 'push') => [
      ...((await knowledge.side.items({ mode: 'full' }, direction)) as object[]),
    ];
    expect(await items('pull')).toHaveLength(0);
    expect(await items('push')).toHaveLength(1);
  });
});

describe('stores', () => {
  const version = fc.constantFrom('a', 'b', 'c', 'd', 'e').map((letter) => letter.repeat(64));
  const kept = fc.record({ version, through: fc.option(fc.nat(), { nil: undefined }) });
  const change = fc.record({ keep: fc.array(kept), drop: fc.array(version), settle: fc.array(version), at: fc.nat() });

  it('in a file and in memory answer alike', async () => {
    const sqlite = await SqliteKnowledgeStore.open(await file());
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 6 }), async (changes) => {
        const stores = [new MemoryKnowledgeStore(), sqlite];
        sqlite.change({ drop: [...sqlite.items()].map((item) => item.version) });
        for (const { keep, drop, settle, at } of changes) {
          for (const store of stores) {
            store.change({ keep: keep.map(documentOf), drop });
            store.settle(settle, at);
          }
        }
        const [one, other] = stores.map((store) => ({
          items: [...store.items()].sort((a, b) => (a.version < b.version ? -1 : 1)),
          m: [...store.versionsOf('m')].sort((a, b) => (a.document.version < b.document.version ? -1 : 1)),
          has: [...store.has(['a'.repeat(64), 'c'.repeat(64)])].sort(),
        }));
        expect(one).toEqual(other);
      }),
      { numRuns: 100 },
    );
    sqlite.close();
  });

  it('in a file are there after a restart', async () => {
    const name = await file();
    const before = await SqliteKnowledgeStore.open(name);
    const { memoryId } = await offline(before).knowledge.put({ category: 'notes', content: { deep: [1] } });
    before.setNote('cursor', '7');
    before.close();
    const after = await SqliteKnowledgeStore.open(name);
    expect(await offline(after).knowledge.get(memoryId)).toMatchObject({ content: { deep: [1] } });
    expect(after.note('cursor')).toBe('7');
    after.close();
  });

  function documentOf({ version, through }: { version: string; through?: number | undefined }): KeptVersion {
    const memory = version < 'c' ? 'm' : 'n';
    const author = 'node:ada';
    const said = { memory_id: memory, version, clock: `${'0'.repeat(15)}-000000-${author}`, owner: author, author };
    return { document: { ...said, category: 'c', tags: ['t'], seen: {}, deleted: true }, through };
  }
});
