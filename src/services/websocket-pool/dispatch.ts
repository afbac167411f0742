/** What every packet of a client goes through: is the name known, the shape right, the sender allowed; then its handler; then the acknowledgement. */
import { type Code, codes, Fault, isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { checker } from '../../input.ts';
import { type Ack, type ClientPacket, type ClientPacketName, clientPackets } from '../../protocol.ts';
import { limits } from './limits.ts';
import type { Client, PoolClient } from './pool.ts';

export type PacketHandler<N extends ClientPacketName> = (
  client: Client,
  packet: ClientPacket<N>,
) => Promise<Omit<Ack<N>, 'ok'> | Refusal>;

export type Handlers = Map<string, { who: 'anyone' | 'node'; handler: PacketHandler<ClientPacketName> }>;
type Answer = (answer: object) => void;

const checks = new Map(Object.entries(clientPackets).map(([name, { packet }]) => [name, checker(packet)]));

/**
 * Gives the function that takes each packet of each client: what came, the name first, an acknowledgement last. It never
 * throws, and answers each packet once. Nothing about what came is sure: Socket.IO lets packets in that have no name, or a number.
 */
export function dispatcher(hub: Hub, handlers: Handlers): (client: PoolClient, came: unknown[]) => void {
  return (client, came) => {
    if (!client.keepsUp()) return;
    const last = came.at(-1);
    const acknowledged = typeof last === 'function';
    const answer: Answer = acknowledged ? (last as Answer) : () => {};
    const fail = (refused: Refusal) => {
      const error = { code: refused.refused, message: refused.detail, ...refused.extra };
      if (acknowledged) answer({ ok: false, error });
      else client.socket.emit('federation:error', { ...error, packet: String(name).slice(0, 64) });
    };
    const [name, ...packets] = acknowledged ? came.slice(0, -1) : came;
    const taken = take(hub, handlers, client, name, packets);
    if (isRefusal(taken)) return fail(taken);
    client.underWay++;
    taken()
      .then((reply) => (isRefusal(reply) ? fail(reply) : answer({ ok: true, ...reply })))
      .catch((error: unknown) => fail(describeFault(hub, name, error)))
      .finally(() => client.underWay--);
  };
}

function take(
  hub: Hub,
  handlers: Handlers,
  client: PoolClient,
  name: unknown,
  packets: unknown[],
): (() => Promise<object | Refusal>) | Refusal {
  const check = typeof name === 'string' ? checks.get(name) : undefined;
  if (typeof name !== 'string' || !check) return refuse('not_found', 'the hub takes no packet of this name');
  if (packets.length > 1) return refuse('invalid_input', 'a packet is one object and an acknowledgement');
  const notReady = hub.readiness.refusal();
  if (notReady) return notReady;
  const entry = handlers.get(name);
  if (!entry) return refuse('guard_unavailable', 'the service behind this packet is not running');
  if (entry.who === 'node' && (!client.session || client.revoked)) return refuse('unauthenticated', 'register first');
  if (client.underWay >= limits.underWay)
    return refuse('overloaded', `${limits.underWay} packets of this connection are under way`);
  const packet = check(packets[0] ?? {});
  if (isRefusal(packet)) return packet;
  return () => entry.handler(client, packet as never); // `check` is that of this very name
}

/** A fault as the client hears it; a defect goes into the log, and the client learns only that there was one. */
function describeFault(hub: Hub, name: unknown, error: unknown): Refusal {
  if (error instanceof Fault) return refuse(error.code, error.message);
  hub.kernel.log.error({ err: error, packet: name }, 'a packet met a defect');
  const code: Code = 'internal_error';
  return refuse(code, codes[code].title);
}
