/** Facts for tests of the views: short ways to make them, and to put them into a log. */
import { randomUUID } from 'node:crypto';
import { type DomainEvent, encode } from '../../src/events/catalog.ts';
import type { EventLog, NewEvent } from '../../src/events/log.ts';

const meta = JSON.stringify({ actor: 'hub', correlation: randomUUID(), replica: 'test' });

/** The stream a fact lies in, as the hub would choose it. */
export function streamOf(event: DomainEvent): string {
  const { type, data } = event;
  const noun = type.slice(0, type.indexOf('.'));
  if (type === 'heartbeat.rolled-up' || type === 'health.rolled-up') return `segment-${data.segment}`;
  if (type === 'log.segment-dropped') return `segment-${data.from}`;
  if (type === 'health.measured') return 'health-federation';
  if (type === 'audit.reads-counted') return 'reads';
  if (noun === 'audit') return 'audit';
  if (type === 'degradation.changed') return `replica-${data.replica}`;
  if (noun === 'degradation') return 'degradation-order';
  if (noun === 'federation' || noun === 'governance') return 'federation';
  if (noun === 'views') return 'views';
  if (type === 'messages.counted') return 'traffic';
  if (type === 'mail.purged') return 'mail';
  if (type === 'mail.delivered') return `mailbox-${data.node_id}`;
  if (type === 'roster.issued') return `roster-${data.roster_id}`;
  if (noun === 'p2p' && 'chain' in data) return `p2p-${data.node_id}-${data.chain}`;
  if ('message_id' in data) return `message-${data.message_id}`;
  if (type === 'file.fetched') return `file-${data.file_id}`;
  if ('file_id' in data) return `files-${data.owner}`;
  if ('memory_id' in data) return `memory-${data.memory_id}`;
  if ('sync_id' in data && 'node_id' in data) return `sync-${data.sync_id}`;
  if ('holder' in data) return `holdings-${data.holder}`;
  if ('peer_id' in data) return `peer-${data.peer_id}`;
  if (noun === 'channel' && 'channel' in data) return `channel-${data.channel}`;
  if (type === 'sovereignty.declared') return `sovereignty-${data.subject}`;
  if (type === 'secret.used') return `secretuse-${data.secret_id}`;
  if ('secret_id' in data) return `secret-${data.secret_id}`;
  if (noun === 'vault') return 'vault';
  if ('task_id' in data) return `task-${data.task_id}`;
  if ('subscription_id' in data) return `subscription-${data.subscription_id}`;
  if ('thumbprint' in data) return `key-${data.thumbprint}`;
  if ('prefix' in data) return `operator-${data.prefix}`;
  return `${noun}-${'node_id' in data ? data.node_id : ''}`;
}

function recorded(event: DomainEvent, time = '2026-03-01T10:00:00.000Z'): NewEvent {
  return encode(event, { id: randomUUID(), time, meta });
}

/** Appends facts one after the other, in one stream at a time where they follow each other. Answers the last position. */
export async function tell(log: EventLog, ...events: DomainEvent[]): Promise<number> {
  let position = 0;
  for (const event of events) {
    const verdict = await log.append(streamOf(event), 'any', [recorded(event)]);
    if (verdict.status === 'conflict') throw new Error('an append without expectations was refused');
    position = verdict.position;
  }
  return position;
}

export const registered = (node_id: string, display_name = node_id): DomainEvent => ({
  type: 'node.registered',
  data: { node_id, public_key: 'A'.repeat(43), role: 'member', profile: { display_name } },
});

export const heartbeat = (node_id: string, cpu_percent = 10): DomainEvent => ({
  type: 'heartbeat.received',
  data: { node_id, resources: { cpu_percent }, active_tasks: 1 },
});
