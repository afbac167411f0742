/** Whatever comes in over HTTP, from anyone: never a 5xx, and every refusal a problem document with a code of the list. */
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { deep, hostileTexts, hostileValue, wide } from './hostile-values.ts';
import { call, defects, faultOf, joinByHttp, post, type Response } from './visitor.ts';

let hub: TestHub;
let node: string;
/** The three who ask: nobody, a node, an operator. */
let tokens: readonly (string | undefined)[];

beforeAll(async () => {
  hub = await startTestHub();
  node = (await joinByHttp(hub, 'alpha')).token;
  tokens = [undefined, node, hub.adminToken];
});
afterAll(() => hub?.stop());
afterEach(async () => {
  expect(hub.alive(), hub.stderr().slice(-2_000)).toBe(true);
  expect(defects(hub.stderr())).toEqual([]);
});

interface Operation {
  readonly requestBody?: unknown;
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
}

/** Every operation of the description that the hub gives of itself. */
async function operations(): Promise<{ method: string; path: string; operation: Operation }[]> {
  const response = await fetch(`${hub.url}/openapi.json`);
  const { paths } = (await response.json()) as { paths: Record<string, Record<string, Operation>> };
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      method: method.toUpperCase(),
      path: path.replace('/api/federation', ''),
      operation,
    })),
  );
}

/** A request as it goes over the wire, and all that comes back until the hub is done. */
function wire(request: string | Buffer, ms = 3_000): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(hub.port, '127.0.0.1', () => socket.write(request));
    let heard = '';
    const done = () => {
      clearTimeout(late);
      socket.destroy();
      resolve(heard);
    };
    const late = setTimeout(done, ms);
    socket.on('data', (bytes) => {
      heard += bytes.toString('latin1');
    });
    socket.on('error', done);
    socket.on('close', done);
  });
}

const request = (line: string, headers: readonly string[] = [], body = '') =>
  [line, 'Host: hub', 'Connection: close', ...headers, '', body].join('\r\n');

/** What is wrong with an answer as it came over the wire. */
function wireFault(answer: string): string | undefined {
  const [head = '', body = ''] = answer.split('\r\n\r\n');
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1]);
  if (!status) return `no answer: ${answer.slice(0, 100)}`;
  const type = /^content-type: (.*)$/im.exec(head)?.[1] ?? '';
  const json = status >= 400 && type.includes('problem+json') ? JSON.parse(body) : {};
  return faultOf({ status, type, body: json });
}

describe('every operation that the hub describes', () => {
  test('takes wrong bodies, ids, queries and headers from nobody, a node and an operator without a failure', async () => {
    const faults: string[] = [];
    const all = await operations();
    expect(all.length).toBeGreaterThan(15);
    const values = fc.sample(hostileValue, { numRuns: 12, seed: 77 }).map((value) => JSON.stringify(value));
    const bodies = [...hostileTexts.filter((one) => one.length < 300_000), ...values, '', '{', 'undefined', '\u0000'];
    const requests = tokens.flatMap((token) =>
      all
        .filter(({ path }) => !whole.has(path) || token !== hub.adminToken)
        .flatMap(({ method, path, operation }) =>
          (operation.requestBody ? bodies : [undefined, '{}', '{']).map((body, at) => ({
            method,
            path: path.replaceAll(/\{\w+\}/g, idFor(method, at)) + queries[at % queries.length]!,
            token,
            headers: keys[at % keys.length]!,
            ...(method !== 'GET' && { body }),
          })),
        ),
    );
    await inLanes(requests, async ({ method, path, ...options }) => {
      const fault = faultOf(await call(hub, method, path, options));
      if (fault) faults.push(`${method} ${path} ${options.body?.slice(0, 80)}: ${fault}`);
    });
    expect(faults).toEqual([]);
  }, 120_000);

  test('takes every query that it names, in every shape', async () => {
    const faults: string[] = [];
    const paths = (await operations()).flatMap(({ method, path, operation }) =>
      (operation.parameters ?? [])
        .filter((parameter) => method === 'GET' && parameter.in === 'query')
        .flatMap(({ name }) => texts.map((text) => `${path.replaceAll(/\{\w+\}/g, 'alpha')}?${name}=${text}`)),
    );
    expect(paths.length).toBeGreaterThan(100);
    await inLanes(paths, async (path) => {
      const fault = faultOf(await call(hub, 'GET', path, { token: node }));
      if (fault) faults.push(`${path}: ${fault}`);
    });
    expect(faults).toEqual([]);
  }, 120_000);
});

