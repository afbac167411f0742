/** What the audit logger makes of refusals and reads: few events with the right counts, kept while the log is away, and trims. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openLog, openViews } from '../../src/backends.ts';
import { Executor } from '../../src/commands/execute.ts';
import { type Asked, anonymous } from '../../src/doors.ts';
import { Fault } from '../../src/errors.ts';
import { type DomainEvent, decode } from '../../src/events/catalog.ts';
import type { EventLog } from '../../src/events/log.ts';
import { createKernel } from '../../src/kernel.ts';
import { soleLeases } from '../../src/lease.ts';
import { actorsLimit, ReadCounts } from '../../src/services/audit-logger/read-counts.ts';
import { kindsLimit, Refusals } from '../../src/services/audit-logger/refusals.ts';
import { Trimming } from '../../src/services/audit-logger/trimming.ts';
import { type Fact, Writer, waitingLimit } from '../../src/services/audit-logger/writer.ts';

const begin = Date.parse('2026-03-01T10:00:05.000Z');
let time = begin;
const warnings: string[] = [];
const silent = createKernel({ logLevel: 'silent' });
const heard = { ...silent.log, error: (_: object, message: string) => void warnings.push(message) };
/** A kernel whose wall clock the tests move. */
const kernel = createKernel({ logLevel: 'silent' }, { now: () => time, log: heard });

let folder: string;
let log: EventLog;
let executor: Executor;

beforeEach(async () => {
  time = begin;
  warnings.length = 0;
  folder = await mkdtemp(join(tmpdir(), 'fedhub-audit-'));
  log = await openLog(`sqlite:${folder}`, kernel);
  executor = await Executor.start(log, kernel);
});
afterEach(async () => {
  await executor.close();
  await log.close();
  await rm(folder, { recursive: true, force: true });
});

const stranger = (address: string, action = 'POST /nodes/register'): Asked => ({
  identity: anonymous,
  address,
  action,
  target: '',
});
const node = (nodeId: string): Asked => ({
  identity: { kind: 'node', nodeId, sessionId: 's', role: 'member' },
  address: '192.0.2.1',
  action: 'DELETE /nodes/:id',
  target: 'other',
});
const refusedIn = (facts: readonly Fact[]) =>
  facts.flatMap((fact) => (fact.type === 'audit.refused' ? [fact.data] : []));
const total = (facts: readonly Fact[]) => refusedIn(facts).reduce((sum, { count }) => sum + count, 0);

async function told(stream: string) {
  const all = stream === 'reads' ? await log.readAll(0, 10_000) : { events: await log.readStream(stream, 0, 10_000) };
  return all.events.filter((event) => event.stream === stream).map(decode);
}

