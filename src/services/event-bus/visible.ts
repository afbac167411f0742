/**
 * Who may see what of the log, one line an event type: a new type does not compile without its own.
 *
 * An event has two views at most. Whoever governs, and the parties of the event, see `full`; the others see `plain` where there is
 * one. Neither holds what is sealed, nor hashes and addresses.
 */
import type { Identity } from '../../doors.ts';
import type { EventData, EventType, LogEvent } from '../../events/catalog.ts';
import { may } from '../../rights.ts';

export type ViewName = 'full' | 'plain';

interface Rule<T extends EventType> {
  /** `all`: whoever may read. `governors`: who governs or audits, and the parties. `nobody`: it would make its own news. */
  readonly to: 'all' | 'governors' | 'nobody';
  /** The data without what never leaves; unsaid: all of it. */
  readonly full?: (data: EventData<T>) => object;
  /** The data for those who neither govern nor are parties; unsaid: as `full`. */
  readonly plain?: (data: EventData<T>) => object;
}

const all = { to: 'all' } as const;
const governors = { to: 'governors' } as const;
const nobody = { to: 'nobody' } as const;

const rules: { readonly [T in EventType]: Rule<T> } = {
  'federation.founded': all,
  'governance.mode-changed': all,
  'governance.announced': all,
  'node.registered': all,
  'node.updated': all,
  'node.role-changed': all,
  'node.key-rotated': all,
  'node.suspected': all,
  'node.cleared': all,
  'node.lost': all,
  'node.left': all,
  'node.returned': all,
  'node.removed': all,
  'key.reserved': governors,
  'key.confirmed': governors,
  'key.released': governors,
  'key.retired': governors,
  'session.opened': { ...governors, full: ({ address: _, ...data }) => data },
  'session.renewed': governors,
  'session.ended': governors,
  'session.revoked': governors,
  'operator-token.created': { ...governors, full: ({ hash: _, ...data }) => data },
  'operator-token.revoked': governors,
  'operator-token.used': { ...governors, full: ({ address: _, ...data }) => data },
  'join.requested': { ...governors, full: ({ address: _, ...data }) => data },
  'join.repeated': { ...governors, full: ({ address: _, ...data }) => data },
  'join.approved': governors,
  'join.rejected': governors,
  'join.expired': governors,
  'invite.created': { ...governors, full: ({ hash: _, ...data }) => data },
  'invite.claimed': governors,
  'invite.used': governors,
  'invite.released': governors,
  'invite.revoked': governors,
  'ban.imposed': governors,
  'ban.lifted': governors,
  'admin.appointed': governors,
  'admin.dismissed': governors,
  'access.blocked': governors,
  'access.unblocked': governors,
  'access.allowed': governors,
  'access.disallowed': governors,
  'entity.registered': all,
  'entity.updated': all,
  'entity.seen': all,
  'entity.unregistered': all,
  'limits.set': governors,
  'limits.warned': governors,
  'degradation.changed': all,
  'degradation.ordered': { ...all, plain: ({ reason: _, ...data }) => data },
  'degradation.order-lifted': all,
  'task.submitted': {
    ...all,
    full: ({ payload, ...data }) => ({ ...data, payload: unsealed(payload) }),
    plain: ({ payload: _payload, file: _file, callback: _callback, ...data }) => data,
  },
  'task.assigned': all,
  'task.started': all,
  'task.progressed': { ...all, plain: ({ message: _, ...data }) => data },
  'task.completed': {
    ...all,
    full: ({ result, ...data }) => ({ ...data, result: unsealed(result) }),
    plain: ({ result: _, ...data }) => data,
  },
  'task.attempt-failed': { ...all, plain: ({ error: _, ...data }) => data },
  'task.failed': { ...all, plain: ({ error: _, ...data }) => data },
  'task.cancelled': { ...all, plain: ({ reason: _, ...data }) => data },
  'task.retried': { ...all, plain: ({ callback: _, ...data }) => data },
  'task.callback-delivered': all,
  'task.callback-failed': { ...all, plain: ({ error: _, ...data }) => data },
  'models.declared': all,
  'circuit.opened': { ...all, plain: ({ error: _, ...data }) => data },
  'circuit.closed': all,
  'subscription.created': governors,
  'subscription.advanced': nobody,
  'subscription.paused': governors,
  'subscription.resumed': governors,
  'subscription.deleted': governors,
  'channel.joined': all,
  'channel.left': all,
  'message.sent': { ...governors, full: ({ content: _, ...data }) => data },
  'message.expired': governors,
  'message.refused': governors,
  'message.read': governors,
  'message.received': governors,
  'mail.delivered': nobody,
  'roster.issued': all,
  'p2p.claimed': governors,
  'p2p.returned': governors,
  'p2p.refused': governors,
  'mail.purged': governors,
  'messages.counted': governors,
  'file.begun': governors,
  'file.stored': governors,
  'file.refused': governors,
  'file.abandoned': governors,
  'file.fetched': governors,
  'file.expired': governors,
  'file.removed': governors,
  'memory.stored': { ...governors, full: ({ content: _, ...data }) => data },
  'memory.deleted': governors,
  'memory.let-go': governors,
  'sovereignty.declared': governors,
  'knowledge.sync-started': governors,
  'knowledge.sync-progressed': governors,
  'knowledge.sync-paused': governors,
  'knowledge.sync-resumed': governors,
  'knowledge.sync-ended': governors,
  'knowledge.moved': governors,
  'knowledge.withdrawal-asked': governors,
  'knowledge.withdrawn': governors,
  'peer.joined': governors,
  'peer.left': governors,
  'peer.synced': governors,
  'secret.stored': { ...governors, full: ({ sealed: _, key_id: _key, ...data }) => data },
  'secret.access-changed': governors,
  'secret.version-destroyed': governors,
  'secret.deleted': governors,
  'secret.used': governors,
  'vault.rotation-asked': governors,
  'vault.master-rotated': governors,
  'audit.refused': { ...governors, full: ({ address: _, ...data }) => data },
  'audit.read': { ...governors, full: ({ address: _, ...data }) => data },
  'audit.reads-counted': governors,
  'audit.trimmed': governors,
  'keyring.rotated': governors,
  'keyring.subject-erased': governors,
  'heartbeat.received': all,
  'heartbeat.rolled-up': all,
  'alert.opened': all,
  'alert.changed': all,
  'alert.closed': all,
  'health.measured': all,
  'health.rolled-up': all,
  'log.segment-dropped': governors,
  'views.rebuild-requested': governors,
  'views.rebuilt': governors,
};