/** Does all, 60 at a time: those that wait for a position, two seconds each, keep no others waiting. */
async function inLanes<T>(items: readonly T[], each: (item: T) => Promise<void>): Promise<void> {
  const left = items.values();
  const lane = async () => {
    for (const item of left) await each(item);
  };
  await Promise.all(Array.from({ length: 60 }, lane));
}

/** Ids as they stand in a path. */
const ids = [
  'alpha',
  'nobody',
  '%00',
  '%2e%2e',
  '..%2f..%2fetc%2fpasswd',
  'alpha%2Fheartbeat',
  'alpha%20',
  '%61lpha',
  'alph%D0%B0', // the last letter is Cyrillic
  'ａlpha', // the first letter is of full width
  '__proto__',
  'constructor',
  "alpha'--",
  'x'.repeat(200),
  '%',
  '%zz',
  '%ff%fe',
];
/** Removing is tried with wrong ids only: the node that asks is needed to the end. */
function idFor(method: string, at: number): string {
  const wanted = method === 'DELETE' ? ids.filter((id) => decodable(id) !== 'alpha') : ids;
  return wanted[at % wanted.length]!;
}

function decodable(id: string): string {
  try {
    return decodeURIComponent(id);
  } catch {
    return id;
  }
}

/** Take no input, and each would read or rebuild all there is. */
const whole = new Set(['/views/rebuild', '/backup/log']);
const queries = [
  '',
  '?limit=1&limit=2',
  '?__proto__=1',
  '?constructor[prototype]=1',
  '?=',
  '?&&&',
  '?%00=%00',
  '?min_position=-1',
];
const keys: readonly Record<string, string>[] = [
  {},
  { 'idempotency-key': "';--" },
  { 'idempotency-key': '\u00ff\u00fe' },
  { 'idempotency-key': 'k'.repeat(300) },
  { constructor: 'x', prototype: 'y' },
  { traceparent: '00-zz-zz-zz' },
];
const texts = [
  '0',
  '-1',
  '-0',
  '1e9',
  '1e999',
  'NaN',
  'Infinity',
  '01',
  '0x10',
  '1.5',
  '1,000',
  '',
  '%20',
  '%201',
  '1%00',
  'true',
  'null',
  '[]',
  '9007199254740993',
  '99999999999999999999',
  '%00',
  'AA',
  '%ff',
  '%F0%9F%92%A9',
  "'%20OR%201=1--",
  'online',
  '2020-02-30',
  '1&limit=2',
  'x'.repeat(3_000),
]; // prettier-ignore

describe('ids', () => {
  test('that only look like another are not that other', async () => {
    const status = async (id: string) => (await call(hub, 'GET', `/nodes/${id}`, { token: node })).status;
    expect(await status('alpha')).toBe(200);
    expect(await status('%61lpha')).toBe(200); // the same letters, encoded
    for (const id of ['alph%D0%B0', '%EF%BD%81lpha', 'alpha%E2%80%8B', 'Alpha%CC%81', 'alpha%2F', 'alpha%00']) {
      expect(await status(id), id).toBe(400);
    }
    expect(await status('ALPHA')).toBe(404);
    expect(await status('alpha/')).toBe(404);
    for (const id of ['аlpha', 'alphа', 'ａlpha', 'alpha\u200b', 'alpha\u0000', 'alpha\n', ' alpha', '.alpha', '']) {
      const { status: refused, body } = await post(hub, '/auth/challenge', { node_id: id, purpose: 'register' });
      expect([refused, body.code], id).toEqual([400, 'invalid_input']);
    }
  });

  test('of one node do not reach the routes of another by encoded slashes and dots', async () => {
    await joinByHttp(hub, 'beta');
    const body = { active_tasks: 1 };
    for (const path of [
      '/nodes/beta/heartbeat',
      '/nodes/alpha%2F..%2Fbeta/heartbeat',
      '/nodes/alpha/..%2Fbeta/heartbeat',
    ]) {
      const { status } = await call(hub, 'POST', path, { token: node, body });
      expect(status, path).toBeGreaterThanOrEqual(400);
    }
    expect((await call(hub, 'DELETE', '/nodes/beta', { token: node })).status).toBe(403);
  });
});

