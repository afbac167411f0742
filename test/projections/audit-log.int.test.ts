/** The audit log as a table: a row an event, found by anything it says, swept by trims and with segments; on both databases. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DomainEvent, encode, keptTypes } from '../../src/events/catalog.ts';
import { auditLog, targets } from '../../src/projections/audit-log.ts';
import {
  type AuditFilter,
  type AuditPage,
  findAudit,
  firstSince,
  momentOf,
} from '../../src/projections/audit-queries.ts';
import { backends, freshPlace, type Opened, openBoth } from './backends.ts';
import { heartbeat, registered, streamOf, tell } from './facts.ts';

const everything: AuditPage = { order: 'asc', over: 0, under: Number.MAX_SAFE_INTEGER, limit: 1_000 };

it('has a row for every kept type of event, and for counted reads', () => {
  expect(Object.keys(targets).sort()).toEqual([...keptTypes, 'audit.reads-counted'].sort());
});

it('is not followed in memory', async () => {
  const place = await freshPlace('sqlite');
  const hub = await openBoth(place.url);
  await expect(hub.views.live({ auditLog }, hub.log)).rejects.toThrow(/cannot be followed in memory/);
  await hub.close();
  await place.drop();
});

describe.each(backends)('the audit log on %s', (kind) => {
  let place: Awaited<ReturnType<typeof freshPlace>>;
  let hub: Opened;
  let last = 0;

  beforeAll(async () => {
    place = await freshPlace(kind);
    hub = await openBoth(place.url, { segmentSize: 10 });
  });
  afterAll(async () => {
    await hub.close();
    await place.drop();
  });

  /** Puts a fact into the log, by whom and from where the meta says. Answers its position. */
  async function note(event: DomainEvent, meta: object = {}, time = '2026-03-01T10:00:00.000Z'): Promise<number> {
    const about = JSON.stringify({ actor: 'hub', correlation: 'c', replica: 'r', ...meta });
    const verdict = await hub.log.append(streamOf(event), 'any', [
      encode(event, { id: randomUUID(), time, meta: about }),
    ]);
    last = verdict.status === 'conflict' ? last : verdict.position;
    return last;
  }

  async function find(filter: AuditFilter, page: Partial<AuditPage> = {}) {
    const { value, stale } = await hub.views.read(last, (db) => findAudit(db, filter, { ...everything, ...page }));
    expect(stale).toBe(false);
    return value;
  }
  const positions = async (filter: AuditFilter, page: Partial<AuditPage> = {}) =>
    (await find(filter, page)).map((row) => row.position);

  it('tells who did what on what, from where, when, and caused by what', async () => {
    const meta = { actor: 'operator:abc', address: '192.0.2.7', correlation: 'corr-1', causation: 'cause-1' };
    const position = await note(registered('ada'), meta, '2026-03-01T09:00:00.000Z');
    expect(await find({})).toEqual([
      {
        id: String(position).padStart(16, '0'),
        position,
        time: '2026-03-01T09:00:00.000Z',
        actor: 'operator:abc',
        action: 'node.registered',
        target: 'ada',
        outcome: 'done',
        code: null,
        address: '192.0.2.7',
        correlation: 'corr-1',
        causation: 'cause-1',
        event_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
        count: 1,
        first_at: null,
        last_at: null,
      },
    ]);
  });

  it('tells of refusals, sensitive reads and counted reads in their own words', async () => {
    const times = { first_at: '2026-03-01T10:00:01.000Z', last_at: '2026-03-01T10:00:59.000Z' };
    const who = { actor: 'anonymous', address: '198.51.100.9' };
    const refused = { ...who, action: 'POST /nodes/register', target: '', code: 'banned', count: 7, ...times };
    await note({ type: 'audit.refused', data: refused }, { actor: 'anonymous' });
    await note({ type: 'audit.read', data: { ...who, actor: 'node:b', action: 'GET /audit/:position', target: '1' } });
    await note({
      type: 'audit.reads-counted',
      data: { actor: 'node:c', minute: '2026-03-01T10:00:00.000Z', reads: 9 },
    });
    expect((await find({}, { over: last - 3 })).map(({ id, position, time, event_id, ...row }) => row)).toMatchObject([
      {
        actor: 'anonymous',
        action: 'POST /nodes/register',
        outcome: 'refused',
        code: 'banned',
        address: who.address,
        count: 7,
        ...times,
      },
      { actor: 'node:b', action: 'GET /audit/:position', target: '1', outcome: 'read', address: who.address, count: 1 },
      {
        actor: 'node:c',
        action: 'audit.reads-counted',
        target: '',
        outcome: 'counted',
        count: 9,
        first_at: '2026-03-01T10:00:00.000Z',
      },
    ]);
  });

  it('has no rows of heartbeats', async () => {
    last = await tell(hub.log, heartbeat('ada'));
    expect(await positions({}, { over: last - 1 })).toEqual([]);
  });

  it('finds by everything it says, alone and together, newest first or in order', async () => {
    const [first] = await positions({ action: 'node.registered' });
    const updated = await note({ type: 'node.updated', data: { node_id: 'ada', profile: {} } }, { actor: 'node:ada' });
    expect(await positions({ actor: 'node:ada' })).toEqual([updated]);
    expect(await positions({ target: 'ada' })).toEqual([first, updated]);
    expect(await positions({ target: 'ada' }, { order: 'desc' })).toEqual([updated, first]);
    expect(await positions({ target: 'ada' }, { order: 'desc', limit: 1 })).toEqual([updated]);
    expect(await positions({ target: 'ada' }, { over: first! })).toEqual([updated]);
    expect(await positions({ target: 'ada' }, { under: updated })).toEqual([first]);
    expect(await positions({ action: 'node.*' })).toEqual([first, updated]);
    expect(await positions({ action: 'node' })).toEqual([]);
    expect(await positions({ action: 'POST *' })).toHaveLength(1);
    expect(await positions({ outcome: 'refused' })).toHaveLength(1);
    expect(await positions({ code: 'banned' })).toHaveLength(1);
    expect(await positions({ code: 'forbidden' })).toEqual([]);
    expect(await positions({ address: '192.0.2.7' })).toEqual([first]);
    expect(await positions({ correlation: 'corr-1', actor: 'operator:abc' })).toEqual([first]);
    expect(await positions({ correlation: 'corr-1', actor: 'node:ada' })).toEqual([]);
    expect(await positions({ target: 'ADA' })).toEqual([]);
  });

  it('finds by moments at either end of time', async () => {
    const all = await positions({});
    expect(all.length).toBeGreaterThan(0);
    expect(await positions({ before: '9999-12-31T23:59:59.999Z' })).toEqual(all);
    expect(await positions({ before: '9999-12-31T23:30:00.000Z' })).toEqual(all);
    expect(await positions({ after: '0000-01-01T00:00:00.000Z' })).toEqual(all);
    expect(await positions({ after: '9999-12-31T23:30:00.000Z' })).toEqual([]);
    expect([momentOf(8.64e15), momentOf(-8.64e15)]).toEqual(['9999-12-31T23:59:59.999Z', '0000-01-01T00:00:00.000Z']);
  });

  it('finds the same with an outcome besides what leads to few rows', async () => {
    const banned = await positions({ code: 'banned' });
    expect(banned).toHaveLength(1);
    for (const outcome of [undefined, 'refused'] as const) {
      expect(await positions({ code: 'banned', outcome, actor: 'anonymous' })).toEqual(banned);
      expect(await positions({ code: 'banned', outcome, action: 'POST /nodes/register' })).toEqual(banned);
      expect(await positions({ code: 'banned', outcome, action: 'POST *' })).toEqual(banned);
    }
    expect(await positions({ outcome: 'done', actor: 'anonymous' })).toEqual([]);
    expect(await positions({ code: 'banned', outcome: 'done' })).toEqual([]);
  });

  it('leaves out only the event that cannot be read, not those of its stream that follow', async () => {
    const event: DomainEvent = {
      type: 'governance.announced',
      data: { announcement_id: 'an', message: 'm', level: 'info' },
    };
    const first = await note(event);
    const about = { id: randomUUID(), time: '2026-03-01T10:00:00.000Z', meta: '{"actor":"hub"}' };
    const broken = () => ({ ...encode(event, about), id: randomUUID(), data: 'null' });
    await hub.log.append(streamOf(event), 'any', [broken()]);
    await hub.log.append(streamOf(event), 'any', [broken()]);
    const second = await note(event);
    expect(await positions({ action: 'governance.announced' })).toEqual([first, second]);
    const third = await note(event);
    expect(await positions({ action: 'governance.announced' })).toEqual([first, second, third]);
  });

  it('finds by odd text as rows hold it: NUL, lone surrogates, and more than it keeps', async () => {
    const odd = ['a\0b', '\ud800x', "'; DROP", '%', 'x'.repeat(2_000)];
    for (const who of odd) {
      const position = await note({ type: 'limits.warned', data: { who, limit: 'requests', used: 1, allowed: 2 } });
      expect(await positions({ target: who })).toEqual([position]);
    }
    expect(await positions({ action: 'limits.\0*' })).toEqual([]);
  });

  it('finds by time, to the millisecond, though clocks differ a little', async () => {
    const over = last;
    const at = (minute: number, ms = 0) => new Date(Date.UTC(2026, 4, 1, 10, minute, 0, ms)).toISOString();
    const told: number[] = [];
    for (const [n, minute] of [0, 10, 9, 20, 30, 29, 40].entries()) {
      told.push(await note({ type: 'node.left', data: { node_id: `t${n}` } }, {}, at(minute)));
    }
    const [, b, c, d, e, f] = told;
    expect(await positions({ after: at(9), before: at(30) }, { over })).toEqual([b, c, d, f]);
    expect(await positions({ after: at(9, 1), before: at(30, 1) }, { over })).toEqual([b, d, e, f]);
    expect(await positions({ after: at(9), before: at(30) }, { over, order: 'desc', limit: 2 })).toEqual([f, d]);
    expect(await positions({ after: at(41) })).toEqual([]);
    expect(await positions({ before: '2020-01-01T00:00:00.000Z' })).toEqual([]);
    expect(await firstSince(hub.views.db, at(15))).toBe(d);
  });

  it('loses the counted reads of a segment with the segment, and nothing else', async () => {
    const reads = (): DomainEvent => ({
      type: 'audit.reads-counted',
      data: { actor: 'node:r', minute: '2026-03-01T10:00:00.000Z', reads: 1 },
    });
    while (last % 10 !== 0) await note({ type: 'node.left', data: { node_id: 'filler' } });
    const from = last + 1;
    for (let n = 0; n < 5; n++) {
      await note(reads());
      await note({ type: 'node.left', data: { node_id: 'stays' } });
    }
    const after = await note(reads());
    const before = await positions({}, { over: from - 1 });
    expect(before).toHaveLength(11);
    last = await tell(hub.log, { type: 'log.segment-dropped', data: { from, to: from + 9, count: 5, root: '' } });
    const left = await find({}, { over: from - 1 });
    expect(left.map(({ position, action }) => `${position} ${action}`)).toEqual([
      ...[1, 3, 5, 7, 9].map((n) => `${from + n} node.left`),
      `${after} audit.reads-counted`,
      `${last} log.segment-dropped`,
    ]);
  });

  it('is trimmed up to a position; the trim itself stays, also where it was told in one breath with what it takes', async () => {
    const through = await note({ type: 'node.left', data: { node_id: 'goes' } });
    const stays = await note({ type: 'node.left', data: { node_id: 'stays' } });
    const trim = await note({ type: 'audit.trimmed', data: { through } });
    expect(await positions({})).toEqual([stays, trim]);
    expect(await hub.log.readAll(0, 1)).toMatchObject({ events: [{ position: 1 }] });
  });
});
