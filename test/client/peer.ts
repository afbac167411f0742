/** The hub's side of the protocol over a real socket, with real nonces, proofs and tokens, and nothing behind it. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server, type Socket } from 'socket.io';
import { Compile } from 'typebox/compile';
import { isRefusal, type Refusal, refuse } from '../../src/errors.ts';
import { createKernel, isoTime } from '../../src/kernel.ts';
import { openKeyring } from '../../src/keyring.ts';
import {
  type ClientPacket,
  type ClientPacketName,
  clientPackets,
  type HubPacket,
  type HubPacketName,
  profileOf,
} from '../../src/protocol.ts';
import { createNonces } from '../../src/services/identity-auth/nonce.ts';
import { checkProof } from '../../src/services/identity-auth/proof.ts';
import { createSessionTokens } from '../../src/services/identity-auth/session-token.ts';
import { memoryKeyring } from '../identity/memory-keyring.ts';

export interface Peer {
  readonly url: string;
  /** Packets that came in and fitted their schema, in order. */
  readonly got: { name: ClientPacketName; packet: Record<string, unknown> }[];
  /** What a test wants other than the ordinary: a refusal, an answer of its own, or `silent` for no answer at all. */
  odd: (name: ClientPacketName) => Refusal | object | 'silent' | undefined;
  /** Answers to requests over HTTP, by path; undefined: there is nothing. */
  http: (path: string) => object | undefined;
  /** Position that the next session begins at. */
  position: number;
  /** Called when a session asks to resume; pushes what it missed. */
  onResume: (from: number) => void;
  push<N extends HubPacketName>(name: N, packet: HubPacket<N>): void;
  /** Pushes what wants an acknowledgement; answers that of the only connection. */
  ask<N extends HubPacketName>(name: N, packet: HubPacket<N>): Promise<unknown>;
  /** Sends anything under a name. */
  pushRaw(name: string, packet: unknown): void;
  /** Cuts all connections without a word. */
  cut(): void;
  connections(): number;
  close(): Promise<void>;
}

const kernel = createKernel({ logLevel: 'silent' });

export async function startPeer({ heartbeatMs = 15_000, port = 0 } = {}): Promise<Peer> {
  const keyring = await openKeyring(memoryKeyring(), kernel);
  const nonces = createNonces(kernel, () => keyring.nonceSecrets());
  const tokens = createSessionTokens(kernel, keyring, 'fed-1');
  const http = createServer(({ url = '' }, response) => {
    const body = peer.http(url);
    response.writeHead(body ? 200 : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body ?? { code: 'not_found', detail: 'not at this peer' }));
  });
  const io = new Server(http, { transports: ['websocket'], serveClient: false });

  const answers: {
    [N in ClientPacketName]?: (packet: ClientPacket<N>, socket: Socket) => Promise<object | Refusal> | object | Refusal;
  } = {
    'federation:challenge': ({ node_id: nodeId, purpose }) => {
      const { nonce, expiresAtMs } = nonces.issue({ nodeId, purpose, federationId: 'fed-1' });
      return { nonce, federation_id: 'fed-1', expires_at: isoTime(expiresAtMs) };
    },
    'federation:register': async (packet, socket) => {
      const { node_id: nodeId, public_key: publicKey, nonce, signature, purpose = 'register' } = packet;
      const profile = profileOf(packet);
      const refused = checkProof({ purpose, nodeId, publicKey, nonce, signature, profile }, 'fed-1', nonces);
      if (refused) return refused;
      const node = { node_id: nodeId, public_key: publicKey, role: 'member', ...profile };
      const session = {
        session_id: socket.id,
        position: peer.position,
        heartbeat_ms: heartbeatMs,
        protocol_version: 1,
      };
      return { node, ...session, ...(await token(nodeId)) };
    },
    'federation:heartbeat': () => ({ position: peer.position }),
    'federation:renew': () => token('alpha'),
    'federation:resume': ({ position }) => {
      peer.onResume(position);
      return { position: peer.position };
    },
    'federation:leave': () => ({}),
    'federation:message:ack': ({ through }) => ({ through }),
  };

  const token = async (nodeId: string) => {
    const { token, expiresAtMs } = await tokens.issue({ nodeId, sessionId: 's', epoch: 0, keyId: 'k' });
    return { token, expires_at: isoTime(expiresAtMs) };
  };

  async function answer<N extends ClientPacketName>(
    name: N,
    packet: unknown,
    socket: Socket,
    ack: (answer: object) => void,
  ): Promise<void> {
    if (!Compile(clientPackets[name].packet).Check(packet))
      throw new Error(`the client sent a ${name} that does not fit`);
    peer.got.push({ name, packet: packet as Record<string, unknown> });
    const odd = await peer.odd(name);
    if (odd === 'silent') return;
    const usual = answers[name] ?? (() => refuse('not_found', 'not at this peer'));
    const given = odd ?? (await usual(packet as ClientPacket<N>, socket)); // checked above
    if (!isRefusal(given)) ack({ ok: true, ...given });
    else ack({ ok: false, error: { code: given.refused, message: given.detail, ...given.extra } });
  }

  io.on('connection', (socket) => {
    for (const name of Object.keys(clientPackets) as ClientPacketName[]) {
      socket.on(name, (packet: unknown, ack: (answer: object) => void) => void answer(name, packet, socket, ack));
    }
    socket.emit('federation:connected', { protocol_version: 1, federation_id: 'fed-1' });
  });
  await new Promise<void>((listening) => http.listen(port, '127.0.0.1', listening));

  const peer: Peer = {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    got: [],
    odd: () => undefined,
    http: () => undefined,
    position: 10,
    onResume: () => {},
    push: (name, packet) => void io.emit(name, packet),
    ask: async (name, packet) => {
      const [answer] = await io.timeout(1_000).emitWithAck(name, packet);
      return answer as unknown;
    },
    pushRaw: (name, packet) => void io.emit(name, packet),
    cut: () => {
      for (const socket of io.sockets.sockets.values()) socket.conn.close();
    },
    connections: () => io.sockets.sockets.size,
    close: () => io.close(),
  };
  return peer;
}

export function refusal(code: Parameters<typeof refuse>[0], extra?: Record<string, unknown>): Refusal {
  return refuse(code, `the peer says ${code}`, extra);
}
