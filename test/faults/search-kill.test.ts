/** `kill -9` of a process that fills the search index, at random moments: the index goes on from where it was, and ends up as if nothing had happened. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { find } from '../../src/search/find.ts';
import type { SearchStore } from '../../src/search/store.ts';
import type { SearchQuery } from '../../src/search.ts';
import { freshDatabase } from '../setup/postgres.ts';
import { fill, storeOf } from './search-filling.ts';

const kills = 5;
/** How long it fills before it is killed. */
const fillMs = { least: 20, most: 300 };

it('on SQLite', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'fedhub-search-kill-'));
  try {
    await killed(`sqlite:${folder}/killed.db`, `sqlite:${folder}/whole.db`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it('on PostgreSQL', async () => {
  const places = [await freshDatabase(), await freshDatabase()];
  try {
    await killed(places[0]!.url, places[1]!.url);
  } finally {
    for (const place of places) await place.drop();
  }
});

async function killed(url: string, wholeUrl: string): Promise<void> {
  const reached: number[] = [];
  for (let kill = 0; kill < kills; kill++) {
    await fillAndKill(url, fillMs.least + Math.random() * (fillMs.most - fillMs.least));
    reached.push(await positionOf(url));
  }
  expect(reached).toEqual(reached.toSorted((a, b) => a - b));
  expect(new Set(reached).size, 'it was killed while it filled').toBeGreaterThan(kills / 3);
  const end = reached.at(-1)! + 100;
  expect(await answers(url, end)).toEqual(await answers(wholeUrl, end));
}

async function fillAndKill(url: string, afterMs: number): Promise<void> {
  const typescript = new URL('../setup/typescript.mjs', import.meta.url).href;
  const program = new URL('./search-filler.mjs', import.meta.url).pathname;
  const child = spawn(process.execPath, ['--import', typescript, program, url], { stdio: 'inherit' });
  const exited = once(child, 'exit');
  const before = await positionOf(url);
  while (child.exitCode === null && (await positionOf(url)) === before) {
    await new Promise((done) => setTimeout(done, 20));
  }
  await new Promise((done) => setTimeout(done, afterMs));
  child.kill('SIGKILL');
  const [code] = await exited;
  expect(code, 'it was filling until it was killed').toBe(null);
}

/** Opens it each time: whoever makes the index makes another file. */
async function positionOf(url: string): Promise<number> {
  const store = storeOf(url);
  const position = await store.position('the log').catch(() => undefined); // not made yet, or being made
  await store.close();
  return position ?? 0;
}

/** Fills the rest, and asks. */
async function answers(url: string, end: number): Promise<unknown[]> {
  const store: SearchStore = storeOf(url);
  await fill(store, end);
  const ask = (query: Partial<SearchQuery>) =>
    find(store, 'the log', { kind: 'memory', words: '', where: [], limit: 500, ...query });
  const found = [
    await ask({}),
    await ask({ words: 'third' }),
    await ask({ kind: 'message' }),
    await ask({ kind: 'message', words: 'third -filling', where: [['tag:1', 'tag:2']] }),
  ];
  await store.close();
  // pages and scores may lie otherwise: numbers are given once, to what was torn off too
  return found.map((page) => ('hits' in page ? page.hits.map(({ id, position }) => ({ id, position })) : page));
}
