/** Who did, asked or was refused what, on what, from where, when, and caused by what? One row an event, readings aside. */
import type { EventType, LogEvent } from '../events/catalog.ts';
import { type Projection, projection } from './define.ts';

/** `done`: a change. `refused`: what someone may not. `read`: a sensitive read. `counted`: ordinary reads of one minute. */
export type AuditOutcome = 'done' | 'refused' | 'read' | 'counted';

export interface AuditRow {
  /** The position in 16 digits: the order of keys is the order of the log. */
  id: string;
  position: number;
  time: string;
  /** `node:<id>`, `operator:<prefix>`, `hub`, `anonymous`, or `various` where many were taken together. */
  actor: string;
  /** The type of the event; for refusals and sensitive reads the route or packet. */
  action: string;
  /** See `targets`; '' where there is none. */
  target: string;
  outcome: AuditOutcome;
  /** Of the refusal. */
  code: string | null;
  address: string | null;
  correlation: string;
  causation: string | null;
  event_id: string;
  /** How many refusals or reads it stands for. */
  count: number;
  first_at: string | null;
  last_at: string | null;
}

/** Heartbeats, readings of health and of traffic have no rows here: views of their own count them. */
type AuditedType = Exclude<EventType, 'heartbeat.received' | 'health.measured' | 'messages.counted'>;

const ofNode = ({ data }: { data: { node_id: string } }) => data.node_id;
const ofEntity = ({ data }: { data: { entity_id: string } }) => data.entity_id;
const ofInvite = ({ data }: { data: { invite_id: string } }) => data.invite_id;
const ofTask = ({ data }: { data: { task_id: string } }) => data.task_id;
const ofSubscription = ({ data }: { data: { subscription_id: string } }) => data.subscription_id;
const ofBox = ({ data }: { data: { box: string } }) => data.box;
const ofFile = ({ data }: { data: { file_id: string } }) => data.file_id;
const ofMemory = ({ data }: { data: { memory_id: string } }) => data.memory_id;
const ofSecret = ({ data }: { data: { secret_id: string } }) => data.secret_id;
const ofToken = ({ data }: { data: { prefix: string } }) => data.prefix;
const ofSubject = ({ data }: { data: { subject: string } }) => data.subject;
const ofStream = ({ stream }: { stream: string }) => stream;
const ofTarget = ({ data }: { data: { target: string } }) => data.target;

/** What each event is about: the node, else the one thing it names, else its stream. */
export const targets: { readonly [T in AuditedType]: (event: LogEvent<T>) => string } = {
  'federation.founded': ({ data }) => data.federation_id,
  'governance.mode-changed': ofStream,
  'governance.announced': ({ data }) => data.announcement_id,
  'node.registered': ofNode,
  'node.updated': ofNode,
  'node.role-changed': ofNode,
  'node.key-rotated': ofNode,
  'node.suspected': ofNode,
  'node.cleared': ofNode,
  'node.lost': ofNode,
  'node.left': ofNode,
  'node.returned': ofNode,
  'node.removed': ofNode,
  'key.reserved': ofNode,
  'key.confirmed': ofNode,
  'key.released': ofNode,
  'key.retired': ofNode,
  'session.opened': ofNode,
  'session.renewed': ofNode,
  'session.ended': ofNode,
  'session.revoked': ofNode,
  'operator-token.created': ofToken,
  'operator-token.revoked': ofToken,
  'operator-token.used': ofToken,
  'join.requested': ofNode,
  'join.repeated': ofNode,
  'join.approved': ofNode,
  'join.rejected': ofNode,
  'join.expired': ofNode,
  'invite.created': ofInvite,
  'invite.claimed': ofInvite,
  'invite.used': ofInvite,
  'invite.released': ofInvite,
  'invite.revoked': ofInvite,
  'ban.imposed': ofNode,
  'ban.lifted': ofNode,
  'admin.appointed': ({ data }) => data.admin,
  'admin.dismissed': ({ data }) => data.admin,
  'access.blocked': ofSubject,
  'access.unblocked': ofSubject,
  'access.allowed': ofSubject,
  'access.disallowed': ofSubject,
  'entity.registered': ofEntity,
  'entity.updated': ofEntity,
  'entity.seen': ofEntity,
  'entity.unregistered': ofEntity,
  'limits.set': ofNode,
  'limits.warned': ({ data }) => data.who,
  'degradation.changed': ({ data }) => data.replica,
  'degradation.ordered': ofStream,
  'degradation.order-lifted': ofStream,
  'task.submitted': ofTask,
  'task.assigned': ofTask,
  'task.started': ofTask,
  'task.progressed': ofTask,
  'task.completed': ofTask,
  'task.attempt-failed': ofTask,
  'task.failed': ofTask,
  'task.cancelled': ofTask,
  'task.retried': ofTask,
  'task.callback-delivered': ofTask,
  'task.callback-failed': ofTask,
  'models.declared': ofNode,
  'circuit.opened': ofNode,
  'circuit.closed': ofNode,
  'subscription.created': ofSubscription,
  'subscription.advanced': ofSubscription,
  'subscription.paused': ofSubscription,
  'subscription.resumed': ofSubscription,
  'subscription.deleted': ofSubscription,
  'channel.joined': ({ data }) => data.channel,
  'channel.left': ({ data }) => data.channel,
  'message.sent': ofBox,
  'message.expired': ofBox,
  'message.refused': ofBox,
  'message.read': ofBox,
  'message.received': ofBox,
  'mail.delivered': ofNode,
  'mail.purged': ofStream,
  'roster.issued': ({ data }) => data.roster_id,
  'p2p.claimed': ofNode,
  'p2p.returned': ofNode,
  'p2p.refused': ofNode,
  'file.begun': ofFile,
  'file.stored': ofFile,
  'file.refused': ofFile,
  'file.abandoned': ofFile,
  'file.fetched': ofFile,
  'file.expired': ofFile,
  'file.removed': ofFile,
  'memory.stored': ofMemory,
  'memory.deleted': ofMemory,
  'memory.let-go': ofMemory,
  'sovereignty.declared': ofSubject,
  'knowledge.sync-started': ({ data }) => data.sync_id,
  'knowledge.sync-progressed': ({ data }) => data.sync_id,
  'knowledge.sync-paused': ({ data }) => data.sync_id,
  'knowledge.sync-resumed': ({ data }) => data.sync_id,
  'knowledge.sync-ended': ({ data }) => data.sync_id,
  'knowledge.moved': ({ data }) => data.holder,
  'knowledge.withdrawal-asked': ({ data }) => data.holder,
  'knowledge.withdrawn': ({ data }) => data.holder,
  'peer.joined': ({ data }) => data.peer_id,
  'peer.left': ({ data }) => data.peer_id,
  'peer.synced': ({ data }) => data.peer_id,
  'secret.stored': ofSecret,
  'secret.access-changed': ofSecret,
  'secret.version-destroyed': ofSecret,
  'secret.deleted': ofSecret,
  'secret.used': ofSecret,
  'vault.rotation-asked': ofStream,
  'vault.master-rotated': ofStream,
  'audit.refused': ofTarget,
  'audit.read': ofTarget,
  'audit.reads-counted': () => '',
  'audit.trimmed': ofStream,
  'keyring.rotated': ({ data }) => data.kid,
  'keyring.subject-erased': ofSubject,
  'heartbeat.rolled-up': ofNode,
  'alert.opened': ofNode,
  'alert.changed': ofNode,
  'alert.closed': ofNode,
  'health.rolled-up': ofStream,
  'log.segment-dropped': ofStream,
  'views.rebuild-requested': ofStream,
  'views.rebuilt': ofStream,
};

