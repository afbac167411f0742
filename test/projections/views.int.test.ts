/** What queries, waiting, maps in memory and rebuilds promise, on both databases. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { projections } from '../../src/projections/catalog.ts';
import { findFetches } from '../../src/projections/file-fetches.ts';
import { nodes } from '../../src/projections/nodes.ts';
import { backends, freshPlace, kernel, type Opened, openBoth, until } from './backends.ts';
import { heartbeat, registered, tell } from './facts.ts';

describe.each(backends)('views on %s', (kind) => {
  let place: Awaited<ReturnType<typeof freshPlace>>;
  let hub: Opened;

  beforeAll(async () => {
    place = await freshPlace(kind);
    hub = await openBoth(place.url);
  });
  afterAll(async () => {
    await hub.close();
    await place.drop();
  });

  it('shows a command to a query that asks for its position', async () => {
    const position = await tell(hub.log, registered('n1', 'Köln 🌍'), heartbeat('n1', 12.5));
    const answer = await hub.views.read(position, (db) => db.selectFrom('federation_nodes').selectAll().execute());
    expect(answer.stale).toBe(false);
    expect(answer.position).toBeGreaterThanOrEqual(position);
    expect(answer.value).toMatchObject([
      {
        node_id: 'n1',
        display_name: 'Köln 🌍',
        heartbeat_position: position,
        reading: { resources: { cpu_percent: 12.5 } },
      },
    ]);
  });

  it('keeps nothing of who had a file that is gone, also when that is told late', async () => {
    const file = { file_id: randomUUID(), owner: 'node:a' };
    const had = { ...file, by: 'node:b', whole: false };
    const rows = async (position: number) =>
      (await hub.views.read(position, (db) => findFetches(db, file.file_id, 10))).value.map(({ entry }) => entry);
    const fetched = await tell(hub.log, { type: 'file.fetched', data: had });
    expect(await rows(fetched)).toEqual([`${file.file_id}/node:b`]);
    const late = await tell(
      hub.log,
      { type: 'file.removed', data: { ...file, sha256: '0'.repeat(64), cause: 'owner' } },
      { type: 'file.fetched', data: { ...had, late: true } },
      { type: 'file.fetched', data: { ...had, by: 'node:c', late: true } },
    );
    expect(await rows(late)).toEqual([]);
  });

  it('answers as stale, after two seconds, when a position is not reached', async () => {
    const began = performance.now();
    const answer = await hub.views.read(1_000_000, (db) =>
      db.selectFrom('federation_nodes').select('node_id').execute(),
    );
    expect(answer.stale).toBe(true);
    expect(answer.position).toBeLessThan(1_000_000);
    expect(performance.now() - began).toBeGreaterThan(1_900);
    expect(performance.now() - began).toBeLessThan(3_500);
  });

  it('keeps a map in memory that equals the table, and tells of each change once', async () => {
    await tell(hub.log, registered('live-1'));
    const types = Object.keys(nodes.on) as (keyof typeof nodes.on)[];
    const { maps, close } = await hub.views.live({ nodes }, hub.log, { types });
    const live = maps.nodes;
    const told: string[] = [];
    live.onChange((key, row) => told.push(`${key} ${row?.status}`));
    const position = await tell(
      hub.log,
      heartbeat('live-1', 50),
      registered('live-2'),
      { type: 'node.left', data: { node_id: 'live-1' } },
      { type: 'node.removed', data: { node_id: 'live-2', cause: 'operator' } },
    );
    await live.waitFor(position);
    const table = await hub.views.read(position, (db) =>
      db.selectFrom('federation_nodes').selectAll().orderBy('node_id').execute(),
    );
    expect([...live.values()].sort((a, b) => (a.node_id < b.node_id ? -1 : 1))).toEqual(table.value);
    expect(told).toEqual(['live-1 online', 'live-2 online', 'live-1 offline', 'live-2 undefined']);
    await close();
  });

  it('rebuilds beside the old while queries and appends go on, and writes down that it did', async () => {
    const before = await hub.views.state();
    for (let n = 0; n < 50; n++) await tell(hub.log, registered(`many-${n}`), heartbeat(`many-${n}`));
    const rebuild_id = randomUUID();
    await hub.views.read(await hub.log.head(), async () => {});
    await tell(hub.log, { type: 'views.rebuild-requested', data: { rebuild_id } });
    let failures = 0;
    let asked = 0;
    let done = false;
    const readers = (async () => {
      while (!done) {
        const { value } = await hub.views.read(undefined, (db) =>
          db.selectFrom('federation_nodes').select('node_id').execute(),
        );
        asked++;
        if (value.length < 52) failures++;
      }
    })();
    for (let n = 0; n < 50; n++) await tell(hub.log, heartbeat(`many-${n}`, n));
    await until('the rebuild is over', async () => {
      const { rebuild, generation } = await hub.views.state();
      return rebuild === null && generation === before.generation + 1;
    });
    const last = await tell(hub.log, heartbeat('many-0', 99));
    const { value: node } = await hub.views.read(last, (db) =>
      db.selectFrom('federation_nodes').selectAll().where('node_id', '=', 'many-0').executeTakeFirstOrThrow(),
    );
    done = true;
    await readers;
    expect(node.reading).toMatchObject({ resources: { cpu_percent: 99 } });
    expect(failures).toBe(0);
    expect(asked).toBeGreaterThan(0);
    const told = await hub.log.readStream('views', 0, 10);
    expect(told.map((event) => event.type)).toEqual(['views.rebuild-requested', 'views.rebuilt']);
    expect(JSON.parse(told[1]!.data)).toMatchObject({ rebuild_id, generation: before.generation + 1 });
  });

  it('gives the same rows again after a restart and after a rebuild', async () => {
    const head = await hub.log.head();
    await hub.views.read(head, async () => {});
    const { digest } = await hub.views.digest();
    const { federation_audit_log: audited, ...rows } = await allRows(hub);
    await hub.close();
    hub = await openBoth(place.url);
    await hub.views.read(head, async () => {});
    expect((await hub.views.digest()).digest).toBe(digest);
    const { generation } = await hub.views.state();
    await tell(hub.log, { type: 'views.rebuild-requested', data: { rebuild_id: randomUUID() } });
    await until('the rebuild is over', async () => (await hub.views.state()).generation === generation + 1);
    const { federation_audit_log: auditedAgain, ...rowsAgain } = await allRows(hub);
    expect(rowsAgain).toEqual(rows);
    expect(auditedAgain!.slice(0, audited!.length)).toEqual(audited); // and then tells of the rebuild
  });

  it('does not rebuild again for requests of the past', async () => {
    await until('the rebuild is told', async () => (await hub.views.state()).rebuild === null);
    const { generation } = await hub.views.state();
    await hub.close();
    hub = await openBoth(place.url);
    await kernel.sleep(300);
    expect(await hub.views.state()).toMatchObject({
      generation,
      rebuild: null,
      projecting: true,
      newerEvent: null,
      fault: null,
    });
  });

  it('parks the stream of an event that cannot be folded, and lets the others go on', async () => {
    const fine = await tell(hub.log, registered('sound'), registered('broken'));
    const bad = {
      id: randomUUID(),
      type: 'node.updated',
      version: 1,
      time: '2026-03-01T10:00:00.000Z',
      data: 'not JSON',
      meta: '{}',
    };
    await hub.log.append('node-broken', 'any', [bad]);
    await tell(hub.log, { type: 'node.left', data: { node_id: 'broken' } });
    const position = await tell(hub.log, { type: 'node.left', data: { node_id: 'sound' } });
    const { value } = await hub.views.read(position, (db) =>
      db
        .selectFrom('federation_nodes')
        .select(['node_id', 'status'])
        .where('node_id', 'in', ['sound', 'broken'])
        .orderBy('node_id')
        .execute(),
    );
    expect(value).toEqual([
      { node_id: 'broken', status: 'online' },
      { node_id: 'sound', status: 'offline' },
    ]);
    const letters = (await hub.views.deadLetters(10)).sort((a, b) => (a.view < b.view ? -1 : 1));
    expect(letters).toMatchObject([
      { view: 'federation_audit_log', stream: 'node-broken', position: fine + 1, events: 1, last_position: fine + 1 },
      { view: 'federation_nodes', stream: 'node-broken', position: fine + 1, events: 2, last_position: fine + 2 },
    ]);
    expect(letters[0]!.error).toMatch(/SyntaxError/);
    expect((await hub.views.state()).deadLetters).toBe(2);
  });

  it('stops before an event of a newer hub, says so, and never calls it a dead letter', async () => {
    const before = await tell(hub.log, registered('last-known'));
    const newer = {
      id: randomUUID(),
      type: 'node.updated',
      version: 99,
      time: '2026-03-01T10:00:00.000Z',
      data: '{}',
      meta: '{}',
    };
    await hub.log.append('node-last-known', 'any', [newer]);
    await until('the projector yields', async () => (await hub.views.state()).newerEvent !== null);
    const state = await hub.views.state();
    expect(state.newerEvent).toMatch(/node\.updated version 99/);
    expect(state).toMatchObject({ projecting: false, deadLetters: 2 });
    expect(state.position).toBeLessThanOrEqual(before);
  });
});

/** Every row of every table, in the order of keys. */
async function allRows({ views }: Opened): Promise<Record<string, unknown[]>> {
  const rows: Record<string, unknown[]> = {};
  for (const [name, { table }] of Object.entries(projections)) {
    const query = views.db.selectFrom(name as keyof typeof projections).selectAll();
    rows[name] = await query.orderBy(table.key as never).execute();
  }
  return rows;
}
