/** Nodes that keep what they know themselves, at a real hub: written offline, brought to the same state, and never more than the rules let. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type FederationNode, HubRefusal, HubUnreachable, type SyncSide } from '../../src/client/node.ts';
import { Initiator, ItemSet } from '../../src/negentropy.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { call, cuttable, type Json, knowing, openHanded, says } from './knowledge.ts';

let hub: TestHub;
const nodes: FederationNode[] = [];
let names = 0;

beforeAll(async () => {
  hub = await startTestHub();
});
afterEach(() => {
  for (const node of nodes.splice(0)) node.close();
});
afterAll(() => hub?.stop());

/** A node of a name of its own. */
async function someone(policy = openHanded) {
  names++;
  const made = await knowing(hub, `node${names}`, policy);
  nodes.push(made.node);
  return { ...made, id: `node${names}` };
}

const note = (content: string, category = 'notes') => ({ category, content });

describe('two nodes through the hub', () => {
  it('what one wrote offline the other has after both synced', async () => {
    const ada = await someone();
    const bob = await someone();
    const { memoryId } = await ada.knowledge.put({ ...note('bread'), tags: ['food'], title: 'Recipe' });
    expect((await ada.knowledge.get(memoryId))?.synced).toBe(false);
    const pushed = await ada.knowledge.sync();
    expect(pushed).toMatchObject({ pushed: 1, pulled: 0, refused: [] });
    expect((await ada.knowledge.get(memoryId))?.synced).toBe(true);
    const pulled = await bob.knowledge.sync();
    expect(pulled.pulled).toBeGreaterThanOrEqual(1);
    const memory = await bob.knowledge.get(memoryId);
    expect(memory).toMatchObject({ content: 'bread', title: 'Recipe', tags: ['food'], owner: `node:${ada.id}` });
    expect(memory?.receipt).toMatchObject({ subject: ada.id, rule: 'all', policy_version: 1, edit: true });
    const { body } = await call(hub.url, hub.adminToken, 'GET', `/memory/${memoryId}/holders`);
    expect(body.holders).toMatchObject([{ holder: bob.id, rule: 'all', state: 'held' }]);
    expect([...ada.errors, ...bob.errors]).toEqual([]);
  });

  it('both sides keep concurrent edits, and show the one with the highest clock', async () => {
    const ada = await someone();
    const bob = await someone();
    const { memoryId } = await ada.knowledge.put(note('first'));
    await ada.knowledge.sync();
    await bob.knowledge.sync();
    await ada.knowledge.put({ memoryId, ...note('by ada') });
    await sleep(5);
    await bob.knowledge.put({ memoryId, ...note('by bob') });
    await ada.knowledge.sync();
    await bob.knowledge.sync();
    await ada.knowledge.sync();
    for (const { knowledge } of [ada, bob]) {
      const memory = await knowledge.get(memoryId);
      expect(memory).toMatchObject({ content: 'by bob', concurrent: [{ content: 'by ada' }] });
    }
    const { body } = await call(hub.url, ada.node.token, 'GET', `/memory/${memoryId}`);
    expect(body.memory).toMatchObject({ content: 'by bob', concurrent: [{ content: 'by ada' }] });
    await ada.knowledge.put({ memoryId, ...note('both') });
    await ada.knowledge.sync();
    await bob.knowledge.sync();
    expect(await bob.knowledge.get(memoryId)).toMatchObject({ content: 'both', concurrent: [] });
  });

  it('what its owner deletes is gone at the other too, and stays gone', async () => {
    const ada = await someone();
    const bob = await someone();
    const { memoryId } = await ada.knowledge.put(note('short-lived'));
    await ada.knowledge.sync();
    await bob.knowledge.sync();
    expect(await bob.knowledge.get(memoryId)).toBeDefined();
    await ada.knowledge.delete(memoryId);
    await ada.knowledge.sync();
    await bob.knowledge.sync();
    expect(await bob.knowledge.get(memoryId)).toBeUndefined();
    const again = await bob.knowledge.sync();
    expect(again).toMatchObject({ pulled: 0, pushed: 0, rounds: 1 });
    await expect(bob.knowledge.delete(memoryId)).rejects.toThrow(HubRefusal);
  });

  it('a second sync moves no document, and costs one round', async () => {
    const ada = await someone();
    for (let at = 0; at < 300; at++) await ada.knowledge.put(note(`n${at}`));
    expect(await ada.knowledge.sync()).toMatchObject({ pushed: 300 });
    const again = await ada.knowledge.sync({ direction: 'both' });
    expect(again).toMatchObject({ pushed: 0, rounds: 1 });
    expect(again.frameBytes).toBeLessThan(2_000);
  });
});