describe('refusals', () => {
  it('gives the first of a kind at once, and the others of its minute when that ends', () => {
    const refusals = new Refusals(kernel);
    refusals.add(stranger('198.51.100.1'), 'banned');
    expect(refusedIn(refusals.due())).toEqual([
      {
        actor: 'anonymous',
        address: '198.51.100.1',
        action: 'POST /nodes/register',
        target: '',
        code: 'banned',
        count: 1,
        first_at: '2026-03-01T10:00:05.000Z',
        last_at: '2026-03-01T10:00:05.000Z',
      },
    ]);
    for (let n = 0; n < 30; n++) {
      time += 1_000;
      refusals.add(stranger('198.51.100.1'), 'banned');
      expect(refusals.due()).toEqual([]);
    }
    time = Date.parse('2026-03-01T10:01:00.000Z');
    expect(refusedIn(refusals.due())).toMatchObject([
      { count: 30, first_at: '2026-03-01T10:00:06.000Z', last_at: '2026-03-01T10:00:35.000Z' },
    ]);
    refusals.add(stranger('198.51.100.1'), 'banned');
    expect(total(refusals.due())).toBe(1);
  });

  it('keeps apart who, from where, what, on what and why', () => {
    const refusals = new Refusals(kernel);
    for (const address of ['198.51.100.1', '198.51.100.2']) refusals.add(stranger(address), 'banned');
    refusals.add(stranger('198.51.100.1'), 'forbidden');
    refusals.add(stranger('198.51.100.1', 'federation:register'), 'banned');
    refusals.add(node('a'), 'forbidden');
    refusals.add({ ...node('a'), target: 'another' }, 'forbidden');
    expect(refusals.due()).toHaveLength(6);
  });

  it('makes of a flood from everywhere a bounded number of events, with the right total', () => {
    const refusals = new Refusals(kernel);
    const facts: Fact[] = [];
    for (let n = 0; n < 20_000; n++) {
      refusals.add(stranger(`198.51.${n % 250}.${n % 500}`), 'banned');
      if (n % 1_000 === 0) facts.push(...refusals.due());
    }
    time += 60_000;
    facts.push(...refusals.due());
    expect(total(facts)).toBe(20_000);
    expect(facts.length).toBeLessThanOrEqual(2 * (kindsLimit.strangers + 1));
    expect(refusedIn(facts).at(-1)).toMatchObject({ actor: 'anonymous', address: '', target: '', code: 'banned' });
  });

  it('leaves room for those who proved themselves when strangers take all of theirs, and bounds them too', () => {
    const refusals = new Refusals(kernel);
    for (let n = 0; n < 1_000; n++) refusals.add(stranger(`198.51.100.${n}`), 'banned');
    refusals.add(node('a'), 'forbidden');
    expect(refusedIn(refusals.due())).toContainEqual(expect.objectContaining({ actor: 'node:a', target: 'other' }));
    for (let n = 0; n < 3_000; n++) refusals.add(node(`n${n}`), 'forbidden');
    const facts = refusals.due();
    expect(total(facts)).toBe(3_000);
    expect(facts).toHaveLength(kindsLimit.known); // one was given, the rest and one of those taken together
    expect(refusedIn(facts).at(-1)).toMatchObject({ actor: 'various', address: '', target: '', count: 2_001 });
  });

  it('ends at one kind for all, however many actions are made up', () => {
    const refusals = new Refusals(kernel);
    for (let n = 0; n < 5_000; n++) refusals.add(stranger('198.51.100.1', `GET /made-up/${n}`), 'not_found');
    const facts = refusals.due();
    expect(total(facts)).toBe(5_000);
    expect(refusedIn(facts).at(-1)).toMatchObject({ actor: 'anonymous', action: 'various', code: 'various' });
    expect(facts).toHaveLength(41);
  });

  it('leaves one source no more than its share, and keeps who it was the longest', () => {
    const refusals = new Refusals(kernel);
    for (let n = 0; n < 5_000; n++) refusals.add({ ...node('a'), target: `t${n}` }, 'forbidden');
    for (let n = 0; n < 500; n++) refusals.add({ ...node('a'), target: `t${n}` }, 'rate_limited');
    for (let n = 0; n < 5_000; n++) refusals.add(stranger(`2001:db8:1:2::${n.toString(16)}`), 'banned');
    refusals.add({ ...node('b'), target: 't' }, 'forbidden');
    refusals.add(stranger('198.51.100.1'), 'banned');
    const facts = refusedIn(refusals.due());
    const of = (actor: string) => facts.filter((fact) => fact.actor === actor);
    expect(of('node:a').filter(({ target }) => target !== '')).toHaveLength(20);
    expect(of('node:a').filter(({ target }) => target === '')).toMatchObject([
      { action: 'DELETE /nodes/:id', code: 'forbidden', address: '192.0.2.1', count: 4_980 },
      { action: 'DELETE /nodes/:id', code: 'rate_limited', count: 500 },
    ]);
    expect(of('node:b')).toMatchObject([{ target: 't', count: 1 }]);
    expect(of('anonymous')).toContainEqual(expect.objectContaining({ address: '198.51.100.1', code: 'banned' }));
    expect(of('anonymous').length).toBeLessThan(kindsLimit.strangers);
    expect(of('various')).toEqual([]);
  });
});

describe('reads', () => {
  it('are counted by who read and the minute, and given when it is over', () => {
    const reads = new ReadCounts(kernel);
    for (let n = 0; n < 5; n++) reads.add('node:a');
    reads.add('anonymous');
    expect(reads.due()).toEqual([]);
    time += 60_000;
    expect(reads.due().map(({ data }) => data)).toEqual([
      { actor: 'node:a', minute: '2026-03-01T10:00:00.000Z', reads: 5 },
      { actor: 'anonymous', minute: '2026-03-01T10:00:00.000Z', reads: 1 },
    ]);
    expect(reads.due()).toEqual([]);
  });

  it('are counted as one beyond a number of readers', () => {
    const reads = new ReadCounts(kernel);
    for (let n = 0; n < actorsLimit + 50; n++) reads.add(`node:${n}`);
    const facts = reads.all();
    expect(facts).toHaveLength(actorsLimit + 1);
    expect(facts.at(-1)).toMatchObject({ data: { actor: 'various', reads: 50 } });
  });
});

describe('the writer', () => {
  const refused = (actor: string): Fact => ({
    type: 'audit.refused',
    data: { actor, address: '', action: 'a', target: '', code: 'c', count: 1, first_at: 'f', last_at: 'l' },
  });
  const counted = (actor: string): Fact => ({ type: 'audit.reads-counted', data: { actor, minute: 'm', reads: 2 } });

  it('writes each under its own actor, and counted reads among the readings', async () => {
    const writer = new Writer(executor, kernel);
    await writer.write([refused('node:a'), counted('node:b'), refused('anonymous'), refused('node:a')]);
    expect((await told('audit')).map(({ meta }) => meta.actor)).toEqual(['node:a', 'node:a', 'anonymous']);
    expect((await told('reads')).map(({ meta, data }) => [meta.actor, data])).toEqual([
      ['hub', { actor: 'node:b', minute: 'm', reads: 2 }],
    ]);
  });

  it('keeps what the log did not take, up to a bound, and says how much it lost', async () => {
    let away = true;
    const appends: number[] = [];
    const note = (stream: string, facts: readonly DomainEvent[], about: { actor: string }) => {
      appends.push(facts.length);
      return away
        ? Promise.reject(new Fault('log_unavailable', 'the log is away'))
        : executor.note(stream, facts, about);
    };
    const writer = new Writer({ note }, kernel);
    const facts = Array.from({ length: waitingLimit + 7 }, () => refused('anonymous'));
    await writer.write(facts);
    expect(await told('audit')).toEqual([]);
    away = false;
    await writer.write([]);
    expect(await log.head()).toBe(waitingLimit);
    expect(Math.max(...appends)).toBe(100);
    expect(warnings).toEqual(['refusals and reads were not written down']);
  });
});

