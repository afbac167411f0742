/** Those who come to the doors of a hub: nodes with real keys and proofs, over a raw socket or HTTP. */
import { generateKey, type NodeKey } from '../../src/client/key-file.ts';
import { type Code, codes } from '../../src/errors.ts';
import type { NodeProfile } from '../../src/events/node.ts';
import { PROTOCOL_VERSION, type Purpose, proofText } from '../../src/protocol.ts';
import { type Answer, RawSocket } from './raw-socket.ts';

export interface Hub {
  readonly url: string;
  readonly federationId: string;
  readonly adminToken: string;
}

/** What a node would register with. Members may be changed after signing, to see whether that is found out. */
export interface Registration extends NodeProfile {
  readonly protocol_version: number;
  readonly node_id: string;
  readonly public_key: string;
  readonly nonce: string;
  readonly signature: string;
  readonly purpose?: Purpose;
}

/** One way in: asks a hub for a nonce and hands in a registration. */
export interface Door {
  challenge(nodeId: string, purpose: Purpose): Promise<Answer>;
  register(registration: Registration): Promise<Answer>;
}

export const socketDoor = (socket: RawSocket): Door => ({
  challenge: (node_id, purpose) => socket.ask('federation:challenge', { node_id, purpose }),
  register: (registration) => socket.ask('federation:register', registration),
});

export const httpDoor = (hub: Hub): Door => ({
  challenge: async (node_id, purpose) => (await post(hub, '/auth/challenge', { node_id, purpose })).body,
  async register({ purpose, ...registration }) {
    const path = purpose === 'session' ? '/auth/session' : '/nodes/register';
    const { status, body } = await post(hub, path, registration);
    return status === 200 ? { ...body, ok: true } : { ok: false, error: { code: String(body.code), message: '' } };
  },
});

/** A registration with a good proof over a fresh nonce. */
export async function prove(
  hub: Hub,
  door: Door,
  { nodeId, key, profile = {}, purpose }: { nodeId: string; key: NodeKey; profile?: NodeProfile; purpose?: Purpose },
): Promise<Registration> {
  const { nonce } = (await door.challenge(nodeId, purpose ?? 'register')) as { nonce?: unknown };
  const proof = {
    purpose: purpose ?? 'register',
    federationId: hub.federationId,
    nodeId,
    publicKey: key.publicKey,
    nonce: String(nonce),
    profile,
  };
  return {
    protocol_version: PROTOCOL_VERSION,
    node_id: nodeId,
    public_key: key.publicKey,
    nonce: proof.nonce,
    signature: Buffer.from(await key.sign(Buffer.from(proofText(proof)))).toString('base64url'),
    ...(purpose && { purpose }),
    ...profile,
  };
}

export interface Visitor {
  readonly nodeId: string;
  readonly key: NodeKey;
  readonly token: string;
  readonly answer: Answer;
}

/** A node that registered over HTTP. Throws when it was refused. */
export async function joinByHttp(hub: Hub, nodeId: string, profile: NodeProfile = {}, known?: NodeKey) {
  return join(hub, httpDoor(hub), nodeId, profile, known);
}

/** A node that registered over a socket of its own. Throws when it was refused. */
export async function joinBySocket(
  hub: Hub,
  nodeId: string,
  profile: NodeProfile = {},
  known?: NodeKey,
): Promise<Visitor & { socket: RawSocket }> {
  const socket = await RawSocket.open(hub.url);
  return { socket, ...(await join(hub, socketDoor(socket), nodeId, profile, known)) };
}

async function join(hub: Hub, door: Door, nodeId: string, profile: NodeProfile, known?: NodeKey): Promise<Visitor> {
  const key = known ?? (await generateKey());
  const answer = await door.register(await prove(hub, door, { nodeId, key, profile }));
  if (!answer.ok) throw new Error(`${nodeId} was refused: ${JSON.stringify(answer.error)}`);
  return { nodeId, key, token: String(answer.token), answer };
}

export interface Response {
  readonly status: number;
  readonly type: string;
  readonly body: Answer & Record<string, unknown>;
}

/** One request under /api/federation. A body that is a string goes as it is. */
export async function call(
  hub: Hub,
  method: string,
  path: string,
  options: { token?: string | undefined; body?: unknown; headers?: Record<string, string> } = {},
): Promise<Response> {
  const { token, body } = options;
  const response = await fetch(`${hub.url}/api/federation${path}`, {
    method,
    headers: {
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...options.headers,
    },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const type = response.headers.get('content-type') ?? '';
  const endless = type.startsWith('text/event-stream'); // that it began is the answer
  if (endless) await response.body?.cancel();
  const text = endless ? '' : await response.text();
  const json =
    text !== '' && /[/+]json\b/.test(type) ? (JSON.parse(text) as Response['body']) : ({} as Response['body']);
  return { status: response.status, type, body: json };
}

export const post = (hub: Hub, path: string, body: unknown, token?: string): Promise<Response> =>
  call(hub, 'POST', path, { body, token });

/** Says what is wrong with an answer over HTTP that should be no 5xx and, when it is no success, a problem of the list. */
export function faultOf({ status, type, body }: Response): string | undefined {
  // That no node offers something, or is there now, is no failure of the hub.
  if (status >= 500 && body.code !== 'no_target' && body.code !== 'target_unreachable')
    return `${status} ${JSON.stringify(body)}`;
  if (status < 400) return undefined;
  if (!type.startsWith('application/problem+json')) return `${status} is no problem document but ${type || 'bare'}`;
  const { code } = body;
  if (!isCode(code)) return `${status} has the unknown code ${code}`;
  return codes[code].status === status && body.status === status ? undefined : `${status} does not fit ${code}`;
}

export function isCode(code: unknown): code is Code {
  return typeof code === 'string' && Object.hasOwn(codes, code);
}

/** Entries of the hub's log at the levels that mean a defect. */
export function defects(log: string): string[] {
  return log.split('\n').filter((line) => /"level":[56]0/.test(line));
}
