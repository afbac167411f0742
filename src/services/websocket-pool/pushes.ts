/** What of the log is pushed to the members, as which packet, and how a node gets what it missed. */
import { decode, type EventType, type LogEvent } from '../../events/catalog.ts';
import type { EventLog } from '../../events/log.ts';
import type { Hub } from '../../hub.ts';
import type { HubPacket, HubPacketName } from '../../protocol.ts';
import type { Pool } from './pool.ts';

type Push = { [N in HubPacketName]: { readonly name: N; readonly packet: HubPacket<N> } }[HubPacketName];
/** Who is told what it missed. */
export interface Receiver {
  send<N extends HubPacketName>(name: N, packet: HubPacket<N>): void;
  /** Resolves when what was sent is on its way; false when nobody is there any more. */
  ready(): Promise<boolean>;
  /** Called in the very turn in which nothing is missed any more, so that nothing is pushed in between. */
  met(): void;
}

const pushedTypes = [
  'node.registered',
  'node.returned',
  'node.left',
  'node.lost',
  'node.removed',
  'node.role-changed',
  'entity.registered',
  'entity.unregistered',
  'governance.announced',
  'alert.opened',
  'alert.changed',
  'alert.closed',
  'roster.issued',
] as const satisfies EventType[];

const pageEvents = 500;
/** Packets sent to one connection before it is seen whether they leave; few, as each may be as large as a profile. */
const burst = 16;

/** Follows the log and pushes to this replica's sockets. What is returned stops it. */
export async function pushEvents(hub: Hub, pool: Pool): Promise<() => Promise<void>> {
  const head = await hub.log.head();
  pool.pushed = head;
  const subscription = hub.log.subscribe(
    head,
    ({ events, through }) => {
      for (const recorded of events) {
        const event = decode(recorded);
        const push = pushOf(event);
        if (!push) continue;
        const span = hub.tracing.within(`push ${push.name}`, 'producer', event.meta.traceparent);
        pool.publish(push.name, push.packet);
        span?.end();
      }
      pool.pushed = through;
    },
    { types: pushedTypes },
  );
  return () => subscription.close();
}

/**
 * Sends what happened after a position, in order, as fast as it is read, until it meets what is pushed live. Answers up to
 * where.
 */
export async function replay(
  log: EventLog,
  after: number,
  live: { pushed: number },
  receiver: Receiver,
): Promise<number> {
  let position = after;
  let sent = 0;
  while (position < live.pushed) {
    const page = await log.readAll(position, pageEvents, pushedTypes);
    for (const recorded of page.events) {
      const push = pushOf(decode(recorded));
      if (push) receiver.send(push.name, push.packet);
      if (push && ++sent % burst === 0 && !(await receiver.ready())) return recorded.position;
    }
    position = page.through;
  }
  receiver.met();
  return position;
}

/** The packet that tells of an event; undefined for what is not told. */
function pushOf(event: LogEvent): Push | undefined {
  const { position, time } = event;
  switch (event.type) {
    case 'node.registered': {
      const { node_id, public_key, role, profile } = event.data;
      const node = { node_id, public_key, role, ...profile };
      return { name: 'federation:node-joined', packet: { position, time, node_id, cause: 'registered', node } };
    }
    case 'node.returned':
      return {
        name: 'federation:node-joined',
        packet: { position, time, node_id: event.data.node_id, cause: 'returned' },
      };
    case 'node.left':
    case 'node.lost':
    case 'node.removed': {
      const cause = event.type.slice('node.'.length) as 'left' | 'lost' | 'removed'; // exactly these three cases
      return { name: 'federation:node-left', packet: { position, time, node_id: event.data.node_id, cause } };
    }
    case 'alert.opened':
    case 'alert.changed':
    case 'alert.closed': {
      const status = event.type.slice('alert.'.length) as 'opened' | 'changed' | 'closed'; // exactly these three cases
      return { name: 'federation:health-alert', packet: { position, time, status, ...event.data } };
    }
    case 'node.role-changed':
      return { name: 'federation:role-changed', packet: { position, time, ...event.data } };
    case 'entity.registered': {
      const { entity_id, kind, node_id, profile } = event.data;
      const entity = { entity_id, kind, node_id, ...profile };
      return { name: 'federation:entity-registered', packet: { position, time, entity } };
    }
    case 'entity.unregistered':
      return { name: 'federation:entity-unregistered', packet: { position, time, ...event.data } };
    case 'roster.issued':
      return { name: 'federation:p2p:roster', packet: { position, time, ...event.data } };
    case 'governance.announced':
      return { name: 'federation:announcement', packet: { position, time, ...event.data } };
    default:
      return undefined;
  }
}
