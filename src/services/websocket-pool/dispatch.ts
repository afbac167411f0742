/** What every packet of a client goes through: is the name known, the shape right, the sender allowed; then its handler; then the acknowledgement. */
import { actorOf, type Identity, type Leave, type Passage, rateLimited, type Slot } from '../../doors.ts';
import { type Code, codes, Fault, isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { checker } from '../../input.ts';
import { type Ack, type ClientPacket, type ClientPacketName, clientPackets } from '../../protocol.ts';
import { mayUse } from '../../rights.ts';
import { workOfPacket } from '../../shedding.ts';
import { type Entry, untraced } from '../../tracing.ts';
import type { Client, PoolClient } from './client.ts';
import { limits } from './limits.ts';

export type PacketHandler<N extends ClientPacketName> = (
  client: Client,
  packet: ClientPacket<N>,
) => Promise<Omit<Ack<N>, 'ok'> | Refusal>;

export type Handlers = Map<string, Slot<PacketHandler<ClientPacketName>>>;
type Answer = (answer: object) => void;

const packetTypes = new Map(
  Object.entries(clientPackets).map(([name, { service, who, packet }]) => {
    const work = workOfPacket(service, name as ClientPacketName); // its keys are those names
    return [name, { service, who, work, check: checker(packet) }];
  }),
);

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
    const [name, ...packets] = acknowledged ? came.slice(0, -1) : came;
    const identity = client.identity();
    const began = hub.kernel.monotonicMs();
    const trace = enter(hub, name, packets);
    const count = (outcome: 'ok' | 'refused' | 'failed') =>
      hub.metrics.packet({
        packet: knownName(name),
        outcome,
        tookMs: hub.kernel.monotonicMs() - began,
        traceId: trace.span?.traceId,
      });
    const fail = (refused: Refusal) => {
      trace.span?.end(refused.refused);
      // What is put aside is counted as that, by the guard of the load.
      if (refused.refused !== 'shedding') count(codes[refused.refused].status >= 500 ? 'failed' : 'refused');
      hub.metrics.refused('socket', refused.refused);
      tellRefused(hub, client, identity, name, refused.refused);
      const { traceId } = trace;
      const error = {
        code: refused.refused,
        message: refused.detail,
        ...refused.extra,
        ...(traceId !== undefined && { trace_id: traceId }),
      };
      if (acknowledged) answer({ ok: false, error });
      else client.socket.emit('federation:error', { ...error, packet: String(name).slice(0, 64) });
    };
    if (client.underWay >= limits.underWay)
      return fail(refuse('overloaded', `${limits.underWay} packets of this connection are under way`));
    const place = placeFor(hub, name);
    if (isRefusal(place)) return fail(place);
    const opens = name === 'federation:register' || name === 'federation:rotate';
    client.underWay++;
    if (opens) client.opening++;
    take(hub, handlers, client, identity, name, packets, trace)
      .then((reply) => {
        if (isRefusal(reply)) return fail(reply);
        answer({ ok: true, ...reply });
        trace.span?.set('federation.actor', actorOf(client.identity()));
        trace.span?.end();
        count('ok');
      })
      .catch((error: unknown) => fail(describeFault(hub, name, error, trace.traceId)))
      .finally(() => {
        place?.();
        client.underWay--;
        if (opens) client.opened();
      });
  };
}

/** A place among what is under way at this replica, or the refusal of what it puts aside. */
function placeFor({ doors }: Hub, name: unknown): Leave | Refusal | undefined {
  const type = typeof name === 'string' ? packetTypes.get(name) : undefined;
  const entered = type && doors.load.find()?.enter(type.work, 'socket');
  return entered instanceof Promise ? undefined : entered; // at this door nobody waits
}

/** Cheapest first, and nothing is read of a packet before its sender has allowance left. */
async function take(
  hub: Hub,
  handlers: Handlers,
  client: PoolClient,
  identity: Identity,
  name: unknown,
  packets: unknown[],
  trace: Entry,
): Promise<object | Refusal> {
  const guard = hub.tracing.within('guard', 'internal', trace.traceparent);
  const exceeded = client.inTurn(meter(hub, client, identity));
  const short = exceeded instanceof Promise ? await exceeded : exceeded;
  const passed = short ?? judge(hub, handlers, client, identity, name, packets);
  guard?.end(isRefusal(passed) ? passed.refused : undefined);
  if (isRefusal(passed)) return passed;
  const packet = passed.check(withoutTrace(packets[0] ?? {}));
  if (isRefusal(packet)) return packet;
  return client.during(trace.traceparent, () => passed.handler(client, packet as never)); // `check` is that of this very name
}