describe('content types', () => {
  const good = JSON.stringify({ node_id: 'alpha', purpose: 'register' });

  test.each([
    ['application/json', 200],
    ['application/json; charset=utf-8', 200],
    ['APPLICATION/JSON', 200],
    ['text/plain', 415],
    ['application/x-www-form-urlencoded', 415],
    ['multipart/form-data; boundary=x', 415],
    ['application/json-patch+json', 415],
    ['application/jsonp', 415],
    ['application/xml', 415],
    ['application', 415],
    [',', 415],
    [`application/json${';'.repeat(5_000)}`, 'any'],
    [`text/${'x'.repeat(5_000)}`, 415],
  ])('%s', async (type, status) => {
    const response = await call(hub, 'POST', '/auth/challenge', { body: good, headers: { 'content-type': type } });
    expect(faultOf(response)).toBeUndefined();
    if (status !== 'any') expect(response.status).toBe(status);
  });

  test('of other character sets or packed bodies are not guessed at', async () => {
    const utf16 = Buffer.from(good, 'utf16le');
    const body = (headers: Record<string, string>, bytes: Buffer) =>
      fetch(`${hub.url}/api/federation/auth/challenge`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: new Uint8Array(bytes),
      }).then(async (response): Promise<Response> => {
        const type = response.headers.get('content-type') ?? '';
        return { status: response.status, type, body: (await response.json()) as Response['body'] };
      });
    for (const [headers, bytes] of [
      [{ 'content-type': 'application/json; charset=utf-16' }, utf16],
      [{ 'content-encoding': 'gzip' }, Buffer.from('1f8b0800', 'hex')],
      [{ 'content-type': 'application/json; charset=utf-7' }, Buffer.from('+AHsAfQ-')],
      [{}, Buffer.from([0xff, 0xfe, 0x7b])],
    ] as const) {
      const response = await body(headers, bytes);
      expect(faultOf(response)).toBeUndefined();
      expect([400, 415]).toContain(response.status);
    }
  });
});

describe('limits', () => {
  test.each([
    ['__proto__', '{"node_id":"a","purpose":"register","__proto__":{"x":1}}'],
    ['constructor', '{"constructor":{"prototype":{"x":1}}}'],
    ['prototype, deep', '{"node_id":{"a":[{"prototype":1}]}}'],
    ['too deep', JSON.stringify(deep(40))],
    ['too deep, in lists', '['.repeat(100_000) + ']'.repeat(100_000)],
    ['too many members', JSON.stringify(wide(10_001))],
  ])('on bodies: %s', async (_what, body) => {
    const response = await call(hub, 'POST', '/auth/challenge', { body });
    expect([response.status, response.body.code, faultOf(response)]).toEqual([400, 'invalid_input', undefined]);
  });

  test('on size: 413', async () => {
    const response = await post(hub, '/auth/challenge', { node_id: 'x'.repeat(300_000) });
    expect([response.body.code, faultOf(response)]).toEqual(['payload_too_large', undefined]);
  });
});