describe('a part of what there is', () => {
  it('is named by category with all below it, by tag, by id, or by words', async () => {
    const ada = await someone();
    const put = async (content: string, category: string, ...tags: string[]) =>
      (await ada.knowledge.put({ category, content, tags })).memoryId;
    const rye = await put('dark rye bread', 'recipes/bread', 'grain');
    const soup = await put('leek soup', 'recipes/soup', 'green');
    const moss = await put('moss likes shade', 'garden', 'green');
    await ada.knowledge.sync();
    const cases = [
      [{ categories: ['recipes'] }, [rye, soup]],
      [{ categories: ['recipes/bread', 'garden'] }, [rye, moss]],
      [{ tags: ['green'] }, [soup, moss]],
      [{ ids: [moss] }, [moss]],
      [{ query: 'rye' }, [rye]],
      [{ categories: ['recipes'], tags: ['green'] }, [soup]],
    ] as const;
    for (const [named, expected] of cases) {
      const bob = await someone({ ...openHanded, takes: [{ ...openHanded.takes[0]!, with: { nodes: [ada.id] } }] });
      const scope = JSON.parse(JSON.stringify({ mode: 'targeted', ...named }));
      await bob.knowledge.sync({ direction: 'pull', scope });
      expect((await bob.knowledge.list()).sort(), JSON.stringify(named)).toEqual([...expected].sort());
      expect((await bob.knowledge.sync({ direction: 'pull', scope })).pulled).toBe(0);
    }
  });

  it('is pushed by the same names, and nothing besides', async () => {
    const ada = await someone();
    const { memoryId: bread } = await ada.knowledge.put(note('rye', 'recipes/bread'));
    const { memoryId: other } = await ada.knowledge.put(note('moss', 'garden'));
    await ada.knowledge.sync({ scope: { mode: 'targeted', categories: ['recipes'] } });
    expect((await ada.knowledge.get(bread))?.synced).toBe(true);
    expect((await ada.knowledge.get(other))?.synced).toBe(false);
    expect((await call(hub.url, ada.node.token, 'GET', `/memory/${other}`)).status).toBe(404);
  });

  it('cannot be found by words and pushed, nor be nothing', async () => {
    const ada = await someone();
    const both = ada.knowledge.sync({ scope: { mode: 'targeted', query: 'rye' } });
    await expect(both).rejects.toMatchObject({ code: 'invalid_input' });
    const nothing = ada.knowledge.sync({ direction: 'pull', scope: { mode: 'targeted' } });
    await expect(nothing).rejects.toMatchObject({ code: 'invalid_input' });
  });

  it('is what changed since the last time, and what the rules newly allow', async () => {
    const ada = await someone();
    const bob = await someone({ ...openHanded, takes: [{ ...openHanded.takes[0]!, with: { nodes: [ada.id] } }] });
    for (let at = 0; at < 20; at++) await ada.knowledge.put(note(`n${at}`));
    await ada.knowledge.sync();
    const first = await bob.knowledge.sync({ scope: { mode: 'incremental' } });
    expect(first).toMatchObject({ pulled: 20 });
    const { memoryId } = await ada.knowledge.put(note('news'));
    expect(await ada.knowledge.sync({ scope: { mode: 'incremental' } })).toMatchObject({ pushed: 1 });
    const second = await bob.knowledge.sync({ scope: { mode: 'incremental' } });
    expect(second).toMatchObject({ offered: 1, pulled: 1 });
    expect(second.cursor).toBeGreaterThan(first.cursor);
    expect(await bob.knowledge.get(memoryId)).toMatchObject({ content: 'news' });
    expect(await bob.knowledge.sync({ scope: { mode: 'incremental' } })).toMatchObject({ offered: 0, pulled: 0 });
    const beyond = { mode: 'incremental', since: 1_000_000_000 } as const; // of a log that was longer, before it was restored
    expect(await bob.knowledge.sync({ scope: beyond })).toMatchObject({ offered: 21 });
    await says(hub, ada.id, { ...openHanded, shares: [{ ...openHanded.shares[0]!, id: 'anew' }] });
    expect(await bob.knowledge.sync({ scope: { mode: 'incremental' } })).toMatchObject({ offered: 21, pulled: 0 });
  });
});

