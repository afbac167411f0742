/** Who came last? Nodes and entities that are there now, the newest first. */
import type { Kysely } from 'kysely';
import type { ViewTables } from './catalog.ts';

export interface Join {
  readonly kind: 'node' | 'entity';
  /** Of the node or entity. */
  readonly id: string;
  /** The node itself, or the one an entity belongs to; null for an entity of the operators. */
  readonly node_id: string | null;
  readonly display_name: string | null;
  readonly joined_at: string;
}

/** Where a page ended. */
export type JoinPlace = Pick<Join, 'kind' | 'id' | 'joined_at'>;

/** The newest first, of one moment entities before nodes and then by id; after a place, at most `limit`. */
export async function findNewestJoins(
  db: Kysely<ViewTables>,
  after: JoinPlace | undefined,
  limit: number,
): Promise<Join[]> {
  const [entities, nodes] = await Promise.all([
    db
      .selectFrom('federation_entities')
      .select(['entity_id as id', 'node_id', 'display_name', 'registered_at as joined_at'])
      .$if(after !== undefined, (query) =>
        query.where((build) => {
          const { joined_at, kind, id } = after!; // as the line above says
          const older = build('registered_at', '<', joined_at);
          if (kind === 'node') return older;
          return build.or([older, build.and([build('registered_at', '=', joined_at), build('entity_id', '>', id)])]);
        }),
      )
      .orderBy('registered_at', 'desc')
      .orderBy('entity_id')
      .limit(limit)
      .execute(),
    db
      .selectFrom('federation_nodes')
      .select(['node_id as id', 'node_id', 'display_name', 'registered_at as joined_at'])
      .$if(after !== undefined, (query) =>
        query.where((build) => {
          const { joined_at, kind, id } = after!; // as the line above says
          const same = build('registered_at', '=', joined_at);
          const later = kind === 'entity' ? same : build.and([same, build('node_id', '>', id)]);
          return build.or([build('registered_at', '<', joined_at), later]);
        }),
      )
      .orderBy('registered_at', 'desc')
      .orderBy('node_id')
      .limit(limit)
      .execute(),
  ]);
  const all: Join[] = [
    ...entities.map((row) => ({ kind: 'entity' as const, ...row })),
    ...nodes.map((row) => ({ kind: 'node' as const, ...row })),
  ];
  // Entities come first and each list is in order: a sort that keeps the order of equals needs the moments alone.
  return all.sort((a, b) => (a.joined_at < b.joined_at ? 1 : a.joined_at > b.joined_at ? -1 : 0)).slice(0, limit);
}
