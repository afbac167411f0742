/** Nodes that know something, at a real hub: what they share, what they keep, and what the hub says of it. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { FederationNode, generateKey, MemoryKnowledgeStore } from '../../src/client/node.ts';
import type { Sovereignty } from '../../src/events/sovereignty.ts';

export interface At {
  readonly url: string;
  readonly adminToken: string;
}

/** What a hub answers, as the test that looks at it knows it. */
// biome-ignore lint/suspicious/noExplicitAny: expectations say what it is
export type Json = any;

/** Asks a hub over HTTP, and answers status and body. */
export async function call(
  url: string,
  token: string | undefined,
  method: string,
  path: string,
  body?: object,
): Promise<{ status: number; body: Json }> {
  const headers: Record<string, string> = { ...(token && { authorization: `Bearer ${token}` }) };
  if (body) headers['content-type'] = 'application/json';
  const response = await fetch(`${url}/api/federation${path}`, {
    method,
    headers,
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
}

/** Shares all that is its own with everyone, and takes all. */
export const openHanded: Sovereignty = {
  shares: [{ id: 'all', categories: ['*'], with: { everyone: true }, edit: true }],
  takes: [{ id: 'all', categories: ['*'], with: { everyone: true }, foreign: true }],
};

export async function says(hub: At, subject: string, policy: Partial<Sovereignty>): Promise<number> {
  const said = { shares: [], takes: [], ...policy };
  const { status, body } = await call(hub.url, hub.adminToken, 'PUT', `/knowledge/sovereignty/${subject}`, said);
  if (status !== 200) throw new Error(`${subject} may not say that: ${JSON.stringify(body)}`);
  return body.position;
}

/** A member with a store, and rules if it is given any. */
export async function knowing(
  hub: At,
  nodeId: string,
  policy?: Partial<Sovereignty>,
  store = new MemoryKnowledgeStore(),
) {
  const key = await generateKey();
  const node = new FederationNode({ url: hub.url, nodeId, key });
  const errors: Error[] = [];
  node.on('error', (error) => errors.push(error));
  const knowledge = node.knowledge(store);
  await node.connect({ timeoutMs: 10_000 });
  if (policy) await says(hub, nodeId, policy);
  return { node, knowledge, store, errors, key };
}

/** A way to a hub that can be cut: all connections over it end at once, and new ones come about again. */
export async function cuttable(hub: { readonly port: number }) {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    const there = connect(hub.port, '127.0.0.1');
    for (const [one, other] of [
      [socket, there],
      [there, socket],
    ] as const) {
      open.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => {
    for (const socket of open) socket.destroy();
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut,
    close() {
      server.close();
      cut();
    },
  };
}