describe('rules', () => {
  it('let nothing go that is not allowed: no document, no id, and no fingerprint', async () => {
    const ada = await someone({ shares: [{ id: 'some', categories: ['open'], with: { everyone: true } }], takes: [] });
    await ada.knowledge.put(note('for all', 'open'));
    const { memoryId, version } = await ada.knowledge.put(note('for nobody', 'private'));
    await ada.knowledge.sync();
    const bob = await someone({ ...openHanded, takes: [{ ...openHanded.takes[0]!, with: { nodes: [ada.id] } }] });
    const pulled = await bob.knowledge.sync();
    expect(pulled).toMatchObject({ offered: 1, pulled: 1 });
    const eve = await someone({ shares: [], takes: [] });
    expect(await eve.knowledge.sync()).toMatchObject({ offered: 0, pulled: 0 });
    const asked: SyncSide = {
      items: () => [],
      wanted: () => [version], // an id that was guessed
      take: (documents) => void taken.push(...documents),
      give: () => [],
      withdraw: () => true,
    };
    const taken: object[] = [];
    await bob.node.sync(asked, { direction: 'pull' });
    expect(taken).toEqual([]);
    expect(await bob.knowledge.get(memoryId)).toBeUndefined();
  });

  it('ask copies back when they change', async () => {
    const ada = await someone();
    const bob = await someone();
    const { memoryId } = await ada.knowledge.put(note('shared for now'));
    await ada.knowledge.sync();
    await bob.knowledge.sync();
    expect(await bob.knowledge.get(memoryId)).toBeDefined();
    await says(hub, ada.id, { takes: openHanded.takes });
    await vi.waitFor(async () => expect(await bob.knowledge.get(memoryId)).toBeUndefined(), 10_000);
    expect(await bob.knowledge.sync()).toMatchObject({ refused: [] });
    expect(await bob.knowledge.get(memoryId)).toBeUndefined();
  });

  it('count for the fingerprints of a sync that was begun before they changed', async () => {
    const ada = await someone();
    await ada.knowledge.put(note('shared for now'));
    await ada.knowledge.sync();
    const bob = await someone({ ...openHanded, takes: [{ ...openHanded.takes[0]!, with: { nodes: [ada.id] } }] });
    const whole = { direction: 'pull', scope: { mode: 'full' } };
    const { body: begun } = await call(hub.url, bob.node.token, 'POST', '/knowledge/sync', whole);
    const told = async () => {
      const initiator = new Initiator(ItemSet.of([]));
      const frame = Buffer.from(initiator.first()).toString('base64url');
      const { body } = await call(hub.url, bob.node.token, 'POST', `/knowledge/syncs/${begun.sync_id}/reconcile`, {
        frame,
      });
      return initiator.next(Buffer.from(body.frame, 'base64url')).need;
    };
    expect(await told()).toHaveLength(1);
    await says(hub, ada.id, { takes: openHanded.takes });
    expect(await told()).toEqual([]);
  });

  it('let a copy be kept for as long as they say', async () => {
    const ada = await someone({
      shares: [{ id: 'short', categories: ['*'], with: { everyone: true }, keep_seconds: 1 }],
      takes: [],
    });
    const bob = await someone({ ...openHanded, takes: [{ ...openHanded.takes[0]!, with: { nodes: [ada.id] } }] });
    const { memoryId } = await ada.knowledge.put(note('soon over'));
    await ada.knowledge.sync();
    await bob.knowledge.sync();
    expect((await bob.knowledge.get(memoryId))?.receipt?.until).toBeDefined();
    await sleep(1_100);
    expect(await bob.knowledge.get(memoryId)).toBeUndefined();
    await bob.knowledge.expire();
    expect(bob.store.versionsOf(memoryId)).toEqual([]);
  });

  it('let nobody bring what is not their own, or change what they may not', async () => {
    const ada = await someone({ shares: [{ id: 'look', categories: ['*'], with: { everyone: true } }], takes: [] });
    const bob = await someone();
    const { memoryId } = await ada.knowledge.put(note('hers'));
    await ada.knowledge.sync();
    await bob.knowledge.sync();
    const change = bob.knowledge.put({ memoryId, ...note('his') });
    await expect(change).rejects.toMatchObject({ code: 'sovereignty_refused' });
    const forged = { ...bob.store.versionsOf(memoryId)[0]!.document, content: { content: 'forged' } };
    const pushed = await bob.node.sync(
      {
        items: () => [{ version: '0'.repeat(64), clock: forged.clock }],
        wanted: () => [],
        take: () => {},
        give: () => [forged],
        withdraw: () => true,
      },
      { direction: 'push' },
    );
    expect(pushed).toMatchObject({ pushed: 0, refused: [{ version: forged.version, code: 'version_invalid' }] });
  });
});