/** What every packet must pass that its sender had allowance for. Answers what takes it. */
function judge(
  hub: Hub,
  handlers: Handlers,
  client: PoolClient,
  identity: Identity,
  name: unknown,
  packets: unknown[],
) {
  const type = typeof name === 'string' ? packetTypes.get(name) : undefined;
  if (typeof name !== 'string' || !type) return refuse('not_found', 'the hub takes no packet of this name');
  if (packets.length > 1) return refuse('invalid_input', 'a packet is one object and an acknowledgement');
  const notReady = hub.readiness.refusal();
  if (notReady) return notReady;
  const handler = handlers.get(name)?.find();
  if (!handler) return refuse('service_unavailable', `${type.service} is not running at this replica`);
  const { who, check } = type;
  if (who !== 'anyone') {
    if (identity.kind === 'anonymous' || client.revoked) return refuse('unauthenticated', 'register first');
    const over = client.over();
    if (over) return over;
    const judged = hub.doors.judge(identity);
    if (judged) return judged;
    if (!mayUse(identity, who)) return refuse('forbidden', 'the role of this node does not let it');
  }
  return { handler, check };
}

/** Packets that come all the time begin no trace of their own; they belong to the one they name. */
const incessant = new Set<ClientPacketName>(['federation:heartbeat', 'federation:response']);

function enter({ tracing }: Hub, name: unknown, [packet]: unknown[]): Entry {
  const traceparent = isObject(packet) && Object.hasOwn(packet, 'traceparent') ? packet.traceparent : undefined;
  if (!tracing.on) return untraced.enter('', traceparent);
  const known = knownName(name);
  if (traceparent === undefined && known !== undefined && incessant.has(known)) return untraced.enter('', undefined);
  const entry = tracing.enter(known ?? '(no such packet)', traceparent);
  entry.span?.set('federation.door', 'socket');
  if (known !== undefined) entry.span?.set('federation.service', clientPackets[known].service);
  return entry;
}

/** Any packet may name the trace that it belongs to, beside what its schema says. */
function withoutTrace(packet: unknown): unknown {
  if (!isObject(packet) || !Object.hasOwn(packet, 'traceparent')) return packet;
  const { traceparent, ...said } = packet;
  return said;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** Takes the packet, and what went over the connection since the last one, from the allowance of its sender. */
function meter(hub: Hub, client: PoolClient, identity: Identity): Refusal | undefined | Promise<Refusal | undefined> {
  const guard = hub.doors.limits.get();
  if (isRefusal(guard)) return guard;
  const passage = guard.enter(identity, client.address, 'messages', client.takeBytes());
  const refusalOf = ({ short }: Passage) => short && rateLimited(short);
  return passage instanceof Promise ? passage.then(refusalOf) : refusalOf(passage);
}

function tellRefused(hub: Hub, client: PoolClient, identity: Identity, name: unknown, code: Code): void {
  const action = knownName(name) ?? '(no such packet)';
  hub.doors.tellRefused({ identity, address: client.address, action, target: '' }, code);
}

/** What is no name of a packet is repeated nowhere: it is a stranger's text. */
function knownName(name: unknown): ClientPacketName | undefined {
  return typeof name === 'string' && packetTypes.has(name) ? (name as ClientPacketName) : undefined; // its keys are those names
}

/** A fault as the client hears it; a defect goes into the log, and the client learns only that there was one. */
function describeFault(hub: Hub, name: unknown, error: unknown, traceId: string | undefined): Refusal {
  if (error instanceof Fault) return refuse(error.code, error.message);
  hub.kernel.log.error({ err: error, packet: name, trace_id: traceId }, 'a packet met a defect');
  const code: Code = 'internal_error';
  return refuse(code, codes[code].title);
}
