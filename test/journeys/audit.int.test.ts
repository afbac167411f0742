/** Whatever was done or refused can be read afterwards: over HTTP, by the command line, page by page and as a stream. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exportAudit } from '../../src/cli/audit.ts';
import { HubClient } from '../../src/cli/hub-client.ts';
import { Output } from '../../src/cli/output.ts';
import type { Recorded } from '../../src/events/log.ts';
import { openSource } from '../../src/projections/source.ts';
import { kernel } from '../projections/backends.ts';
import { RawSocket } from '../security/raw-socket.ts';
import { call, joinByHttp, joinBySocket, post } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

interface Entry {
  position: number;
  time: string;
  actor: string;
  action: string;
  target: string;
  outcome: string;
  code: string | null;
  address: string | null;
  correlation: string;
  causation: string | null;
  event_id: string;
  count: number;
}

interface Page {
  entries: Entry[];
  next_cursor: string | null;
  position: number;
}

const env = { FEDERATION_TRUSTED_PROXIES: '127.0.0.1', FEDERATION_LIMIT_STRANGERS: '10000000' };
const logUrlOf = (hub: TestHub) => hub.databaseUrl ?? `sqlite:${join(hub.folder, 'data')}`;

/** The log itself, beside the hub. */
async function wholeLog(hub: TestHub): Promise<Recorded[]> {
  const source = await openSource(logUrlOf(hub), kernel);
  const { events } = await source.readAll(0, 100_000);
  await source.close();
  return [...events];
}

async function audit(hub: TestHub, query = ''): Promise<Page> {
  const { status, body } = await call(hub, 'GET', `/audit?${query}`, { token: hub.adminToken });
  if (status !== 200) throw new Error(JSON.stringify(body));
  return body as unknown as Page;
}

async function entries(hub: TestHub, query = ''): Promise<Entry[]> {
  const all: Entry[] = [];
  for (let cursor = ''; ; ) {
    const page = await audit(hub, `${query}&limit=37${cursor}`);
    all.push(...page.entries);
    if (page.next_cursor === null) return all;
    cursor = `&cursor=${page.next_cursor}`;
  }
}

