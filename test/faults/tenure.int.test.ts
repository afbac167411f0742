/** One projects at a time: fences, takeovers, kills in mid-rebuild, and names that belong to someone else. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { openLog, openViews } from '../../src/backends.ts';
import { openPostgresLeases } from '../../src/lease.ts';
import { allProjections } from '../../src/projections/catalog.ts';
import { Fenced, type ViewStore } from '../../src/projections/generation.ts';
import { foldContext, foldPage } from '../../src/projections/project.ts';
import { openSource } from '../../src/projections/source.ts';
import { openPostgresViewStore } from '../../src/projections/views-postgres.ts';
import { SqliteViewStore } from '../../src/projections/views-sqlite.ts';
import { type BackendKind, backends, freshPlace, kernel, openBoth, until } from '../projections/backends.ts';
import { heartbeat, registered, tell } from '../projections/facts.ts';
import { HistoryLog, segmentSize } from '../projections/histories.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function place(kind: BackendKind): Promise<string> {
  const { url, drop } = await freshPlace(kind);
  cleanups.push(drop);
  return url;
}

async function startReplica(url: string): Promise<ChildProcess> {
  const script = fileURLToPath(new URL('./replica.ts', import.meta.url));
  const typescript = new URL('../setup/typescript.mjs', import.meta.url).href;
  const child = spawn(process.execPath, ['--import', typescript, script, url], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  cleanups.push(async () => child.kill('SIGKILL'));
  await once(child.stdout!, 'data'); // 'pipe' gives one
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

describe.each(backends)('tenures on %s', (kind) => {
  async function openStore(url: string): Promise<ViewStore> {
    const store =
      kind === 'sqlite'
        ? new SqliteViewStore(url.slice('sqlite:'.length), allProjections)
        : await openPostgresViewStore({ url, views: allProjections });
    cleanups.push(() => store.close());
    return store;
  }

  it('lets a holder whose epoch is over write nothing, neither rows nor a switch', async () => {
    const url = await place(kind);
    const [old, young] = [await openStore(url), await openStore(url)];
    const about = { logId: 'a log', fingerprint: '', rebuild: null };
    const first = await old.create(1, 1, about);
    await old.serve(first, null);
    const beside = await old.create(2, 1, about);
    const log = new HistoryLog();
    log.tell(registered('n'), 0);
    const batch = await foldPage(log.page(0, 10), allProjections, first, foldContext(segmentSize));
    const second = await young.current(2);
    await expect(first.commit(batch)).rejects.toThrow(Fenced);
    if (kind === 'postgres') {
      await expect(old.serve(beside, null)).rejects.toThrow(Fenced);
      await expect(old.create(3, 1, about)).rejects.toThrow(Fenced);
    }
    expect(second!.position).toBe(0);
    await second!.commit(batch);
    expect((await young.current(3))!.position).toBe(1);
  });

  it('comes through kills in mid-rebuild with all its rows', { timeout: 120_000 }, async () => {
    const url = await place(kind);
    const setUp = await openLog(url, kernel);
    for (let n = 0; n < 20; n++) await tell(setUp, registered(`n-${n}`));
    await setUp.close();
    for (let round = 0; round < 3; round++) {
      const child = await startReplica(url);
      await kernel.sleep(50 + 130 * round);
      await kill(child);
    }
    const hub = await openBoth(url);
    cleanups.push(() => hub.close());
    await until('the last rebuild is over', async () => (await hub.views.state()).rebuild === null, 20_000);
    const head = await hub.log.head();
    const { stale } = await hub.views.read(head, async () => {});
    expect(stale).toBe(false);
    const told = await hub.log.readStream('views', 0, 1_000);
    expect(told.some((event) => event.type === 'views.rebuilt')).toBe(true);
    expect((await hub.views.digest()).digest).toBe(await digestFromNothing(url));
  });
});

/** What a replay of a whole log gives, in a store of its own. */
async function digestFromNothing(url: string): Promise<string> {
  const source = await openSource(url, kernel);
  cleanups.push(() => source.close());
  const store = new SqliteViewStore((await place('sqlite')).slice('sqlite:'.length), allProjections);
  cleanups.push(() => store.close());
  const generation = await store.create(1, 1, { logId: source.id, fingerprint: '', rebuild: null });
  const head = await source.head();
  while (generation.position < head) {
    const page = await source.readAll(generation.position, 1_000);
    await generation.commit(await foldPage(page, allProjections, generation, foldContext(source.segmentSize)));
  }
  return generation.digest();
}