export const auditLog: Projection<AuditRow> = projection<AuditRow>({
  table: {
    name: 'federation_audit_log',
    key: 'id',
    columns: {
      id: 'text',
      position: 'integer',
      time: 'text',
      actor: 'text',
      action: 'text',
      target: 'text',
      outcome: 'text',
      code: { type: 'text', nullable: true },
      address: { type: 'text', nullable: true },
      correlation: 'text',
      causation: { type: 'text', nullable: true },
      event_id: 'text',
      count: 'integer',
      first_at: { type: 'text', nullable: true },
      last_at: { type: 'text', nullable: true },
    },
    indexes: [
      ['actor', 'id'],
      ['target', 'id'],
      ['action', 'id'],
      ['outcome', 'id'],
      ['address', 'id'],
      ['correlation', 'id'],
    ],
    appendOnly: true,
  },
  version: 1,
  on: Object.fromEntries(
    Object.keys(targets).map((type) => [type, { key: (event: LogEvent) => idOf(event.position), fold: rowOf }]),
  ),
  sweep: {
    'audit.trimmed': ({ data }) => ({ from: idOf(0), to: idOf(data.through) }),
    // Counted reads lie in segments, and go with theirs: a replay could not make their rows.
    'log.segment-dropped': ({ data }) => ({
      from: idOf(data.from),
      to: idOf(data.to),
      only: { column: 'action', value: 'audit.reads-counted' satisfies EventType },
    }),
  },
});

/** The key of the row at a position. */
export function idOf(position: number): string {
  return String(position).padStart(16, '0');
}

function rowOf(_none: AuditRow | undefined, event: LogEvent): AuditRow {
  const { position, time, type, id, meta } = event;
  const target = (targets as Record<string, (event: LogEvent) => string>)[type]!; // the folds are made from its keys
  return {
    id: idOf(position),
    position,
    time,
    actor: clipped(meta.actor),
    action: type,
    target: clipped(target(event)),
    outcome: 'done',
    code: null,
    address: clippedOrNull(addressOf(event)),
    correlation: clipped(meta.correlation),
    causation: clippedOrNull(meta.causation),
    event_id: id,
    count: 1,
    first_at: null,
    last_at: null,
    ...told(event),
  };
}

/** What the audit log's own events say in their data. */
function told(event: LogEvent): Partial<AuditRow> {
  switch (event.type) {
    case 'audit.refused': {
      const { actor, action, code, count, first_at, last_at } = event.data;
      const about = { actor: clipped(actor), action: clipped(action), outcome: 'refused' as const };
      return { ...about, code: clipped(code), count, first_at: clipped(first_at), last_at: clipped(last_at) };
    }
    case 'audit.read':
      return { actor: clipped(event.data.actor), action: clipped(event.data.action), outcome: 'read' };
    case 'audit.reads-counted': {
      const { actor, minute, reads } = event.data;
      return { actor: clipped(actor), outcome: 'counted', count: reads, first_at: clipped(minute) };
    }
    default:
      return {};
  }
}

/** Where it came from: as the door saw it, or as the event itself tells. */
function addressOf({ meta, data }: LogEvent): string | undefined {
  return meta.address ?? ('address' in data && data.address !== '' ? data.address : undefined);
}

/** Of any text at most this much is kept, so that no row is refused for its length. The event has the rest. */
const mostCharacters = 500;

/** Text as rows of the audit log hold it. */
export function clipped(text: string): string {
  return text.length > mostCharacters ? text.slice(0, mostCharacters) : text;
}

function clippedOrNull(text: string | undefined): string | null {
  return text === undefined ? null : clipped(text);
}
