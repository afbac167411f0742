/** Which nodes are there, what do they say of themselves, and are they alive? */
import type { ExpressionBuilder, Kysely } from 'kysely';
import type { Reading } from '../events/heartbeat.ts';
import type { NodeProfile, NodeRole } from '../events/node.ts';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

/** `online`: heard. `suspect`: late, in doubt. `offline`: lost or gone. */
export type NodeStatus = 'online' | 'suspect' | 'offline';

export interface NodeRow {
  node_id: string;
  display_name: string | null;
  owner: string | null;
  status: NodeStatus;
  role: NodeRole;
  public_key: string;
  capabilities: string[];
  models: string[];
  /** Everything the node says of itself. */
  profile: NodeProfile;
  /** The newest heartbeat; null before the first. */
  reading: Reading | null;
  registered_at: string;
  /** What happened before is not of this member, but of one that had its name and was removed. */
  registered_position: number;
  /** Since when its role, owner and region are what they are: what rules go by. */
  standing_position: number;
  updated_at: string;
  /** When the status last changed. */
  status_since: string;
  last_heartbeat: string | null;
  heartbeat_position: number;
}

export const nodes = projection<NodeRow>({
  table: {
    name: 'federation_nodes',
    key: 'node_id',
    columns: {
      node_id: 'text',
      display_name: { type: 'text', nullable: true },
      owner: { type: 'text', nullable: true },
      status: 'text',
      role: 'text',
      public_key: 'text',
      capabilities: 'json',
      models: 'json',
      profile: 'json',
      reading: { type: 'json', nullable: true },
      registered_at: 'text',
      registered_position: 'integer',
      standing_position: 'integer',
      updated_at: 'text',
      status_since: 'text',
      last_heartbeat: { type: 'text', nullable: true },
      heartbeat_position: 'integer',
    },
    indexes: [['status'], ['owner']],
  },
  version: 3,
  on: {
    'node.registered': {
      key: (event) => event.data.node_id,
      fold: (_row, { data, time, position }) => ({
        node_id: data.node_id,
        ...columnsOf(data.profile),
        status: 'online',
        role: data.role,
        public_key: data.public_key,
        reading: null,
        registered_at: time,
        registered_position: position,
        standing_position: position,
        updated_at: time,
        status_since: time,
        last_heartbeat: null,
        heartbeat_position: position,
      }),
    },
    'node.role-changed': {
      key: (event) => event.data.node_id,
      fold: (row, { data, time, position }) =>
        row && { ...row, role: data.role, standing_position: position, updated_at: time },
    },
    'node.key-rotated': {
      key: (event) => event.data.node_id,
      fold: (row, { data, time }) => row && { ...row, public_key: data.public_key, updated_at: time },
    },
    'node.updated': {
      key: (event) => event.data.node_id,
      fold: (row, { data: { profile }, time, position }) => {
        if (!row) return row;
        const same = row.owner === (profile.owner ?? null) && regionOf(row.profile) === regionOf(profile);
        const standing_position = same ? row.standing_position : position;
        return { ...row, ...columnsOf(profile), standing_position, updated_at: time };
      },
    },
    'heartbeat.received': {
      key: (event) => event.data.node_id,
      fold: (row, { data: { node_id: _, ...reading }, time, position }) =>
        row && { ...row, reading, last_heartbeat: time, heartbeat_position: position },
    },
    // After a drop this is all that is left of the heartbeats; live, they were folded already and are newer.
    'heartbeat.rolled-up': {
      key: (event) => event.data.node_id,
      fold: (row, { data: { last } }) =>
        row && row.heartbeat_position < last.position
          ? { ...row, reading: last.reading, last_heartbeat: last.time, heartbeat_position: last.position }
          : row,
    },
    'node.suspected': { key: (event) => event.data.node_id, fold: (row, event) => become(row, 'suspect', event.time) },
    'node.cleared': { key: (event) => event.data.node_id, fold: (row, event) => become(row, 'online', event.time) },
    'node.lost': { key: (event) => event.data.node_id, fold: (row, event) => become(row, 'offline', event.time) },
    'node.left': { key: (event) => event.data.node_id, fold: (row, event) => become(row, 'offline', event.time) },
    'node.returned': { key: (event) => event.data.node_id, fold: (row, event) => become(row, 'online', event.time) },
    'node.removed': { key: (event) => event.data.node_id, fold: () => null },
  },
});

function become(row: NodeRow | undefined, status: NodeStatus, since: string): NodeRow | undefined {
  return row && { ...row, status, status_since: since };
}

/** Where it says that it is: the `region` among its labels. */
export function regionOf({ labels }: Pick<NodeProfile, 'labels'>): string | undefined {
  return labels && Object.hasOwn(labels, 'region') ? labels.region : undefined;
}

function columnsOf(profile: NodeProfile) {
  const { display_name = null, owner = null, capabilities = [], models = [] } = profile;
  return { display_name, owner, capabilities, models, profile };
}

export interface NodeFilter {
  readonly status?: NodeStatus | undefined;
  readonly owner?: string | undefined;
  readonly capability?: string | undefined;
  /** Named in the profile or in the newest heartbeat. */
  readonly model?: string | undefined;
}

/** Nodes in order of id, after an id ('' for the first), at most `limit`. */
export function findNodes(
  db: Kysely<ViewTables>,
  filter: NodeFilter,
  after: string,
  limit: number,
): Promise<NodeRow[]> {
  const { status, owner, capability, model } = filter;
  let query = db.selectFrom('federation_nodes').selectAll().where('node_id', '>', after);
  if (status !== undefined) query = query.where('status', '=', status);
  if (owner !== undefined) query = query.where('owner', '=', owner.replaceAll('\0', '\u{FFFD}')); // as rows hold it
  if (capability !== undefined)
    query = query.where((build) => holds(build, 'capabilities', JSON.stringify(capability)));
  if (model !== undefined) {
    const name = JSON.stringify(model);
    query = query.where((build) =>
      build.or([holds(build, 'models', name), holds(build, 'reading', `"model_id":${name}`)]),
    );
  }
  return query.orderBy('node_id').limit(limit).execute();
}

/** Whether the text of a JSON column holds this text: the one way that SQLite and PostgreSQL agree on, capitals included. */
function holds(
  build: ExpressionBuilder<ViewTables, 'federation_nodes'>,
  column: 'capabilities' | 'models' | 'reading',
  text: string,
) {
  const without = build.fn<unknown>('replace', [build.ref(column), build.val(text), build.val('')]);
  return build(without, '<>', build.ref(column));
}