describe('a sync that is not through', () => {
  it('rests when its node asks, and goes on where it was', async () => {
    const ada = await someone();
    for (let at = 0; at < 700; at++) await ada.knowledge.put(note(`n${at}`));
    await ada.knowledge.sync();
    const bob = await someone({ ...openHanded, takes: [{ ...openHanded.takes[0]!, with: { nodes: [ada.id] } }] });
    const stop = new AbortController();
    let syncId = '';
    const cut = bob.knowledge.sync({
      signal: stop.signal,
      onProgress: (state) => {
        syncId = state.syncId;
        if (state.pulled > 0) stop.abort(new Error('enough for now'));
      },
    });
    await expect(cut).rejects.toThrow('enough for now');
    await vi.waitFor(async () => expect(await syncOf(syncId)).toMatchObject({ status: 'paused' }), 10_000);
    const before = (await bob.knowledge.list()).length;
    expect(before).toBeGreaterThan(0);
    expect(before).toBeLessThan(700);
    const done = await bob.knowledge.sync({ syncId });
    expect(done).toMatchObject({ syncId, pulled: 700 - before });
    const completed = { status: 'completed', pulled: 700, node_id: bob.id };
    await vi.waitFor(async () => expect(await syncOf(syncId)).toMatchObject(completed), 10_000);
  });

  it('is paused or cancelled by who governs, and seen by nobody else', async () => {
    const ada = await someone();
    let syncId = '';
    const asked = ada.node.sync(
      {
        async items() {
          await vi.waitFor(() => expect(syncId).not.toBe(''), { interval: 1 });
          const cancelled = await call(hub.url, hub.adminToken, 'POST', `/knowledge/syncs/${syncId}/cancel`);
          expect(cancelled.status).toBe(200);
          return [];
        },
        wanted: (versions) => versions,
        take: () => {},
        give: () => [],
        withdraw: () => true,
      },
      {
        onProgress(state) {
          syncId = state.syncId;
        },
      },
    );
    await expect(asked).rejects.toMatchObject({ code: 'sync_over' });
    const eve = await someone();
    expect((await call(hub.url, eve.node.token, 'GET', `/knowledge/syncs/${syncId}`)).status).toBe(404);
    expect((await call(hub.url, eve.node.token, 'POST', `/knowledge/syncs/${syncId}/pause`)).status).toBe(404);
    const { body } = await call(hub.url, ada.node.token, 'GET', '/knowledge/syncs');
    expect(body.syncs).toMatchObject([{ sync_id: syncId, status: 'cancelled' }]);
  });

  it('goes on by itself after its connection was cut', async () => {
    const ada = await someone();
    for (let at = 0; at < 600; at++) await ada.knowledge.put(note(`n${at}`));
    await ada.knowledge.sync();
    const way = await cuttable(hub);
    const takes = [{ ...openHanded.takes[0]!, with: { nodes: [ada.id] } }];
    const bob = await knowing({ ...hub, url: way.url }, 'cut', { ...openHanded, takes });
    nodes.push(bob.node);
    let cuts = 0;
    const done = await bob.knowledge.sync({
      onProgress: ({ pulled }) => {
        if (pulled === 0 || cuts > 0) return;
        cuts++;
        way.cut();
      },
    });
    expect(cuts).toBe(1);
    expect(done.pulled).toBe(600);
    way.close();
  });
});

