/** A node of the load: a bare socket, that joins the hub with a real proof. */
import { io, type Socket } from 'socket.io-client';
import { built } from '../built.ts';

export type Ack = { ok: boolean; position?: number; nonce?: string; federation_id?: string };

export interface Node {
  readonly nodeId: string;
  readonly socket: Socket;
}

/** Opens a socket. `join`: it registers, as a hub wants it; a bare server does not. */
export async function open(url: string, nodeId: string, join: boolean): Promise<Node> {
  const socket = io(url, { transports: ['websocket'], forceNew: true, reconnection: false });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('connect_error', reject);
  });
  socket.on('disconnect', (reason) => {
    throw new Error(`the connection of ${nodeId} was lost: ${reason}`);
  });
  if (join) await register(socket, nodeId);
  return { nodeId, socket };
}

const profile = {
  display_name: 'A node of the benchmark',
  capabilities: ['chat', 'search'],
  models: ['small', 'large'],
};

async function register(socket: Socket, nodeId: string): Promise<void> {
  const [{ generateKey }, { proofText, PROTOCOL_VERSION }] = await Promise.all([
    built('client/key-file'),
    built('protocol'),
  ]);
  const purpose = 'register';
  const { nonce, federation_id: federationId } = await ask(socket, 'federation:challenge', {
    node_id: nodeId,
    purpose,
  });
  const { publicKey, sign } = await generateKey();
  const text = proofText({ purpose, federationId: federationId!, nodeId, publicKey, nonce: nonce!, profile });
  const signature = Buffer.from(await sign(Buffer.from(text))).toString('base64url');
  const packet = {
    protocol_version: PROTOCOL_VERSION,
    node_id: nodeId,
    public_key: publicKey,
    nonce,
    signature,
    ...profile,
  };
  await ask(socket, 'federation:register', packet);
}

/** Throws when the answer is a refusal: a hub that refuses quickly is not a fast hub. */
export function ask(socket: Socket, name: string, packet: object): Promise<Ack> {
  return new Promise((resolve, reject) => {
    socket.emit(name, packet, (answer: Ack) => {
      if (answer.ok) resolve(answer);
      else reject(new Error(`${name} was refused: ${JSON.stringify(answer)}`));
    });
  });
}
