/** Names of what is counted by facts and of what is read at each scrape; the instruments that are told are named in metrics.ts. */
import type { EventType } from '../events/catalog.ts';

/** Facts of one kind that are counted by themselves, by the replica that wrote them; so sums over replicas are right. */
export const factCounters = {
  'session.opened': { name: 'federation_sessions_opened_total', help: 'Sessions that nodes opened at this replica' },
  'circuit.opened': { name: 'federation_circuit_opens_total', help: 'Circuits that this replica opened' },
  'task.submitted': { name: 'federation_tasks_submitted_total', help: 'Tasks that were handed in at this replica' },
  'task.completed': { name: 'federation_tasks_completed_total', help: 'Tasks whose completion this replica wrote' },
  'task.failed': { name: 'federation_tasks_failed_total', help: 'Tasks whose failure for good this replica wrote' },
  'task.cancelled': { name: 'federation_tasks_cancelled_total', help: 'Tasks whose cancellation this replica wrote' },
  'task.retried': { name: 'federation_tasks_retried_total', help: 'Failed tasks that were begun anew on request' },
} as const satisfies Partial<Record<EventType, { name: string; help: string }>>;

/** What is only known when it is asked for. */
export const gauges = {
  build: { name: 'federation_build_info', help: 'Always 1; the version of this replica', labels: ['version'] },
  uptime: { name: 'federation_uptime_seconds', help: 'Since this replica started', labels: [] },
  serviceState: {
    name: 'federation_service_state',
    help: '1 for the state that a service of this replica is in, 0 for the others',
    labels: ['service', 'tier', 'state'],
  },
  logQueue: { name: 'federation_log_queue_depth', help: 'Appends that wait or are being written', labels: [] },
  logHead: { name: 'federation_log_head_position', help: 'Position of the last event of the log', labels: [] },
  logCutOff: {
    name: 'federation_log_unconfirmed_seconds',
    help: 'Since the head of the log was last confirmed; writes are refused beyond 2',
    labels: [],
  },
  connectedNodes: {
    name: 'federation_connected_nodes',
    help: 'Nodes with a live socket at this replica',
    labels: [],
  },
  sockets: { name: 'federation_sockets', help: 'Socket connections of this replica, proven or not', labels: [] },
  nodes: {
    name: 'federation_nodes',
    help: 'Nodes of the federation; every replica tells the same, so take the maximum and no sum',
    labels: ['status'],
  },
  tasks: {
    name: 'federation_tasks',
    help: 'Tasks that are not over; every replica tells the same, so take the maximum and no sum',
    labels: ['status'],
  },
  viewsPosition: { name: 'federation_views_position', help: 'The views hold the log up to here', labels: [] },
  viewsLag: {
    name: 'federation_projection_lag_positions',
    help: 'Positions that the views are behind the log',
    labels: [],
  },
  viewsLagSeconds: {
    name: 'federation_projection_lag_seconds',
    help: 'Age of the oldest event that is not in the views yet; 0 when there is none',
    labels: [],
  },
  projecting: { name: 'federation_projecting', help: '1 at the replica that fills the views', labels: [] },
  deadLetters: { name: 'federation_dead_letters', help: 'Streams that are parked, counted once a view', labels: [] },
  liveRows: { name: 'federation_live_rows', help: 'Rows of the views that are kept in memory', labels: ['view'] },
  degradation: {
    name: 'federation_degradation_level',
    help: 'How much this replica puts aside: 0 normal, 1 reduced, 2 essential, 3 core',
    labels: [],
  },
  places: {
    name: 'federation_door_places',
    help: 'What may be under way at once at the doors, what is, and what waits',
    labels: ['kind'],
  },
  leases: { name: 'federation_lease_held', help: '1 for each duty that this replica holds', labels: ['duty'] },
  saturation: {
    name: 'federation_saturation_ratio',
    help: 'How full what has a bound is at this replica, 0 to 1: beyond 1 comes a refusal, or the end for the heap',
    labels: ['resource'],
  },
  mailWaiting: {
    name: 'federation_mail_waiting',
    help: 'Messages that wait for nodes, once a node; every replica tells the same, so take the maximum and no sum',
    labels: [],
  },
  mailWaitingBytes: { name: 'federation_mail_waiting_bytes', help: 'Of them; likewise', labels: [] },
  mailboxesWaiting: { name: 'federation_mailboxes_waiting', help: 'Nodes that mail waits for; likewise', labels: [] },
  searchPosition: {
    name: 'federation_search_position',
    help: 'The search index holds the log up to here, as far as this replica knows',
    labels: [],
  },
  searchLag: {
    name: 'federation_search_lag_positions',
    help: 'Positions that the index is behind the log',
    labels: [],
  },
  searchFault: {
    name: 'federation_search_fault',
    help: '1 while indexing at this replica gets over a trouble',
    labels: [],
  },
  vaultStuck: {
    name: 'federation_vault_keys_stuck',
    help: 'Keys of secrets that this replica cannot unwrap and a rotation of the master key leaves; 100 at most are counted',
    labels: [],
  },
  auditWaiting: {
    name: 'federation_audit_waiting',
    help: 'Refusals and counts of reads that are not in the log yet',
    labels: [],
  },
  routedCalls: {
    name: 'federation_routed_calls',
    help: 'Calls to nodes that this replica makes and that are under way',
    labels: [],
  },
  openCircuits: {
    name: 'federation_circuits_open',
    help: 'Targets that this replica does not call for a while',
    labels: [],
  },
  jobs: {
    name: 'federation_jobs',
    help: 'Jobs by queue and state; every replica tells the same where they share a store',
    labels: ['queue', 'state'],
  },
} as const satisfies Record<string, { name: string; help: string; labels: readonly string[] }>;

export type GaugeName = keyof typeof gauges;
export type GaugeLabels<Name extends GaugeName> = Readonly<Record<(typeof gauges)[Name]['labels'][number], string>>;