describe.each(['sqlite', 'postgres'] as const)('the audit trail on %s', (database) => {
  let hub: TestHub;
  beforeAll(async () => {
    hub = await startTestHub({ database, env });
  });
  afterAll(() => hub.stop());

  it('holds every event of a journey with who, what and where', async () => {
    const ada = await joinBySocket(hub, 'ada', { owner: 'lovelace' });
    const bob = await joinByHttp(hub, 'bob');
    await ada.socket.ask('federation:heartbeat', { node_id: 'ada' });
    await call(hub, 'PATCH', '/nodes/bob', { token: bob.token, body: { owner: 'bob' } });
    await post(hub, '/governance/mode', { mode: 'approval' }, hub.adminToken);
    await post(hub, '/governance/mode', { mode: 'open' }, hub.adminToken);
    await call(hub, 'DELETE', '/nodes/bob', { token: hub.adminToken });
    await ada.socket.ask('federation:leave', {});
    ada.socket.close();
    await expect
      .poll(async () => (await entries(hub, 'target=ada&action=session.ended')).length, { timeout: 10_000 })
      .toBe(1);
    const rows = await entries(hub, 'order=asc');
    const logged = (await wholeLog(hub)).filter(
      (event) => !/^(heartbeat\.received|health\.measured)$/.test(event.type),
    );
    const kept = logged.filter((event) => event.position <= rows.at(-1)!.position);
    expect(rows.map(({ position }) => position)).toEqual(kept.map(({ position }) => position));
    for (const [at, event] of kept.entries()) {
      const meta = JSON.parse(event.meta) as Record<string, string>;
      const row = rows[at]!;
      expect(row).toMatchObject({ time: event.time, event_id: event.id, correlation: meta.correlation });
      if (!event.type.startsWith('audit.')) expect(row).toMatchObject({ actor: meta.actor, action: event.type });
      expect(row.causation).toBe(meta.causation ?? null);
      if (meta.address) expect(row.address).toBe(meta.address);
    }
    const operator = `operator:${hub.adminToken.split('_')[1]}`;
    const who = ({ actor, action, target, address }: Entry) => [actor, action, target, address];
    const told = rows.map(who);
    expect(told).toContainEqual([operator, 'governance.mode-changed', 'federation', '127.0.0.1']);
    expect(told).toContainEqual([operator, 'node.removed', 'bob', '127.0.0.1']);
    expect(told).toContainEqual(['node:bob', 'node.updated', 'bob', '127.0.0.1']);
    expect(told).toContainEqual(['node:ada', 'node.left', 'ada', expect.anything()]);
  });

  it('holds refusals at both doors within seconds', async () => {
    const carl = await joinBySocket(hub, 'carl');
    const socket = await RawSocket.open(hub.url);
    await call(hub, 'GET', '/nodes', { headers: { 'x-forwarded-for': '203.0.113.7' } });
    await call(hub, 'DELETE', '/nodes/ada', { token: carl.token });
    await socket.ask('federation:leave', {});
    await carl.socket.ask('no:such-packet', {});
    const refused = async () =>
      (await entries(hub, 'outcome=refused')).map(({ actor, action, target, code, address, count }) => [
        actor,
        action,
        target,
        code,
        address,
        count,
      ]);
    const here = expect.stringMatching(/127\.0\.0\.1$/);
    for (const expected of [
      ['anonymous', 'GET /nodes', '', 'unauthenticated', '203.0.113.7', 1],
      ['node:carl', 'DELETE /nodes/:id', 'ada', 'forbidden', '127.0.0.1', 1],
      ['anonymous', 'federation:leave', '', 'unauthenticated', here, 1],
      ['node:carl', '(no such packet)', '', 'not_found', here, 1],
    ]) {
      await expect.poll(refused, { timeout: 5_000 }).toContainEqual(expected);
    }
    socket.close();
    carl.socket.close();
  });

  it('is for those alone who may', async () => {
    const dora = await joinByHttp(hub, 'dora');
    for (const path of ['/audit', '/audit/1', '/audit/export']) {
      expect((await call(hub, 'GET', path)).status).toBe(401);
      expect(await call(hub, 'GET', path, { token: dora.token })).toMatchObject({ status: 403 });
    }
  });

  it('shows one event in full but for hashes of secrets, and tells who looked', async () => {
    const [created] = await entries(hub, 'action=operator-token.created');
    const { body } = await call(hub, 'GET', `/audit/${created!.position}`, { token: hub.adminToken });
    expect(body).toMatchObject({
      entry: created,
      event: { type: 'operator-token.created', data: { scopes: ['admin'] } },
    });
    expect(JSON.stringify(body)).not.toContain('hash');
    const read = () => entries(hub, `outcome=read&target=${created!.position}`);
    const who = { action: 'GET /audit/:position', actor: `operator:${hub.adminToken.split('_')[1]}` };
    await expect.poll(read, { timeout: 5_000 }).toMatchObject([who]);
    expect((await call(hub, 'GET', '/audit/99999999', { token: hub.adminToken })).body.code).toBe('not_found');
  });

  it('refuses cursors and moments that are none', async () => {
    for (const query of ['cursor=AAAA', `cursor=${Buffer.from('12').toString('base64url')}`]) {
      const { body } = await call(hub, 'GET', `/audit?${query}`, { token: hub.adminToken });
      expect(body.code).toBe('cursor_invalid');
    }
    for (const query of [
      'after=yesterday',
      'before=2026-13-01',
      'limit=501',
      'outcome=maybe',
      'order=up',
      'since=-1',
    ]) {
      const { body } = await call(hub, 'GET', `/audit?${query}`, { token: hub.adminToken });
      expect([query, body.code]).toEqual([query, 'invalid_input']);
    }
  });

  it('waits for a position, and finds by the moment', async () => {
    const before = new Date().toISOString();
    const { body } = await post(hub, '/governance/mode', { mode: 'invite' }, hub.adminToken);
    const found = await audit(hub, `min_position=${body.position}&after=${before}&action=governance.*`);
    expect(found.entries.map(({ position }) => position)).toEqual([body.position]);
    expect((await audit(hub, `before=${before}&action=governance.*&limit=1`)).entries[0]!.time < before).toBe(true);
    await post(hub, '/governance/mode', { mode: 'open' }, hub.adminToken);
  });

  it('goes into a file as it is, as lines of JSON and as CSV that no spreadsheet runs', async () => {
    const client = new HubClient(hub.url, hub.adminToken);
    const output = new Output(true);
    await call(hub, 'DELETE', '/nodes/=1+1', { token: hub.adminToken });
    await expect.poll(async () => (await entries(hub, 'target=%3D1%2B1')).length, { timeout: 5_000 }).toBe(1);
    const all = await entries(hub, 'order=asc');
    const [json, csv] = [join(hub.folder, 'audit.ndjson'), join(hub.folder, 'audit.csv')];
    await exportAudit(client, output, {}, json);
    const lines = (await readFile(json, 'utf8')).trimEnd().split('\n');
    expect(lines.slice(0, all.length).map((line) => JSON.parse(line))).toEqual(all);
    await exportAudit(client, output, { format: 'csv', target: '=1+1' }, csv);
    const [head, row, end] = (await readFile(csv, 'utf8')).split('\r\n');
    expect(head).toBe(
      'position,time,actor,action,target,outcome,code,address,correlation,causation,event_id,count,first_at,last_at',
    );
    expect(row).toContain(",DELETE /nodes/:id,'=1+1,refused,invalid_input,127.0.0.1,");
    expect(end).toBe('');
    const told = async () => (await entries(hub, 'action=GET /audit/export&outcome=read')).length;
    await expect.poll(told, { timeout: 5_000 }).toBe(2);
    await exportAudit(client, output, { format: 'csv', target: 'nobody' }, csv);
    expect((await readFile(csv, 'utf8')).trimEnd()).toBe(head);
    const answer = await fetch(`${hub.url}/api/federation/audit/export?format=csv`, {
      headers: { authorization: `Bearer ${hub.adminToken}` },
    });
    expect(answer.headers.get('content-type')).toBe('text/csv; charset=utf-8; header=present');
    expect(answer.headers.get('content-disposition')).toMatch(/^attachment; filename="audit-\d+\.csv"$/);
    expect(Number(answer.headers.get('federation-position'))).toBeGreaterThan(0);
    await answer.body!.cancel();
    const asked = await call(hub, 'HEAD', '/audit/export', { token: hub.adminToken });
    expect(asked.status).toBe(400); // `export` is no position
  });
});

