/** Whatever a field may hold comes back as it was, on both databases, and means nothing to SQL. */
import Database from 'better-sqlite3';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { NodeProfile } from '../../src/events/node.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { call, defects, faultOf, joinByHttp, joinBySocket, type Response } from './visitor.ts';

const nasty: readonly string[] = [
  `'; DROP TABLE federation_log; --`,
  `"; DROP TABLE federation_nodes; --`,
  `' OR '1'='1`,
  `$1 $2 \${x} :name @name ?`,
  `%_\\%\\_`,
  `\\'; DELETE FROM federation_log; --`,
  `\`backticks\` [brackets] "quotes" ''`,
  `\u0000 NUL \u0001 \u001f \u007f`,
  `line\nfeed\r\ttab\u2028\u2029`,
  `e\u0301 é \u202e right to left \ufeff`,
  `💩 𝒳 \u{10ffff}`,
  `\ud800 lone \udfff`,
  `{"json": [1, null]} \\u0000 \\ud800`,
  `COPY x FROM STDIN; \\.`,
  'null',
  'constructor',
  `${'\u0000'.repeat(60)}`,
];

const profileOf = (text: string): NodeProfile => ({
  display_name: text,
  owner: text,
  capabilities: [text.slice(0, 60), 'plain'],
  models: [text],
  network: { public_url: `http://x/${text}`, ip_address: text.slice(0, 45) },
  hardware: { cpu_cores: 1, memory_gb: 0.1 + 0.2, gpu: text },
  services: { 'web-1': { version: text.slice(0, 60) }, [line(text)]: { status: 'running', version: '1' } },
  sovereignty: { [line(text)]: { rules: [text, { text }, null, 1e21, -0.5] } },
});

/** As the key of a record, which holds no line feed. */
const line = (text: string) => `k ${text.replaceAll(/[\n\r\u2028\u2029]/g, ' ').slice(0, 60)}`;

