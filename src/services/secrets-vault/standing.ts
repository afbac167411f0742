/** Who may do what with a secret, as it is at this moment. Names that somebody else took since are not meant. */
import type { SecretAccess } from '../../commands/secret.ts';
import type { Identity } from '../../doors.ts';
import { type Refusal, refuse } from '../../errors.ts';
import type { SecretParties } from '../../events/secret.ts';
import type { Hub } from '../../hub.ts';
import type { SecretRow } from '../../projections/secrets.ts';
import { may } from '../../rights.ts';

export interface Standing {
  /** The identity with the role of this moment. */
  readonly identity: Identity;
  /** May change access, destroy and delete: the owner, and who governs. */
  readonly manages: boolean;
  /** What lets them read and write; undefined: nothing does. */
  readonly reads: string | undefined;
  readonly writes: string | undefined;
}

type Known = Pick<Hub, 'live' | 'doors' | 'log'>;

/**
 * What this replica must have read before it judges: everything that was written before it was asked, so that a ban, a removal, a
 * role, a grant or a token that was changed at another replica counts at once. Throws a `Fault` when that takes too long.
 */
export async function caughtUp({ live, log }: Known): Promise<void> {
  const head = await log.head();
  // They read the log together; the slowest of those that are asked here.
  const { secrets, nodes, entities, bans, access, sessions, operatorTokens } = live;
  const asked = [secrets, nodes, entities, bans, access, sessions, operatorTokens];
  await Promise.all(asked.map((map) => map.waitFor(head)));
}

/**
 * Who asks, as they are whenever that is asked: this replica reads first what was written before. Refuses what the doors refuse, and
 * `unauthenticated` when what was shown at the door counts no more.
 */
export function whoAsks(known: Known, identity: Identity): () => Promise<Identity | Refusal> {
  const shown = proofOf(known, identity);
  return async () => {
    await caughtUp(known);
    const role = identity.kind === 'node' ? known.live.nodes.get(identity.nodeId)?.role : undefined;
    const now = identity.kind === 'node' ? { ...identity, role: role ?? 'observer' } : identity;
    const refused = known.doors.judge(now);
    if (refused) return refused;
    const proof = proofOf(known, identity);
    return proof !== undefined && proof === shown ? now : refuse('unauthenticated', 'the token counts no more');
  };
}

/** What a token is good by: of a node its key, and when all its sessions were ended last. Undefined: it is not good. */
function proofOf({ live }: Known, identity: Identity): string | undefined {
  switch (identity.kind) {
    case 'anonymous':
      return undefined;
    case 'operator':
      return live.operatorTokens.get(identity.prefix)?.revoked_at === null ? identity.prefix : undefined;
    case 'node': {
      const ended = live.sessions.get(`${identity.nodeId}/all`)?.epoch ?? -1;
      const node = live.nodes.get(identity.nodeId);
      return node && `${node.public_key} ${ended}`;
    }
  }
}

/** Of an identity as it is now. */
export function standingOf(known: Known, identity: Identity, row: SecretRow): Standing {
  const owns = isOwner(known, identity, row);
  const governs = may(identity, 'govern');
  const own = owns ? 'owner' : row.node_id === null && governs ? 'operators' : undefined;
  return {
    identity,
    manages: owns || governs,
    reads: own ?? through(known, identity, row.readers, row.granted_position),
    writes: own ?? through(known, identity, row.writers, row.granted_position),
  };
}

/** Whether it is the node's, and of the node that has the name now. */
function isOwner({ live }: Known, identity: Identity, row: SecretRow): boolean {
  if (identity.kind !== 'node' || row.node_id !== identity.nodeId) return false;
  return since({ live }, identity.nodeId) < row.created_position;
}

/** Since which position a member has its name; infinite for one that is not there. */
export function since({ live }: Pick<Hub, 'live'>, nodeId: string): number {
  return live.nodes.get(nodeId)?.registered_position ?? Number.POSITIVE_INFINITY;
}

/** The parties that are still those that were meant: what is shown, and said anew, names no others. */
export function meant(known: Known, parties: SecretParties, granted: number): SecretParties {
  const nodes = parties.nodes?.filter((node) => since(known, node) < granted);
  const entities = parties.entities?.filter((entity) => entitySince(known, entity) < granted);
  return {
    ...(nodes && nodes.length > 0 && { nodes }),
    ...(entities && entities.length > 0 && { entities }),
    ...(parties.roles && { roles: parties.roles }),
    ...(parties.operators && { operators: parties.operators }),
  };
}

/** Refuses `not_found` for nodes that are no members now, and entities that belong to none: nobody could use what is granted to them. */
export function allThere(known: Known, { readers, writers }: SecretAccess): Refusal | undefined {
  const nodes = [...(readers.nodes ?? []), ...(writers.nodes ?? [])].filter((id) => !known.live.nodes.get(id));
  const entities = [...(readers.entities ?? []), ...(writers.entities ?? [])].filter((id) => !isOfNode(known, id));
  const gone = [...nodes.map((id) => `no node ${id}`), ...entities.map((id) => `no entity ${id} of a node`)];
  return gone.length > 0 ? refuse('not_found', `there is ${[...new Set(gone)].join(', ')}`) : undefined;
}

function through(known: Known, identity: Identity, parties: SecretParties, granted: number): string | undefined {
  if (identity.kind === 'operator') return parties.operators && may(identity, 'govern') ? 'operators' : undefined;
  if (identity.kind !== 'node') return undefined;
  const { nodes = [], entities = [], roles = [] } = meant(known, parties, granted);
  const { nodeId, role } = identity;
  if (!known.live.nodes.get(nodeId)) return undefined;
  if (nodes.includes(nodeId)) return 'node';
  const entity = entities.find((id) => isEntityOf(known, id, nodeId) && !isBlocked(known, id));
  if (entity !== undefined) return `entity:${entity}`;
  return roles.includes(role) ? `role:${role}` : undefined;
}

/** One that a node of the name had before may not be gone yet. */
function isEntityOf(known: Known, entityId: string, nodeId: string): boolean {
  return known.live.entities.get(entityId)?.node_id === nodeId && since(known, nodeId) < entitySince(known, entityId);
}

function isOfNode(known: Known, entityId: string): boolean {
  const nodeId = known.live.entities.get(entityId)?.node_id;
  return nodeId != null && isEntityOf(known, entityId, nodeId);
}

function entitySince({ live }: Known, entityId: string): number {
  return live.entities.get(entityId)?.registered_position ?? Number.POSITIVE_INFINITY;
}

function isBlocked({ live }: Known, entityId: string): boolean {
  return live.access.get(`block/${entityId}`) !== undefined;
}
