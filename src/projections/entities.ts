/** Which entities are there, whose are they, and what can they do? */
import type { ExpressionBuilder, Kysely } from 'kysely';
import type { EntityKind, EntityProfile } from '../events/entity.ts';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

export interface EntityRow {
  entity_id: string;
  kind: EntityKind;
  /** The node it belongs to; null for one that an operator registered. */
  node_id: string | null;
  display_name: string | null;
  capabilities: string[];
  /** Everything that is said of it. */
  profile: EntityProfile;
  /** Id, display name and description as they are searched; see `searched`. */
  search_text: string;
  registered_at: string;
  registered_position: number;
  updated_at: string;
  /** When its owner last did something about it. */
  last_seen: string;
}

export const entities = projection<EntityRow>({
  table: {
    name: 'federation_entities',
    key: 'entity_id',
    columns: {
      entity_id: 'text',
      kind: 'text',
      node_id: { type: 'text', nullable: true },
      display_name: { type: 'text', nullable: true },
      capabilities: 'json',
      profile: 'json',
      search_text: 'text',
      registered_at: 'text',
      registered_position: 'integer',
      updated_at: 'text',
      last_seen: 'text',
    },
    indexes: [['node_id'], ['kind'], ['registered_at']],
  },
  version: 1,
  on: {
    'entity.registered': {
      key: ({ data }) => data.entity_id,
      fold: (_row, { data: { entity_id, kind, node_id, profile }, time, position }) => ({
        entity_id,
        kind,
        node_id,
        ...columnsOf(entity_id, profile),
        registered_at: time,
        registered_position: position,
        updated_at: time,
        last_seen: time,
      }),
    },
    'entity.updated': {
      key: ({ data }) => data.entity_id,
      fold: (row, { data, time, meta }) =>
        row && {
          ...row,
          ...columnsOf(data.entity_id, data.profile),
          updated_at: time,
          last_seen: isOwner(row, meta.actor) ? time : row.last_seen,
        },
    },
    'entity.seen': { key: ({ data }) => data.entity_id, fold: (row, { time }) => row && { ...row, last_seen: time } },
    'entity.unregistered': { key: ({ data }) => data.entity_id, fold: () => null },
  },
});

function columnsOf(entityId: string, profile: EntityProfile) {
  const { display_name = null, capabilities = [], description = '' } = profile;
  return {
    display_name,
    capabilities,
    profile,
    search_text: searched([entityId, display_name, description].join('\n')),
  };
}

/** An administrator may change what is not theirs: that says nothing of whether the entity lives. */
function isOwner({ node_id }: EntityRow, actor: string): boolean {
  return node_id === null ? actor.startsWith('operator:') : actor === `node:${node_id}`;
}

/**
 * Text as it is searched, without regard to capitals. Made here and not by the databases, whose ideas of capitals differ.
 * Capitals, not small letters: only they are one for ß and ss, and for all three sigmas.
 */
function searched(text: string): string {
  return text.normalize('NFKC').toUpperCase().replaceAll('\0', '\u{FFFD}'); // as rows hold it
}

export interface EntityFilter {
  readonly kind?: EntityKind | undefined;
  /** Of this node. */
  readonly node?: string | undefined;
  /** Of no node. */
  readonly external?: true | undefined;
  readonly capability?: string | undefined;
  /** Part of id, display name or description. */
  readonly search?: string | undefined;
}

/** Entities in order of id, after an id ('' for the first), at most `limit`. */
export function findEntities(
  db: Kysely<ViewTables>,
  { kind, node, external, capability, search }: EntityFilter,
  after: string,
  limit: number,
): Promise<EntityRow[]> {
  let query = db.selectFrom('federation_entities').selectAll().where('entity_id', '>', after);
  if (kind !== undefined) query = query.where('kind', '=', kind);
  if (node !== undefined) query = query.where('node_id', '=', node);
  if (external) query = query.where('node_id', 'is', null);
  if (capability !== undefined) {
    const item = JSON.stringify(capability); // in an array it begins after '[' or ',', which within text no bare '"' follows
    query = query.where((build) =>
      build.or([holds(build, 'capabilities', `[${item}`), holds(build, 'capabilities', `,${item}`)]),
    );
  }
  if (search !== undefined) query = query.where((build) => holds(build, 'search_text', searched(search)));
  return query.orderBy('entity_id').limit(limit).execute();
}

export function findEntity(db: Kysely<ViewTables>, entityId: string): Promise<EntityRow | undefined> {
  return db.selectFrom('federation_entities').selectAll().where('entity_id', '=', entityId).executeTakeFirst();
}

/** Whether a column holds this text: the one way that SQLite and PostgreSQL agree on, with no signs of special meaning. */
function holds(
  build: ExpressionBuilder<ViewTables, 'federation_entities'>,
  column: 'capabilities' | 'search_text',
  text: string,
) {
  const without = build.fn<unknown>('replace', [build.ref(column), build.val(text), build.val('')]);
  return build(without, '<>', build.ref(column));
}
