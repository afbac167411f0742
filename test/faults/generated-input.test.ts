/** Two hundred thousand generated requests and packets, near to good ones and far from them: the hub lives, and none is a 5xx. */
import { Agent, request as httpRequest } from 'node:http';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { clientPackets } from '../../src/protocol.ts';
import { RawSocket } from '../security/raw-socket.ts';
import { call, defects, faultOf, isCode, joinByHttp, joinBySocket, post, type Response } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { hostile, oddText, type Random, randomFrom, type Schema, sample } from './schema-sample.ts';

const requests = 100_000;
const packets = 100_000;
/** Requests under way at once; below what any bounded queue of the hub holds. */
const lanes = 48;
const sockets = 16;
/** Answers that are as long as the log: asked for now and then. Of backups a hub gives two at once, and says so to a third. */
const heavy = /\/(audit\/export|views\/rebuild)$/;
/** `events` has no end, and an order of `degradation` turns others away, as it should. */
const leftOut = /\/(backup\/log|federation\/events|degradation)$/;
const ids = [
  'g-0',
  'g-1',
  'g-2',
  'g-3',
  'nobody',
  'a'.repeat(64),
  '%00',
  '..%2f',
  '%F0%9F%92%A9',
  '__proto__',
  'x'.repeat(200),
];

interface Operation {
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly schema: Schema }[];
  readonly requestBody?: { readonly content: Record<string, { readonly schema: Schema }> };
}
interface Route extends Operation {
  readonly method: string;
  readonly path: string;
}

let hub: TestHub;
let random: Random;
let routes: Route[];
let tokens: (string | undefined)[];
const agent = new Agent({ keepAlive: true, maxSockets: lanes });

beforeAll(async () => {
  const seed = Date.now() % 1_000_000;
  process.stdout.write(`seed of the generated input: ${seed}\n`);
  random = randomFrom(seed);
  hub = await startTestHub();
  const described = (await (await fetch(`${hub.url}/openapi.json`)).json()) as {
    paths: Record<string, Record<string, Operation>>;
  };
  routes = Object.entries(described.paths)
    .filter(([path]) => !leftOut.test(path))
    .flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ ...operation, method: method.toUpperCase(), path })),
    );
  const nodes = await Promise.all(ids.slice(0, 3).map((id) => joinByHttp(hub, id)));
  await post(hub, '/governance/roles/g-0', { role: 'admin' }, hub.adminToken);
  await post(hub, '/governance/roles/g-1', { role: 'observer' }, hub.adminToken);
  tokens = [
    undefined,
    'rubbish',
    'fht_aaaaaaaa_'.padEnd(56, 'A'),
    hub.adminToken,
    hub.adminToken,
    ...nodes.map(({ token }) => token),
  ];
});
afterAll(async () => {
  agent.destroy();
  await hub?.stop();
});

it(`answers ${requests} generated requests without a crash or a 5xx`, async () => {
  const faults: string[] = [];
  const codes = new Map<string, number>();
  let left = requests;
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      while (left-- > 0 && faults.length < 20) {
        const route = routeToAsk();
        const answer = await ask(route);
        const fault = faultOf(answer);
        if (fault) faults.push(`${route.method} ${route.path}: ${fault.slice(0, 300)}`);
        const outcome = answer.status < 400 ? 'done' : String(answer.body.code);
        codes.set(outcome, (codes.get(outcome) ?? 0) + 1);
      }
    }),
  );
  expect(faults).toEqual([]);
  // They reach the rules behind the doors, and not only the doors.
  for (const outcome of ['done', 'invalid_input', 'not_found', 'forbidden', 'unauthenticated']) {
    expect(codes.get(outcome) ?? 0, outcome).toBeGreaterThan(500);
  }
  await stillWell();
});

it(`answers ${packets} generated packets without a crash or a 5xx`, async () => {
  await post(hub, '/governance/mode', { mode: 'open' }, hub.adminToken); // the requests may have changed it
  const wrong: string[] = [];
  let left = packets;
  await Promise.all(
    Array.from({ length: sockets }, async (_, lane) => {
      let socket = await connect(lane);
      while (left > 0 && wrong.length < 20) {
        const page = Array.from({ length: 50 }, packetToSend);
        left -= page.length;
        const answers = await Promise.all(page.map((packet) => socket.askRaw((id) => `42${id}${packet}`)));
        answers.forEach(({ ok, error }, at) => {
          if (ok || error?.code === 'closed') return;
          const { code = 'none' } = error ?? {};
          if (!isCode(code) || code === 'internal_error') wrong.push(`${code} to ${page[at]!.slice(0, 200)}`);
        });
        if (socket.ended) socket = await connect(lane);
      }
      socket.close();
    }),
  );
  expect(wrong).toEqual([]);
  await stillWell();
});

async function stillWell(): Promise<void> {
  expect(hub.alive(), hub.stderr().slice(-2_000)).toBe(true);
  expect(defects(hub.stderr())).toEqual([]);
  await expect.poll(async () => (await call(hub, 'GET', '/ready')).status, { timeout: 30_000 }).toBe(200);
}

function routeToAsk(): Route {
  const route = random.pick(routes);
  return heavy.test(route.path) && random.number() > 0.01 ? routeToAsk() : route;
}

function ask({ method, path, parameters = [], requestBody }: Route): Promise<Response> {
  const filled = path.replaceAll(/\{\w+\}/g, () => random.pick(ids));
  const query = new URLSearchParams();
  for (const { name, in: place, schema } of parameters) {
    if (place === 'query' && random.number() < 0.4) query.append(name, textOf(sample(schema, random)));
    if (place === 'query' && random.number() < 0.02) query.append(name, 'again');
  }
  const schema = Object.values(requestBody?.content ?? {})[0]?.schema;
  const body = schema && random.number() < 0.97 ? JSON.stringify(sample(schema, random)) : undefined;
  const token = random.pick(tokens);
  const headers = {
    ...(token && { authorization: `Bearer ${token}` }),
    ...(body !== undefined && { 'content-type': 'application/json' }),
    ...(random.number() < 0.1 && { 'idempotency-key': `k-${random.integer(0, 50)}` }),
  };
  const search = query.size > 0 ? `?${query}` : '';
  return exchange(method, filled + search, headers, body);
}

function exchange(
  method: string,
  path: string,
  headers: Record<string, string>,
  body: string | undefined,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    const sent = httpRequest(`${hub.url}${path}`, { method, agent, headers: { ...headers, ...length } }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const type = response.headers['content-type'] ?? '';
        const text = Buffer.concat(chunks).toString();
        const json = /json$|json;/.test(type) && text !== '' ? JSON.parse(text) : {};
        resolve({ status: response.statusCode ?? 0, type, body: json });
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** A packet as the text of its frame, name first. */
function packetToSend(): string {
  const names = Object.keys(clientPackets) as (keyof typeof clientPackets)[];
  const name = random.number() < 0.95 ? random.pick(names) : oddText(random);
  const schema = clientPackets[name as keyof typeof clientPackets]?.packet as Schema | undefined; // undefined for a hostile name
  const packet = schema ? sample(schema, random) : hostile(random);
  return JSON.stringify(random.number() < 0.98 ? [name, packet] : [packet, name]);
}

let joined = 0;
/** Strangers and nodes by turns. */
async function connect(lane: number): Promise<RawSocket> {
  if (lane % 4 === 0) return RawSocket.open(hub.url);
  return (await joinBySocket(hub, `lane-${lane}-${++joined}`)).socket;
}