describe('who asks for a sync', () => {
  it('a node with HTTP alone leads one in the same steps', async () => {
    const ada = await someone();
    const { memoryId } = await ada.knowledge.put(note('over the wire'));
    await ada.knowledge.sync();
    const bob = await someone({ ...openHanded, takes: [{ ...openHanded.takes[0]!, with: { nodes: [ada.id] } }] });
    const token = bob.node.token;
    const whole = { direction: 'both', scope: { mode: 'full' } };
    const begun = await call(hub.url, token, 'POST', '/knowledge/sync', whole);
    expect(begun).toMatchObject({ status: 201, body: { offered: 1 } });
    const at = `/knowledge/syncs/${begun.body.sync_id}`;
    const initiator = new Initiator(ItemSet.of([]));
    const frame = Buffer.from(initiator.first()).toString('base64url');
    const answered = await call(hub.url, token, 'POST', `${at}/reconcile`, { frame });
    const { need, message } = initiator.next(Buffer.from(answered.body.frame, 'base64url'));
    expect(message).toBeUndefined();
    const versions = need.map((id) => Buffer.from(id).toString('hex'));
    const pulled = await call(hub.url, token, 'POST', `${at}/pull`, { versions });
    expect(pulled.body.documents).toMatchObject([{ memory_id: memoryId, content: { content: 'over the wire' } }]);
    const ended = await call(hub.url, token, 'POST', `${at}/end`, { outcome: 'completed' });
    expect(ended).toMatchObject({ status: 200, body: { cursor: begun.body.position } });
    expect((await call(hub.url, token, 'POST', `${at}/pull`, { versions })).body.code).toBe('sync_over');
    expect((await call(hub.url, token, 'POST', `${at}/reconcile`, { frame: 'AAAA' })).body.code).toBe('sync_over');
  });

  it('who governs asks a node, which does it by itself', async () => {
    const ada = await someone();
    const { memoryId } = await ada.knowledge.put(note('not pushed yet'));
    const asked = { node: ada.id, direction: 'push', scope: { mode: 'full' } };
    expect((await call(hub.url, hub.adminToken, 'POST', '/knowledge/sync', asked)).status).toBe(202);
    await vi.waitFor(async () => expect((await ada.knowledge.get(memoryId))?.synced).toBe(true), 10_000);
    const bob = await someone();
    expect((await call(hub.url, bob.node.token, 'POST', '/knowledge/sync', asked)).status).toBe(403);
    ada.node.close();
    const gone = await call(hub.url, hub.adminToken, 'POST', '/knowledge/sync', asked);
    expect(['target_unreachable']).toContain(gone.body.code);
  });
});

async function syncOf(syncId: string): Promise<Json> {
  const { body } = await call(hub.url, hub.adminToken, 'GET', `/knowledge/syncs/${syncId}`);
  return body.sync;
}

describe('a node that is closed', () => {
  it('gives up its syncs, and begins none', async () => {
    const ada = await someone();
    await ada.knowledge.put(note('one'));
    const running = Promise.allSettled([ada.knowledge.sync(), ada.knowledge.sync()]);
    ada.node.close();
    const gone = { status: 'rejected', reason: expect.any(HubUnreachable) };
    expect(await running).toMatchObject([gone, gone]);
    await expect(ada.knowledge.sync()).rejects.toThrow(HubUnreachable);
  });
});

describe('what a hub would never take', () => {
  it('does not keep the rest from it, and is told as refused', async () => {
    const ada = await someone();
    const { memoryId } = await ada.knowledge.put(note('good'));
    const { version } = await ada.knowledge.put(note('other'));
    const [kept] = await ada.store.find([version]);
    const { document } = kept!; // just written
    const large = {
      ...document,
      version: 'a'.repeat(64),
      memory_id: 'large',
      content: { content: 'x'.repeat(400_000) },
    };
    const odd = { ...document, version: 'b'.repeat(64), memory_id: 'odd', category: 'Not a category' };
    await ada.store.change({ keep: [{ document: large }, { document: odd }] });
    const { pushed, refused } = await ada.knowledge.sync();
    expect(pushed).toBe(2);
    const codes = new Map(refused.map((each) => [each.version[0], each.code]));
    expect(codes).toEqual(
      new Map([
        ['a', 'payload_too_large'],
        ['b', 'invalid_input'],
      ]),
    );
    expect((await ada.knowledge.get(memoryId))?.synced).toBe(true);
  });
});