describe.each(['sqlite', 'postgres'] as const)('text in fields, on %s', (database) => {
  let hub: TestHub;
  let token: string;

  beforeAll(async () => {
    hub = await startTestHub({ database });
    token = (await joinByHttp(hub, 'reader')).token;
  });
  afterAll(() => hub?.stop());

  const read = (path: string) => call(hub, 'GET', path, { token });

  async function settled(position: unknown): Promise<Response> {
    const response = await read(`/nodes?min_position=${position}&limit=500`);
    expect(response.body.stale, JSON.stringify(response.body).slice(0, 500)).toBe(false);
    return response;
  }

  test('comes back as it was, from registrations, changes and heartbeats', async () => {
    const joined = await Promise.all(
      nasty.map(async (text, at) => {
        const visitor = at % 2 === 0 ? joinByHttp : joinBySocket;
        return { text, ...(await visitor(hub, `text-${at}`, profileOf(text))) };
      }),
    );
    let position = 0;
    for (const { text, nodeId, token: own } of joined) {
      const reading = {
        services: { [line(text)]: { version: text.slice(0, 60) } },
        models: [{ model_id: text, status: text.slice(0, 32), queue_depth: 3 }],
        resources: { cpu_percent: 12.5 },
        active_tasks: 2,
      };
      const beat = await call(hub, 'POST', `/nodes/${nodeId}/heartbeat`, { token: own, body: reading });
      expect(beat.status, JSON.stringify(beat.body)).toBe(200);
      const patch = { display_name: `${text.slice(0, 100)} again` };
      const patched = await call(hub, 'PATCH', `/nodes/${nodeId}`, { token: own, body: patch });
      expect(patched.body.profile).toEqual({ ...profileOf(text), ...patch });
      position = Math.max(position, Number(patched.body.position));
      await settled(position);
      const { body } = await read(`/nodes/${nodeId}`);
      expect(body.node).toMatchObject({ ...profileOf(text), ...patch, reading });
    }
  });

  test('filters by exactly what was asked for', async () => {
    for (const [at, text] of nasty.entries()) {
      const encoded = (value: string) => encodeURIComponent(value);
      if (text !== wellFormed(text)) continue; // a URL cannot say it
      for (const [name, value] of [
        ['owner', text],
        ['model', text],
        ['capability', text.slice(0, 60)],
      ] as const) {
        const { status, body } = await read(`/nodes?${name}=${encoded(value)}`);
        expect([name, value, status]).toEqual([name, value, 200]);
        const found = (body.nodes as { node_id: string }[]).map(({ node_id }) => node_id);
        expect(found, `${name}=${JSON.stringify(value)}`).toEqual([`text-${at}`]);
      }
    }
  });

  test('in queries, cursors and keys is refused or means nothing', async () => {
    const faults: string[] = [];
    for (const text of [...nasty, '\u0000', 'AA', Buffer.from("'--\u0000").toString('base64url'), '/w', '8J+SqQ']) {
      const encoded = encodeURIComponent(wellFormed(text));
      for (const name of ['cursor', 'owner', 'capability', 'model', 'status', 'limit', 'min_position']) {
        const fault = faultOf(await read(`/nodes?${name}=${encoded}`));
        if (fault) faults.push(`${name}=${JSON.stringify(text)}: ${fault}`);
      }
      const key = encoded.slice(0, 255);
      const options = { token, body: { active_tasks: 1 }, headers: { 'idempotency-key': key } };
      const fault = faultOf(await call(hub, 'POST', '/nodes/reader/heartbeat', options));
      if (fault) faults.push(`key ${key}: ${fault}`);
    }
    expect(faults).toEqual([]);
  });

  test('numbers beyond all measure are refused or kept', async () => {
    for (const [at, body] of [
      { active_tasks: 1e300 },
      { active_tasks: 2 ** 53 },
      { models: [{ model_id: 'm', queue_depth: 1e308 }] },
      { resources: { cpu_percent: 1e-320 } },
      { resources: { cpu_percent: 99.999999999999 } },
    ].entries()) {
      const response = await call(hub, 'POST', '/nodes/reader/heartbeat', { token, body });
      expect(faultOf(response), `${at}`).toBeUndefined();
      if (response.status === 200) await settled(response.body.position);
    }
    const { status, body } = await read('/hub/health');
    expect([status, typeof body.active_tasks]).toEqual([200, 'number']);
  });

  test('names of what every object has are names like any other', async () => {
    for (const name of ['constructor', 'toString', 'valueOf', 'hasOwnProperty', 'then', 'length']) {
      const { token: own, answer } = await joinByHttp(hub, name, {
        services: Object.fromEntries([['toString', { status: 'running' }]]),
        sovereignty: { toJSON: 'x', isPrototypeOf: 1, length: -1 },
      });
      const body = { services: { toString: {}, hasOwnProperty: { status: 'degraded' } } };
      const beat = await call(hub, 'POST', `/nodes/${name}/heartbeat`, { token: own, body });
      expect(beat.status).toBe(200);
      expect((answer.node as { node_id: string }).node_id).toBe(name);
      await settled(beat.body.position);
      expect((await read(`/nodes/${name}`)).body.node).toMatchObject({ node_id: name, reading: body });
    }
    const { body } = await read('/hub/health');
    const byName = (body.services as unknown as { by_name: Record<string, unknown> }).by_name;
    expect(Object.hasOwn(byName, 'toString') && byName.toString).toMatchObject({ running: 6 });
  });

  test('left every table, event and view in its place, and no view behind', async () => {
    expect(await tableCount(hub)).toBeGreaterThan(0);
    const { body } = await read('/status');
    expect(body.views).toMatchObject({ dead_letters: 0, newer_event: null });
    expect(body.degraded).toBe(false);
    expect(defects(hub.stderr())).toEqual([]);
  });
});

/** The text with U+FFFD for what UTF-8 cannot say. */
const wellFormed = (text: string) => Buffer.from(text).toString();

/** Rows of the log, read past the hub. */
async function tableCount({ databaseUrl, folder }: TestHub): Promise<number> {
  const sql = 'SELECT count(*) AS n FROM federation_log';
  if (databaseUrl === undefined) {
    const file = new Database(`${folder}/data/log.db`, { readonly: true });
    try {
      return Number((file.prepare(sql).get() as { n: number }).n); // the one column of the one row
    } finally {
      file.close();
    }
  }
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    return Number((await client.query<{ n: string }>(sql)).rows[0]?.n);
  } finally {
    await client.end();
  }
}
