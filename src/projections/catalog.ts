/** Every view of the hub by the name of its table, what follows which event, and the fingerprint that says "these tables, these folds". */
import { createHash } from 'node:crypto';
import type { EventType, LogEvent } from '../events/catalog.ts';
import { accessLists } from './access-lists.ts';
import { admins } from './admins.ts';
import { type AlertRow, alerts } from './alerts.ts';
import { announcements } from './announcements.ts';
import { auditLog } from './audit-log.ts';
import { bans } from './bans.ts';
import { channels } from './channels.ts';
import type { ColumnType, FoldContext, Projection, Sweep, TableSpec } from './define.ts';
import { degradation } from './degradation.ts';
import { entities } from './entities.ts';
import { federation } from './federation.ts';
import { fileFetches } from './file-fetches.ts';
import { files } from './files.ts';
import { healthHours } from './health-hours.ts';
import { heartbeatHours } from './heartbeat-hours.ts';
import { holdings } from './holdings.ts';
import { invites } from './invites.ts';
import { joins } from './joins.ts';
import { keys } from './keys.ts';
import { nodeLimits } from './limits.ts';
import { mailboxes } from './mailboxes.ts';
import { memories } from './memories.ts';
import { memoryVersions } from './memory-versions.ts';
import { messageReceipts } from './message-receipts.ts';
import { messages } from './messages.ts';
import { models } from './models.ts';
import { newestRoster } from './newest-roster.ts';
import { nodes } from './nodes.ts';
import { openTasks } from './open-tasks.ts';
import { operatorTokens } from './operator-tokens.ts';
import { peers } from './peers.ts';
import { secrets } from './secrets.ts';
import { segments } from './segments.ts';
import { sessions } from './sessions.ts';
import { sovereignty } from './sovereignty.ts';
import { subscriptions } from './subscriptions.ts';
import { syncs } from './syncs.ts';
import { tasks } from './tasks.ts';
import { traffic } from './traffic.ts';

export const projections = {
  federation_nodes: nodes,
  federation_keys: keys,
  federation_sessions: sessions,
  federation_alerts: alerts,
  federation_health_hours: healthHours,
  federation_heartbeat_hours: heartbeatHours,
  federation_operator_tokens: operatorTokens,
  federation_governance: federation,
  federation_announcements: announcements,
  federation_join_requests: joins,
  federation_invites: invites,
  federation_bans: bans,
  federation_admins: admins,
  federation_access_lists: accessLists,
  federation_entities: entities,
  federation_limits: nodeLimits,
  federation_degradation: degradation,
  federation_tasks: tasks,
  federation_tasks_open: openTasks,
  federation_models: models,
  federation_subscriptions: subscriptions,
  federation_channels: channels,
  federation_mailboxes: mailboxes,
  federation_messages: messages,
  federation_message_receipts: messageReceipts,
  federation_traffic: traffic,
  federation_newest_roster: newestRoster,
  federation_files: files,
  federation_file_fetches: fileFetches,
  federation_memories: memories,
  federation_memory_versions: memoryVersions,
  federation_sovereignty: sovereignty,
  federation_holdings: holdings,
  federation_syncs: syncs,
  federation_peers: peers,
  federation_secrets: secrets,
  federation_log_segments_dropped: segments,
  federation_audit_log: auditLog,
} as const;

type RowOf<P> = P extends Projection<infer Row> ? Row : never;

/** The tables that queries see, for Kysely. Values of `json` columns come back parsed when selected under their own name. */
export type ViewTables = { [T in keyof typeof projections]: RowOf<(typeof projections)[T]> } & {
  federation_dead_letters: DeadLetter;
};

/** The events of one stream that one view could not fold: the first that failed, and all after it. */
export interface DeadLetter {
  /** `<view>/<stream>` */
  id: string;
  view: string;
  stream: string;
  /** The event whose fold threw, or whose data could not be read. */
  position: number;
  /** Time of that event. */
  time: string;
  /** At most 500 characters. */
  error: string;
  /** Events parked so far, the first included. */
  events: number;
  last_position: number;
}

