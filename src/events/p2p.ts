/**
 * Facts of the fallback: rosters, each in the stream `roster-<roster id>`; and what nodes said among themselves while the hub was
 * silent, as it comes home: what is known of a chain lies in `p2p-<author>-<chain>`, what could not be laid to a chain in
 * `p2p-stray:<who handed it in>`. The messages themselves lie where messages lie.
 */
import { Type } from 'typebox';
import { kept } from './define.ts';
import { NodeId } from './node.ts';

export const RosterId = Type.String({ format: 'uuid', description: 'Name of a roster' });
/** SHA-256 in base64url. */
export const EntryHash = Type.String({ pattern: '^[A-Za-z0-9_-]{43}$', description: 'SHA-256 of an entry, base64url' });

const Time = Type.String({ description: 'ISO 8601 UTC' });
const Seq = Type.Integer({ minimum: 1 });
const chain = { node_id: NodeId, chain: Type.String(), by: NodeId };

/** Where a message came from that nodes passed among themselves. */
export const Direct = Type.Object({
  entry: EntryHash,
  chain: Type.String(),
  seq: Seq,
  roster_id: RosterId,
  /** When its author wrote it, by the author's clock: not before the roster was issued, nor after it came home. */
  said_at: Time,
});
export type Direct = Type.Static<typeof Direct>;

export const p2pEvents = {
  /** The members are those of just before this event: so every replica makes the same document of it. */
  'roster.issued': kept(
    Type.Object({
      roster_id: RosterId,
      issued_at: Time,
      expires_at: Time,
      /** As many as it was to name, when it was decided on. */
      members: Type.Integer({ minimum: 0 }),
    }),
  ),
  /** These places of the chain are taken by these entries: another entry at one of them is a fork. */
  'p2p.claimed': kept(
    Type.Object({ ...chain, entries: Type.Array(Type.Object({ seq: Seq, entry: EntryHash }), { maxItems: 64 }) }),
  ),
  /** All of the chain up to here is home. */
  'p2p.returned': kept(Type.Object({ ...chain, through: Seq })),
  /** An entry that was handed in and is not taken. */
  'p2p.refused': kept(
    Type.Object({
      ...chain,
      seq: Seq,
      entry: EntryHash,
      code: Type.String({ maxLength: 64 }),
      reason: Type.String({ maxLength: 512 }),
    }),
  ),
} as const;