it('makes few rows of a flood, with the right total, and writes them before it ends', {
  timeout: 180_000,
}, async () => {
  const hub = await startTestHub({ env });
  const began = Date.now();
  const knock = async (address: string) => {
    const headers = { 'x-forwarded-for': address };
    const answer = await fetch(`${hub.url}/api/federation/nodes`, { headers });
    await answer.arrayBuffer();
    expect(answer.status).toBe(401);
  };
  let next = 0;
  const knockOn = async () => {
    for (let n = next++; n < 20_000; n = next++)
      await knock(n % 2 ? '203.0.113.1' : `198.51.100.${(n / 2) % 500}`.slice(0, 15));
  };
  try {
    await Promise.all(Array.from({ length: 32 }, knockOn));
    process.kill(hub.pid, 'SIGTERM');
    await expect.poll(() => hub.alive(), { timeout: 10_000 }).toBe(false);
    const refused = (await wholeLog(hub)).filter(({ type }) => type === 'audit.refused');
    const counts = refused.map(({ data }) => (JSON.parse(data) as { count: number }).count);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(20_000);
    const minutes = Math.ceil((Date.now() - began) / 60_000) + 1;
    expect(refused.length).toBeLessThanOrEqual(minutes * 2 * 61);
  } finally {
    await hub.stop();
  }
});
