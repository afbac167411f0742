/** Every route and every packet, asked by everyone: the hub lets in whom docs/roles.md lets in, and nobody else. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { clientPackets } from '../../src/protocol.ts';
import { scopes } from '../../src/rights.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { RawSocket } from './raw-socket.ts';
import { call, joinByHttp, joinBySocket, post } from './visitor.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/roles.md'), 'utf8');
const rowsOf = (heading: string): string[][] => {
  const section = page.slice(page.indexOf(`\n## ${heading}`) + 1);
  const end = section.indexOf('\n## ');
  return [...(end === -1 ? section : section.slice(0, end)).matchAll(/^\| `.*\|$/gm)].map(([line]) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim().replaceAll('`', '')),
  );
};
const routes = rowsOf('HTTP').map(([name, , anyone, observer, member, admin, token]) => ({
  name: name!,
  cells: { anyone, observer, member, admin } as Record<string, string>,
  token: token!,
}));
const packets = rowsOf('Packets').map(([name, , anyone, observer, member, admin]) => ({
  name: name!,
  cells: { anyone, observer, member, admin } as Record<string, string>,
}));

const roles = ['observer', 'member', 'admin'] as const;

let hub: TestHub;
let made = 0;
const tokens: Record<string, string> = {};
const operators: Record<string, string> = {};

beforeAll(async () => {
  hub = await startTestHub();
  for (const role of roles) tokens[role] = (await nodeWith(role)).token;
  for (const scope of scopes) {
    const { status, body } = await post(hub, '/auth/tokens', { label: scope, scopes: [scope] }, hub.adminToken);
    expect(status, JSON.stringify(body)).toBe(201);
    operators[scope] = String(body.token);
  }
});
afterAll(() => hub?.stop());

/** A node that nobody needs afterwards. */
async function nodeWith(role: string) {
  const node = await joinByHttp(hub, `role-${++made}`);
  await give(node.nodeId, role);
  return node;
}

async function give(nodeId: string, role: string): Promise<void> {
  const { status, body } = await post(hub, `/governance/roles/${nodeId}`, { role }, hub.adminToken);
  expect(status, JSON.stringify(body)).toBe(200);
}

/** Whether the door let the request in; what became of it then is another matter. */
async function letIn(route: string, named: string, token: string | undefined): Promise<boolean> {
  const [method, path] = route.split(' ') as [string, string];
  const filled = path.replaceAll(/\{\w+\}/g, named);
  const answer = await call(hub, method, filled, { token, ...(method !== 'GET' && { body: {} }) });
  const { status, body } = answer;
  expect(body.code === 'no_target' ? 404 : status, `${route} ${JSON.stringify(body)}`).toBeLessThan(500);
  return status !== 401 && !(status === 403 && body.code === 'forbidden');
}

describe.each(routes)('$name', ({ name, cells, token }) => {
  it(`lets in strangers: ${cells.anyone}`, async () => {
    expect(await letIn(name, 'nobody', undefined)).toBe(cells.anyone === 'yes');
  });

  it.each(roles)(`lets in a node with the role %s as the page says`, async (role) => {
    const cell = cells[role];
    expect(await letIn(name, 'nobody', tokens[role])).toBe(cell === 'yes');
    if (cell !== 'itself') return;
    const itself = await nodeWith(role);
    expect(await letIn(name, itself.nodeId, itself.token)).toBe(true);
    expect(await letIn(name, itself.nodeId, tokens[role])).toBe(false);
  });

  it('lets in operator tokens as the page says', async () => {
    const granted = token.split(', ');
    for (const scope of scopes) {
      expect(await letIn(name, 'nobody', operators[scope]), scope).toBe(
        granted[0] === 'any' || granted.includes(scope),
      );
    }
  });
});

describe.each(packets)('$name', ({ name, cells }) => {
  const taken = async (socket: RawSocket) => {
    const { error } = await socket.ask(name, {});
    return error?.code !== 'unauthenticated' && error?.code !== 'forbidden';
  };

  it.each(roles)('is taken from a node with the role %s as the page says', async (role) => {
    const { nodeId, socket } = await joinBySocket(hub, `role-${++made}`);
    await give(nodeId, role);
    expect(await taken(socket)).toBe(cells[role] === 'yes');
    socket.close();
  });

  it(`is taken from strangers: ${cells.anyone}`, async () => {
    const socket = await RawSocket.open(hub.url);
    expect(await taken(socket)).toBe(cells.anyone === 'yes');
    socket.close();
  });
});

it('the page lists every route of the hub and every packet', async () => {
  const described = (await (await fetch(`${hub.url}/openapi.json`)).json()) as { paths: Record<string, object> };
  const known = Object.entries(described.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replace('/api/federation', '')}`),
  );
  expect(routes.map(({ name }) => name).sort()).toEqual(known.filter((name) => !name.startsWith('HEAD')).sort());
  expect(packets.map(({ name }) => name)).toEqual(Object.keys(clientPackets));
});
