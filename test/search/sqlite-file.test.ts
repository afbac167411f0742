/** What only SQLite's index can show: its bytes, a broken file, a full disk. */
import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { SqliteSearchStore } from '../../src/search/store-sqlite.ts';
import { mountSmallDisk } from '../setup/small-disk.ts';
import { Filled, logId, memory } from './conformance.ts';
import { sqliteStore } from './stores.ts';

let opened: Awaited<ReturnType<typeof sqliteStore>>;
let index: Filled;
beforeEach(async () => {
  opened = await sqliteStore();
  index = new Filled(opened.store);
  await index.begin();
});
afterEach(() => opened?.remove());

/** How often it stands in any file of the index, as bytes. */
function timesInFiles(text: string): number {
  const bytes = readdirSync(opened.folder).map((name) => readFileSync(join(opened.folder, name), 'latin1'));
  return bytes.join('\n').split(text).length - 1;
}

it('holds nothing, in no file, of what was erased, purged or replaced', async () => {
  const others = (from: number) =>
    Array.from({ length: 200 }, (_, at) => ({
      text: `${'plain words '.repeat(20)} n${from + at} ${(from + at) ** 3}`,
    }));
  const secret = (name: string) => `${'padding '.repeat(30)} zz${name}secret ${name}whisper`;
  await index.put(
    ...others(0),
    { id: 'erased', subject: 'ada', title: secret('title'), text: secret('erased') },
    ...others(200),
  );
  await index.put({ id: 'purged', kind: 'message', rank: '', expiresAt: 5, text: secret('purged') }, ...others(400));
  await index.put({ id: 'replaced', rank: '1', text: secret('replaced') }, ...others(600));
  await index.put({ id: 'deleted', rank: '1', text: secret('deleted') }, { id: 'kept', text: secret('kept') });
  const names = ['title', 'erased', 'purged', 'replaced', 'deleted'];
  for (const name of names) expect(timesInFiles(`${name}secret`), name).toBeGreaterThan(0);
  await index.store.remove({ subject: 'ada' }, 10);
  await index.store.remove({ expiredBefore: 6 }, 10);
  await index.put({ id: 'replaced', rank: '2', text: 'else' }, { id: 'deleted', rank: '2', gone: true });
  await index.store.settle();
  for (const name of names) {
    expect(timesInFiles(`${name}secret`), name).toBe(0);
    expect(timesInFiles(`${name}whisper`), name).toBe(0);
    expect(timesInFiles(`zz${name}`), name).toBe(0);
  }
  expect(await index.ids('keptsecret OR zzkeptsecret')).toEqual(['kept']);
  expect((await index.allIds({ words: 'plain' })).length).toBe(800);
});

it.each([
  ['is no database', (file: string) => writeFileSync(file, 'no database, and longer than a page of one '.repeat(500))],
  ['is cut short', (file: string) => truncateSync(file, 8_192)],
  ['is empty', (file: string) => truncateSync(file, 0)],
])('begins anew when its file %s', async (_, spoil) => {
  await index.put(...Array.from({ length: 100 }, (_, at) => ({ text: `word n${at}` })));
  await opened.store.close();
  spoil(join(opened.folder, 'search.db'));
  const store = await opened.reopen();
  // a file that is cut may be found out only when the part that is missing is read
  for (let tries = 0; (await store.begin(logId, 1e9).catch(() => -1)) !== 0; tries++) {
    expect(tries).toBeLessThan(3);
    await store.apply([memory({ position: 1_000_000 })], 302, 1_000_001).catch(() => {});
  }
  index = new Filled(store);
  await index.begin();
  await index.put({ id: 'again', text: 'word' });
  expect(await index.ids('word')).toEqual(['again']);
});

it('answers on a full disk, writes nothing, and goes on when there is room', async () => {
  const disk = mountSmallDisk(8);
  try {
    const small = new SqliteSearchStore(join(disk.folder, 'search.db'));
    const filled = new Filled(small);
    await filled.begin();
    await filled.put({ id: 'a', text: 'word' });
    disk.fill(64 * 1_024);
    const much = Array.from({ length: 100 }, (_, at) =>
      memory({ id: `b${at}`, position: 100 + at, text: `word ${'long '.repeat(2_000)}` }),
    );
    await expect(small.apply(much, 5, 300)).rejects.toThrow(/full|I\/O/);
    expect(await filled.ids('word')).toEqual(['a']);
    disk.free();
    await small.apply(much, 5, 300);
    expect((await filled.ids('word')).length).toBe(100);
    await small.close();
  } finally {
    disk.remove();
  }
});