describe('requests as they come over the wire', () => {
  const json = 'Content-Type: application/json';
  const challenge = 'POST /api/federation/auth/challenge HTTP/1.1';

  test.each<readonly [what: string, request: string, status: number]>([
    ['an unknown method', request('BREW /api/federation/status HTTP/1.1'), 400],
    ['TRACE', request('TRACE /api/federation/status HTTP/1.1'), 405],
    ['PUT where there is none', request('PUT /api/federation/status HTTP/1.1'), 405],
    ['DELETE where there is none', request('DELETE /api/federation/governance/mode HTTP/1.1'), 405],
    ['GET where only POST is', request('GET /api/federation/nodes/alpha/heartbeat HTTP/1.1'), 405],
    ['OPTIONS', request('OPTIONS /api/federation/status HTTP/1.1'), 405],
    ['PROPFIND', request('PROPFIND /api/federation/nowhere HTTP/1.1'), 404],
    ['a slash at the end', request('GET /api/federation/status/ HTTP/1.1'), 404],
    ['two slashes', request('GET /api//federation/status HTTP/1.1'), 404],
    ['dots', request('GET /docs/../../../../etc/passwd HTTP/1.1'), 404],
    ['encoded dots', request('GET /docs/static/..%2f..%2f..%2fpackage.json HTTP/1.1'), 404],
    ['a path with a NUL', request('GET /docs/static/%00 HTTP/1.1'), 400],
    ['a path that cannot be decoded', request('GET /api/federation/nodes/%zz HTTP/1.1'), 400],
    ['a target of a proxy', request('GET http://169.254.169.254/latest HTTP/1.1'), 404],
    ['another version of HTTP', request('GET /api/federation/status HTTP/3.7'), 400],
    ['a head without end', request('GET / HTTP/1.1', [`X: ${'x'.repeat(20_000)}`]), 413],
    ['text that is no HTTP', 'hello\r\n\r\n', 400],
    ['a length below nothing', request(challenge, [json, 'Content-Length: -1']), 400],
    ['a length that is none', request(challenge, [json, 'Content-Length: ten']), 400],
    ['two lengths', request(challenge, [json, 'Content-Length: 2', 'Content-Length: 3'], '{}'), 400],
    ['a length and chunks', request(challenge, [json, 'Content-Length: 2', 'Transfer-Encoding: chunked'], '{}'), 400],
    ['chunks that are none', request(challenge, [json, 'Transfer-Encoding: chunked'], 'zz\r\n{}\r\n0\r\n\r\n'), 400],
    ['an encoding of transfer that is none', request(challenge, [json, 'Transfer-Encoding: cow']), 400],
    ['a body on GET', request('GET /api/federation/status HTTP/1.1', [json, 'Content-Length: 2'], '{}'), 200],
    ['an expectation', request('GET /api/federation/status HTTP/1.1', ['Expect: cake']), 200],
    ['a folded header', request('GET /api/federation/status HTTP/1.1', ['X-A: b', ' c']), 400],
    ['a bare line feed', 'GET /api/federation/status HTTP/1.1\nHost: hub\nX: \r\r\n\n', 400],
  ])('%s', async (_what, sent, status) => {
    const answer = await wire(sent);
    expect(wireFault(answer)).toBeUndefined();
    expect(answer.split('\r\n')[0]).toContain(` ${status} `);
  });

  test('chunks of a byte each are put together', async () => {
    const body = '{"node_id":"alpha","purpose":"register"}';
    const chunks = `${[...body].map((letter) => `1\r\n${letter}\r\n`).join('')}0\r\n\r\n`;
    expect(await wire(request(challenge, [json, 'Transfer-Encoding: chunked'], chunks))).toContain('HTTP/1.1 200');
  });

  test('chunks beyond the limit are refused before they end', async () => {
    const chunk = `${(0x8000).toString(16)}\r\n${'x'.repeat(0x8000)}\r\n`;
    const answer = await wire(request(challenge, [json, 'Transfer-Encoding: chunked'], chunk.repeat(20)));
    expect(answer).toContain('HTTP/1.1 413');
    expect(answer).toContain('payload_too_large');
  });

  test('HEAD answers as GET does, without a body', async () => {
    const answer = await wire(request('HEAD /api/federation/status HTTP/1.1'));
    expect(answer).toContain('HTTP/1.1 200');
    expect(answer.endsWith('\r\n\r\n')).toBe(true);
  });

  test('no tunnel is opened', async () => {
    expect(await wire(request('CONNECT 169.254.169.254:80 HTTP/1.1'))).not.toContain('200');
  });

  test('polling is no way in', async () => {
    const answer = await wire(request('GET /socket.io/?EIO=4&transport=polling HTTP/1.1'));
    expect(answer).toContain('HTTP/1.1 400');
  });
});