/** Whether events of a type are told to anyone. */
export function isTold(type: EventType): boolean {
  return rules[type].to !== 'nobody';
}

/** Whether it matters who an event belongs to. */
export function hasParties(type: EventType): boolean {
  return type.startsWith('task.') || type.startsWith('subscription.');
}

/** What someone may see of an event; `party`: it is one of the event's own. Undefined: nothing at all. */
export function viewFor(type: EventType, identity: Identity, party: boolean): ViewName | undefined {
  const { to, plain } = rules[type];
  if (to === 'nobody' || !may(identity, 'read')) return undefined;
  const governs = may(identity, 'govern');
  if (to === 'governors') return party || governs || may(identity, 'audit') ? 'full' : undefined;
  return !plain || party || governs ? 'full' : 'plain';
}

/** The data of an event in a view. */
export function dataOf(event: LogEvent, view: ViewName): object {
  const { full, plain } = rules[event.type] as Rule<EventType>; // the rule of this very type
  const data = event.data as EventData<EventType>;
  const show = view === 'plain' ? (plain ?? full) : full;
  return show ? show(data as never) : data; // as above
}

/** Who works on the task that an event is of, and under which lease: it belongs to that node besides its owner. */
export function workerIn({ type, data }: LogEvent): { readonly nodeId: string; readonly lease: number } | undefined {
  if (!type.startsWith('task.') || !('node_id' in data) || !('lease' in data)) return undefined;
  const { node_id: nodeId, lease } = data;
  return typeof nodeId === 'string' && typeof lease === 'number' ? { nodeId, lease } : undefined;
}

/** What is sealed is told of, never handed on: the parties ask for it where it is opened for them. */
function unsealed({ value, sealed }: { value?: unknown; sealed?: unknown }): object {
  return sealed === undefined ? { value } : { sealed: true };
}