describe('a fact that the log will not take', () => {
  it('is let go by itself; those beside it and after it are written', async () => {
    const note = (stream: string, facts: readonly DomainEvent[], about: { actor: string }) =>
      facts.some(({ data }) => 'target' in data && data.target === 'bad')
        ? Promise.reject(new TypeError('does not fit'))
        : executor.note(stream, facts, about);
    const writer = new Writer({ note }, kernel);
    const facts = Array.from({ length: 6_000 }, (_, n): Fact => {
      const data = { actor: `node:${n % 60}`, address: '', action: 'a', target: n === 120 ? 'bad' : '', code: 'c' };
      return { type: 'audit.refused', data: { ...data, count: 1, first_at: 'f', last_at: 'l' } };
    });
    await writer.write(facts);
    expect(await log.head()).toBe(5_999);
    await writer.write([]);
    expect(await log.head()).toBe(5_999);
    expect(warnings).toEqual(['the event log does not take a fact of the audit log']);
  });
});

describe('trimming', () => {
  it('stops when the views do not follow, and goes on an hour later', async () => {
    const views = await openViews({
      url: `sqlite:${folder}`,
      logUrl: `sqlite:${folder}`,
      log,
      kernel,
      logLevel: 'silent',
    });
    const lease = soleLeases(1).acquire('audit-logger');
    const facts: DomainEvent[] = ['a', 'b'].map((id) => ({
      type: 'governance.announced',
      data: { announcement_id: id, message: 'm', level: 'info' },
    }));
    let last = 0;
    // More positions than one event trims.
    for (let n = 0; n < 110; n++)
      last = await executor.note('announcements', Array(1_000).fill(facts[0]), { actor: 'hub' });
    await views.read(last, async () => {});
    const waited: number[] = [];
    const behind: Pick<typeof views, 'db' | 'read'> = {
      db: views.db,
      async read(position, query) {
        waited.push(position ?? 0);
        return { value: await query(views.db), position: last, stale: true };
      },
    };
    time += 31 * 86_400_000;
    const trimming = new Trimming({
      views: { ...views, ...behind, db: views.db } as typeof views,
      executor,
      kernel,
      lease,
      days: 30,
    });
    try {
      await trimming.run();
      const trims = await told('audit');
      expect(trims).toHaveLength(1);
      expect(waited).toEqual([trims[0]!.position]);
    } finally {
      await trimming.close();
      await lease.release();
      await views.close();
    }
  });

  it('takes what is older than the policy, in bounded steps, once an hour; the log keeps it', async () => {
    const views = await openViews({
      url: `sqlite:${folder}`,
      logUrl: `sqlite:${folder}`,
      log,
      kernel,
      logLevel: 'silent',
    });
    const lease = soleLeases(1).acquire('audit-logger');
    const trimming = new Trimming({ views, executor, kernel, lease, days: 30 });
    const announce = (id: string): DomainEvent => ({
      type: 'governance.announced',
      data: { announcement_id: id, message: 'm', level: 'info' },
    });
    try {
      const old = await executor.note('announcements', [announce('a'), announce('b')], { actor: 'hub' });
      time += 29 * 86_400_000;
      const young = await executor.note('announcements', [announce('c')], { actor: 'hub' });
      const rows = async (position: number) => {
        const query = await views.read(position, (db) =>
          db.selectFrom('federation_audit_log').select('position').execute(),
        );
        return query.value.map((row) => row.position);
      };
      expect(await rows(young)).toEqual([1, old, young]);
      await trimming.run();
      expect(await told('audit')).toEqual([]);
      time += 2 * 86_400_000;
      await trimming.run();
      const [trimmed] = await told('audit');
      expect(trimmed).toMatchObject({ type: 'audit.trimmed', data: { through: old }, meta: { actor: 'hub' } });
      expect(await rows(trimmed!.position)).toEqual([young, trimmed!.position]);
      expect((await log.readAll(0, 10)).events).toHaveLength(4);
      await trimming.run();
      expect(await told('audit')).toHaveLength(1);
      await lease.release();
      time += 90 * 86_400_000;
      await trimming.run();
      expect(await told('audit')).toHaveLength(1);
    } finally {
      await trimming.close();
      await views.close();
    }
  });
});
