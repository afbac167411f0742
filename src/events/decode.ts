/**
 * The way out of the log: recorded text becomes an event of the newest version.
 *
 * Reading takes names and versions, not schemas. They stand apart here because the schemas' library is slow to load, and
 * the threads that fold and read views are what a start waits for.
 */
import type { EventType, LogEvent, Meta } from './catalog.ts';
import type { Recorded } from './log.ts';
import { upcast } from './upcasts.ts';

/** The newest version of each event. Raised by one when the shape of its data changes; an upcast comes with it. */
export const versions = {
  'federation.founded': 1,
  'governance.mode-changed': 1,
  'node.registered': 1,
  'governance.announced': 1,
  'node.updated': 1,
  'node.role-changed': 1,
  'node.key-rotated': 1,
  'node.suspected': 1,
  'node.cleared': 1,
  'node.lost': 1,
  'node.left': 1,
  'node.returned': 1,
  'node.removed': 1,
  'key.reserved': 1,
  'key.confirmed': 1,
  'key.released': 1,
  'key.retired': 1,
  'session.opened': 1,
  'session.renewed': 1,
  'session.ended': 1,
  'session.revoked': 1,
  'operator-token.created': 1,
  'operator-token.revoked': 1,
  'operator-token.used': 1,
  'join.requested': 1,
  'join.repeated': 1,
  'join.approved': 1,
  'join.rejected': 1,
  'join.expired': 1,
  'invite.created': 1,
  'invite.claimed': 1,
  'invite.used': 1,
  'invite.released': 1,
  'invite.revoked': 1,
  'ban.imposed': 1,
  'ban.lifted': 1,
  'admin.appointed': 1,
  'admin.dismissed': 1,
  'access.blocked': 1,
  'access.unblocked': 1,
  'access.allowed': 1,
  'access.disallowed': 1,
  'entity.registered': 1,
  'entity.updated': 1,
  'entity.seen': 1,
  'entity.unregistered': 1,
  'limits.set': 1,
  'limits.warned': 1,
  'degradation.changed': 1,
  'degradation.ordered': 1,
  'degradation.order-lifted': 1,
  'task.submitted': 1,
  'task.assigned': 1,
  'task.started': 1,
  'task.progressed': 1,
  'task.completed': 1,
  'task.attempt-failed': 1,
  'task.failed': 1,
  'task.cancelled': 1,
  'task.retried': 1,
  'task.callback-delivered': 1,
  'task.callback-failed': 1,
  'models.declared': 1,
  'circuit.opened': 1,
  'circuit.closed': 1,
  'subscription.created': 1,
  'subscription.advanced': 1,
  'subscription.paused': 1,
  'subscription.resumed': 1,
  'subscription.deleted': 1,
  'channel.joined': 1,
  'channel.left': 1,
  'message.sent': 1,
  'message.expired': 1,
  'message.refused': 1,
  'message.read': 1,
  'message.received': 1,
  'mail.delivered': 1,
  'mail.purged': 1,
  'messages.counted': 1,
  'roster.issued': 1,
  'p2p.claimed': 1,
  'p2p.returned': 1,
  'p2p.refused': 1,
  'file.begun': 1,
  'file.stored': 1,
  'file.refused': 1,
  'file.abandoned': 1,
  'file.fetched': 1,
  'file.expired': 1,
  'file.removed': 1,
  'memory.stored': 1,
  'memory.deleted': 1,
  'memory.let-go': 1,
  'sovereignty.declared': 1,
  'knowledge.sync-started': 1,
  'knowledge.sync-progressed': 1,
  'knowledge.sync-paused': 1,
  'knowledge.sync-resumed': 1,
  'knowledge.sync-ended': 1,
  'knowledge.moved': 1,
  'knowledge.withdrawal-asked': 1,
  'knowledge.withdrawn': 1,
  'peer.joined': 1,
  'peer.left': 1,
  'peer.synced': 1,
  'secret.stored': 1,
  'secret.access-changed': 1,
  'secret.version-destroyed': 1,
  'secret.deleted': 1,
  'secret.used': 1,
  'vault.rotation-asked': 1,
  'vault.master-rotated': 1,
  'audit.refused': 1,
  'audit.read': 1,
  'audit.reads-counted': 1,
  'audit.trimmed': 1,
  'keyring.rotated': 1,
  'keyring.subject-erased': 1,
  'heartbeat.received': 1,
  'heartbeat.rolled-up': 1,
  'alert.opened': 1,
  'alert.changed': 1,
  'alert.closed': 1,
  'health.measured': 1,
  'health.rolled-up': 1,
  'log.segment-dropped': 1,
  'views.rebuild-requested': 1,
  'views.rebuilt': 1,
} as const satisfies Record<EventType, number>;

/** Thrown by `decode` for a type or version that a newer hub wrote: yield, never dead-letter. */
export class NewerEvent extends Error {
  constructor(event: Recorded) {
    super(
      `event ${event.position} is ${event.type} version ${event.version}, which this version of the hub does not know`,
    );
    this.name = 'NewerEvent';
  }
}

/**
 * Reads a recorded event, upcast to the newest version. Throws `NewerEvent`, or a `SyntaxError` for data that is not JSON.
 * Its meta is read when it is first asked for, and throws then: folds do without.
 */
export function decode(recorded: Recorded): LogEvent {
  const version = newestOf(recorded);
  const data: unknown = JSON.parse(recorded.data);
  const newest = recorded.version === version ? data : upcast(recorded.type, recorded.version, version, data);
  return new Decoded(recorded, newest) as LogEvent; // the log holds only what `encode` let in, and upcasts keep to the newest schema
}

/** The newest version of a recorded event's type. Throws `NewerEvent` when the type or its version is not known here. */
export function newestOf(recorded: Recorded): number {
  const version: number | undefined = versions[recorded.type as EventType]; // undefined for a type that is not known here
  if (version === undefined || recorded.version > version) throw new NewerEvent(recorded);
  return version;
}

class Decoded {
  readonly type: string;
  readonly data: unknown;
  readonly position: number;
  readonly stream: string;
  readonly revision: number;
  readonly id: string;
  readonly time: string;
  #meta: string | Meta;

  constructor({ type, position, stream, revision, id, time, meta }: Recorded, data: unknown) {
    this.type = type;
    this.data = data;
    this.position = position;
    this.stream = stream;
    this.revision = revision;
    this.id = id;
    this.time = time;
    this.#meta = meta;
  }

  get meta(): Meta {
    if (typeof this.#meta === 'string') this.#meta = JSON.parse(this.#meta) as Meta; // as `execute` wrote it
    return this.#meta;
  }
}
