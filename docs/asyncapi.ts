/** The packets of `src/protocol.ts` as an AsyncAPI 3.0 document: a channel a packet, an operation of the hub on each. */
import type { TSchema } from 'typebox';
import {
  type ClientPacketName,
  clientPackets,
  FailureAck,
  type HubPacketName,
  hubPackets,
  PROTOCOL_VERSION,
} from '../src/protocol.ts';

/** What each packet is for. A packet without a line here does not compile. */
const summaries: Record<ClientPacketName | HubPacketName, string> = {
  'federation:challenge': 'Asks for a nonce to sign. Anyone may.',
  'federation:register': 'Proves a key; joins, or comes back, and opens the session of this connection. Anyone may.',
  'federation:rotate': 'Changes the key of the session: signed by the old key and by the new one.',
  'entity:register': 'Registers an entity of this node, or brings it up to date.',
  'federation:admitted': 'The request to join was approved: this connection has a session now.',
  'federation:rejected': 'The request to join was rejected, or lapsed.',
  'federation:role-changed': 'A node has another role.',
  'federation:announcement': 'An administrator speaks to everyone.',
  'federation:entity-registered': 'An entity was registered.',
  'federation:entity-unregistered': 'An entity is gone.',
  'federation:secret-changed': 'A secret that this node may read has another version or other readers',
  'federation:limit-warning': 'Four fifths of a limit of this node are used.',
  'federation:subscribe': 'Asks for events by pattern, from now on or from a position on.',
  'federation:unsubscribe': 'Ends a subscription of this connection.',
  'federation:task:submit': 'Hands in a task.',
  'federation:task:claim': 'Asks for a task that this node can do.',
  'federation:task:started': 'Says that the work on a task has begun.',
  'federation:task:progress': 'Says how far the work on a task is.',
  'federation:task:complete': 'Says that a task is done, and what came of it.',
  'federation:task:fail': 'Says that a task could not be done here.',
  'federation:message': 'A message: to the hub, for somebody; from the hub, for this node.',
  'federation:message:ack': 'Says that this node has all of its mail up to a position.',
  'federation:message:read': 'Says that messages were read.',
  'federation:message:refuse': 'Says that this node will not have a message.',
  'federation:message:state': 'A message of this node expired, or was refused.',
  'federation:file': 'There is a file that this node may fetch.',
  'federation:file:progress': 'How far the bytes of a file are on their way.',
  'federation:channel:join': 'Hears a channel from now on.',
  'federation:channel:leave': 'Hears a channel no more.',
  'federation:ping': 'How long is the way to this node and back?',
  'federation:knowledge:sync': 'Begins a sync of memories, or goes on with one.',
  'federation:knowledge:reconcile': 'A frame of fingerprints, answered by one.',
  'federation:knowledge:pull': 'Asks for versions of memories.',
  'federation:knowledge:push': 'Brings versions of memories.',
  'federation:knowledge:pause': 'Lets a sync rest.',
  'federation:knowledge:end': 'Says what came of a sync.',
  'federation:knowledge:withdrawn': 'Says what became of copies that were to go.',
  'federation:knowledge:offer': 'Somebody would have this node sync now.',
  'federation:knowledge:progress': 'How far a sync of this node is.',
  'federation:knowledge:withdraw': 'Copies that no rule allows any more are to go.',
  'federation:p2p:roster': 'The newest roster of members: asked for; or the news that there is another.',
  'federation:p2p:return': 'Hands in what nodes said among themselves while the hub was silent.',
  'federation:models': 'Says which models this node has.',
  'federation:task:assigned': 'A task for this node to do.',
  'federation:task:cancelled': 'A task is not this node’s any more.',
  'federation:task:finished': 'A task that this node handed in is over.',
  'federation:request': 'A part of a routed call to a service of this node.',
  'federation:response': 'A part of the answer to a routed call.',
  'federation:event': 'An event that this connection subscribed to.',
  'federation:heartbeat': 'Says that the node lives, and how it is. The answer comes when the reading is in the log.',
  'federation:renew': 'Asks for a new token for this session.',
  'federation:resume': 'Asks for what happened after a position.',
  'federation:leave': 'Says goodbye: the node counts as gone at once.',
  'federation:connected': 'The first packet of a connection: which federation this is, and which protocol it speaks.',
  'federation:node-joined': 'A node registered, or came back.',
  'federation:node-left': 'A node said goodbye, was lost, or was removed.',
  'federation:health-alert': 'A measure of a node crossed a threshold, changed its level, or is well again.',
  'federation:degraded': 'How much this replica puts aside from now on, or that it goes: come back when it says.',
  'federation:revoked': 'This session is over, and trying again would not help.',
  'federation:error': 'A packet sent without an acknowledgement was refused, or the connection is.',
};