describe('replicas over PostgreSQL', () => {
  it('takes the projection over within seconds from a replica that was killed', { timeout: 60_000 }, async () => {
    const url = await place('postgres');
    const child = await startReplica(url);
    const hub = await openBoth(url);
    cleanups.push(() => hub.close());
    expect((await hub.views.state()).projecting).toBe(false);
    await kill(child);
    const began = performance.now();
    const position = await tell(hub.log, registered('after-the-kill'), heartbeat('after-the-kill'));
    await until('it projects', async () => (await hub.views.state()).projecting);
    expect(performance.now() - began).toBeLessThan(6_000);
    const { value, stale } = await hub.views.read(position, (db) =>
      db.selectFrom('federation_nodes').select('heartbeat_position').where('node_id', '=', 'after-the-kill').execute(),
    );
    expect({ value, stale }).toEqual({ value: [{ heartbeat_position: position }], stale: false });
  });

  it('starts several at once on an empty database, and answers a position on each of them', {
    timeout: 60_000,
  }, async () => {
    const url = await place('postgres');
    const hubs = await Promise.all([openBoth(url), openBoth(url), openBoth(url)]);
    for (const hub of hubs) cleanups.push(() => hub.close());
    const position = await tell(hubs[1]!.log, registered('seen-by-all'));
    for (const { views } of hubs) {
      const { value, stale } = await views.read(position, (db) =>
        db.selectFrom('federation_nodes').select('node_id').execute(),
      );
      expect({ value, stale }).toEqual({ value: [{ node_id: 'seen-by-all' }], stale: false });
    }
    const states = await Promise.all(hubs.map((hub) => hub.views.state()));
    expect(states.filter((state) => state.projecting)).toHaveLength(1);
  });

  it('gives a lease to one at a time, with a greater epoch at each takeover', async () => {
    const url = await place('postgres');
    const hub = await openBoth(url);
    cleanups.push(() => hub.close());
    const others = await openPostgresLeases(url, kernel);
    cleanups.push(() => others.close());
    const mine = hub.leases.acquire('duty');
    await until('it is held', () => mine.held());
    const theirs = others.acquire('duty');
    await kernel.sleep(1_200);
    expect([mine.held(), theirs.held()]).toEqual([true, false]);
    const told: boolean[] = [];
    theirs.onChange((held) => told.push(held));
    await mine.release();
    await until('it was taken over', () => theirs.held());
    expect(mine.held()).toBe(false);
    expect(theirs.epoch).toBe(mine.epoch + 1);
    expect(told).toEqual([true]);
  });

  it.each(['federation_nodes', 'federation_leases', 'federation_dead_letters'])(
    'refuses a database where %s belongs to someone else, and leaves it alone',
    async (name) => {
      const url = await place('postgres');
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      cleanups.push(() => client.end());
      await client.query(`CREATE TABLE ${name} (theirs text)`);
      await client.query(`INSERT INTO ${name} VALUES ('precious')`);
      const log = await openLog(url, kernel);
      cleanups.push(() => log.close());
      await expect(openViews({ url, logUrl: url, log, kernel, logLevel: 'silent' })).rejects.toThrow(
        new RegExp(`public\\.${name} exists and was not made by the federation hub`),
      );
      expect((await client.query(`SELECT * FROM ${name}`)).rows).toEqual([{ theirs: 'precious' }]);
    },
  );
});

describe('URLs of databases', () => {
  it.each(['mysql://somewhere/x', 'data', 'sqlite:', ''])('refuses %j, and says what to give', async (url) => {
    await expect(openLog(url, kernel)).rejects.toThrow(/give sqlite:<folder> or postgres:/);
  });
});