export const deadLetterTable: TableSpec = {
  name: 'federation_dead_letters',
  key: 'id',
  columns: {
    id: 'text',
    view: 'text',
    stream: 'text',
    position: 'integer',
    time: 'text',
    error: 'text',
    events: 'integer',
    last_position: 'integer',
  },
};

/** A row of any table, by column. */
export type Row = Record<string, unknown>;

/** A projection whose row and event types are forgotten, so that one loop runs them all. */
export interface AnyProjection {
  readonly table: TableSpec;
  readonly version: number;
  readonly on: Readonly<Partial<Record<EventType, AnyHandler>>>;
  readonly sweep?: Readonly<Partial<Record<EventType, (event: LogEvent) => Sweep>>>;
}

interface AnyHandler {
  key(event: LogEvent, context: FoldContext): string | readonly string[];
  fold(row: Row | undefined, event: LogEvent, context: FoldContext, key: string): Row | undefined | null;
}

/** Forgets the types of a projection. Safe: a fold meets only rows of its own making, and events of the type it is listed under. */
export function anyProjection<R extends object>(projection: Projection<R>): AnyProjection {
  return projection as unknown as AnyProjection;
}

export const allProjections: readonly AnyProjection[] = [
  anyProjection(nodes),
  anyProjection(keys),
  anyProjection(sessions),
  anyProjection<AlertRow>(alerts),
  anyProjection(healthHours),
  anyProjection(heartbeatHours),
  anyProjection(operatorTokens),
  anyProjection(federation),
  anyProjection(announcements),
  anyProjection(joins),
  anyProjection(invites),
  anyProjection(bans),
  anyProjection(admins),
  anyProjection(accessLists),
  anyProjection(entities),
  anyProjection(nodeLimits),
  anyProjection(degradation),
  anyProjection(tasks),
  anyProjection(openTasks),
  anyProjection(models),
  anyProjection(subscriptions),
  anyProjection(channels),
  anyProjection(mailboxes),
  anyProjection(messages),
  anyProjection(messageReceipts),
  anyProjection(traffic),
  anyProjection(newestRoster),
  anyProjection(files),
  anyProjection(fileFetches),
  anyProjection(memories),
  anyProjection(memoryVersions),
  anyProjection(sovereignty),
  anyProjection(holdings),
  anyProjection(syncs),
  anyProjection(peers),
  anyProjection(secrets),
  anyProjection(segments),
  anyProjection(auditLog),
];

/** Tables of one generation of views: one a projection, and the dead letters. */
export function tablesOf(views: readonly AnyProjection[]): readonly TableSpec[] {
  return [...views.map((view) => view.table), deadLetterTable];
}

/** SHA-256 over tables and versions, hex: when it changes, the views are rebuilt. */
export function fingerprintOf(views: readonly AnyProjection[]): string {
  const text = JSON.stringify([deadLetterTable, ...views.map(({ table, version }) => [table, version])]);
  return createHash('sha256').update(text).digest('hex');
}

/** Type and nullability of a column, however it was declared. */
export function columnOf(table: TableSpec, name: string): { type: ColumnType; nullable: boolean } {
  const column = table.columns[name]!;
  return typeof column === 'string'
    ? { type: column, nullable: false }
    : { type: column.type, nullable: column.nullable === true };
}

/** Names of columns that hold JSON in any view. Throws (a defect) where a name is JSON in one table and not in another. */
export function jsonColumns(views: readonly AnyProjection[]): ReadonlySet<string> {
  const json = new Set<string>();
  const plain = new Set<string>();
  for (const table of tablesOf(views)) {
    for (const name of Object.keys(table.columns)) (columnOf(table, name).type === 'json' ? json : plain).add(name);
  }
  for (const name of json)
    if (plain.has(name)) throw new TypeError(`column ${name} is JSON in one view and not in another`);
  return json;
}