describe('a request that asks for another protocol', () => {
  const h2c = ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA'];
  const webSocket = ['Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=='];
  const asking = (line: string, headers: readonly string[] = h2c, body = '') =>
    [line, 'Host: hub', ...headers, '', body].join('\r\n');
  const last = request('GET /api/federation/status HTTP/1.1');
  const statuses = (answers: string) => [...answers.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((match) => Number(match[1]));
  const status = 'GET /api/federation/status HTTP/1.1';
  const challenge = 'POST /api/federation/auth/challenge HTTP/1.1';
  const wanted = '{"node_id":"alpha","purpose":"register"}';
  const json = 'Content-Type: application/json';

  test.each([
    ['HTTP/2', asking(status, ['Connection: close', ...h2c]), 200],
    ['a WebSocket', asking(status, ['Connection: close, Upgrade', ...webSocket]), 200],
    ['something on a path that is none', asking('GET /none HTTP/1.1', ['Connection: close', ...h2c]), 404],
    [
      'something beside the path of sockets',
      asking('GET /socket.io?EIO=4 HTTP/1.1', ['Connection: close', ...h2c]),
      404,
    ],
    ['HTTP/2 on the path of sockets', asking('GET /socket.io/?EIO=4&transport=websocket HTTP/1.1'), 400],
    ['HTTP/2 in a head that is too long to be read whole', asking(status, [...h2c, ...Array(120).fill('X-A: b')]), 413],
  ])('%s is answered as any other', async (_what, sent, expected) => {
    expect(statuses(await wire(sent))).toEqual([expected]);
  });

  test.each([
    ['of a stated length', [`Content-Length: ${wanted.length}`], wanted],
    ['in chunks', ['Transfer-Encoding: chunked'], `${wanted.length.toString(16)}\r\n${wanted}\r\n0\r\n\r\n`],
  ])('keeps its body %s, and the requests behind it', async (_how, framing, body) => {
    const answers = await wire(asking(challenge, [...h2c, json, ...framing], body) + last);
    expect(statuses(answers)).toEqual([200, 200]);
    expect(answers).toContain('"nonce"');
  });

  test('waits for its turn behind others, and may be the next on a connection again and again', async () => {
    const none = asking('GET /none HTTP/1.1');
    const plain = asking('GET /api/federation/auth/nothing HTTP/1.1', []);
    const sent = [plain, plain, none, asking(status), ...Array(12).fill(none), plain, last];
    expect(statuses(await wire(sent.join('')))).toEqual([404, 404, 404, 200, ...Array(12).fill(404), 404, 200]);
    expect(hub.stderr()).not.toContain('MaxListeners');
  });

  test('is not reached behind an answer that ends the connection', async () => {
    const broken = asking(challenge, [json, 'Content-Length: 1'], '{');
    expect(statuses(await wire(broken + asking(status)))).toEqual([400]);
    const long = asking(status, [...h2c, ...Array(120).fill('X-A: b')]);
    expect(statuses(await wire(asking(status, []) + long))).toEqual([]);
  });

  test('that leaves at any moment harms nobody', async () => {
    const broken = asking(challenge, [json, 'Content-Length: 1'], '{');
    const unfinished = asking(challenge, [...h2c, json, 'Content-Length: 9']);
    for (const sent of [asking(status), asking(status, []) + asking(status), broken + asking(status), unfinished])
      for (const ms of [0, 1, 2, 5, 20]) {
        const leaving = connect(hub.port, '127.0.0.1', () => leaving.write(sent));
        leaving.on('error', () => {});
        await sleep(ms);
        leaving.resetAndDestroy();
      }
    expect(statuses(await wire(last))).toEqual([200]);
  });
});