export function asyncApi(): object {
  const channels: Record<string, { address: string; summary: string; messages: Record<string, object> }> = {};
  const operations: Record<string, object> = {};
  for (const [name, { packet, ack }] of entries(clientPackets)) {
    const id = idOf(name);
    const messages = {
      packet: message(name, traceable(packet)),
      ack: message(`${name}, done`, ack),
      failure: failureRef,
    };
    channels[id] = { address: name, summary: summaries[name], messages };
    operations[id] = {
      action: 'receive',
      channel: ref('channels', id),
      summary: summaries[name],
      messages: [ref('channels', id, 'messages', 'packet')],
      reply: {
        channel: ref('channels', id),
        messages: [ref('channels', id, 'messages', 'ack'), ref('channels', id, 'messages', 'failure')],
      },
    };
  }
  for (const [name, packet] of entries(hubPackets)) {
    const id = idOf(name);
    // A name that goes both ways is one channel, on which the hub has two operations.
    const both = channels[id];
    const messages = { ...both?.messages, [both ? 'push' : 'packet']: message(name, packet) };
    channels[id] = { address: name, summary: summaries[name], messages };
    operations[both ? `${id}Push` : id] = {
      action: 'send',
      channel: ref('channels', id),
      summary: summaries[name],
      messages: [ref('channels', id, 'messages', both ? 'push' : 'packet')],
    };
  }
  return {
    asyncapi: '3.0.0',
    info: { title: 'Federation Hub', version: String(PROTOCOL_VERSION), description, license: { name: 'MIT' } },
    defaultContentType: 'application/json',
    servers: { local: { host: '127.0.0.1:3002', protocol: 'ws', pathname: '/socket.io/' } },
    channels,
    operations,
    components: {
      messages: { failure: message('The packet was refused, or the hub failed', FailureAck) },
    },
  };
}

const description =
  'Socket.IO packets between nodes and hub, over the WebSocket transport. The address of a channel is the name of the ' +
  'event. A packet is one object and an acknowledgement; the reply of an operation is what the acknowledgement is called ' +
  'with. Packets to the hub are closed: an unknown member is refused. Packets and answers of the hub may grow: overlook ' +
  'what you do not know. The codes of failures are those of errors.md.';

const failureRef = ref('components', 'messages', 'failure');

function message(title: string, schema: TSchema): object {
  return { title, payload: JSON.parse(JSON.stringify(schema)) }; // TypeBox's own marks do not survive JSON
}

/** Any packet to the hub may name the trace that it belongs to. */
function traceable(packet: TSchema): TSchema {
  const { properties } = packet as { properties?: object }; // JSON Schema's own word; every packet is an object
  const traceparent = { type: 'string', description: 'W3C Trace Context; what is none is overlooked' };
  return { ...packet, properties: { ...properties, traceparent } };
}

function ref(...path: string[]): { $ref: string } {
  return { $ref: `#/${path.join('/')}` };
}

/** `federation:node-joined` as `nodeJoined`, `entity:register` as `entityRegister`. */
function idOf(name: string): string {
  return name.replace(/^federation:/, '').replace(/[:-](.)/g, (_, letter: string) => letter.toUpperCase());
}

/** Object.entries that keeps the names' type: the lists hold exactly these. */
function entries<K extends string, V>(list: Readonly<Record<K, V>>): [K, V][] {
  return Object.entries(list) as [K, V][];
}
