/** Packets of the fallback between hub and node: the roster, and what nodes said among themselves when it comes home. */
import { Type } from 'typebox';
import { Address, MessageId } from '../events/message.ts';
import { NodeId, NodeRole, PublicKey } from '../events/node.ts';
import { EntryHash, RosterId } from '../events/p2p.ts';
import { closed, done, Position, Time } from './shapes.ts';

/** Entries of one chain at most. A node begins a new one when all of the one before is home. */
export const mostEntries = 20_000;
/** Entries that come home in one packet, and the bytes of their contents as the packet writes them: text within text. */
export const mostReturned = 64;
export const mostReturnedBytes = 256 * 1024;
/** A roster names so many members, those who joined first. */
export const mostMembers = 10_000;

const Moment = Type.String({
  pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$',
  description: 'ISO 8601 UTC',
});
const ChainId = Type.String({ format: 'uuid', description: 'Of a chain, made by its author' });
/** Ed25519 signature, 64 bytes in base64url without padding. */
const Signature = Type.String({ pattern: '^[A-Za-z0-9_-]{86}$' });
/** 16 bytes in base64url. */
export const Salt = Type.String({ pattern: '^[A-Za-z0-9_-]{22}$' });

const link = {
  federation_id: Type.String({ minLength: 1, maxLength: 64 }),
  author: NodeId,
  chain: ChainId,
  /** Place in the chain; the first is 1. */
  seq: Type.Integer({ minimum: 1, maximum: mostEntries }),
  /** Hash of the entry before; null in the first. */
  prev: Type.Union([EntryHash, Type.Null()]),
  time: Moment,
  /** The roster that the author went by. */
  roster_id: RosterId,
};

/** Something said: to a node, or to all. What it says travels beside it, sealed. */
export const MessageEntry = Type.Object({
  ...link,
  kind: Type.Literal('message'),
  to: Type.Union([Type.Object({ node: NodeId }), Type.Object({ everyone: Type.Literal(true) })]),
  /** As in `federation:message`: of two messages of one node under one key, one is sent. */
  key: Type.String({ minLength: 1, maxLength: 255 }),
  content_hash: EntryHash,
  /** Of the content as JSON. */
  bytes: Type.Integer({ minimum: 0, maximum: 256 * 1024 }),
  expires_at: Moment,
  correlation_id: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
  reply_to: Type.Optional(Address),
});
export type MessageEntry = Type.Static<typeof MessageEntry>;

/** What became of a message at its recipient: handled, read, or refused. */
export const ReceiptEntry = Type.Object({
  ...link,
  kind: Type.Union([Type.Literal('receipt'), Type.Literal('read'), Type.Literal('refusal')]),
  /** The entry that it is of, who wrote that, and its message. */
  of: EntryHash,
  from: NodeId,
  message_id: MessageId,
  reason: Type.Optional(Type.String({ minLength: 1, maxLength: 512 })),
});
export type ReceiptEntry = Type.Static<typeof ReceiptEntry>;

export const Entry = Type.Union([MessageEntry, ReceiptEntry]);
export type Entry = MessageEntry | ReceiptEntry;

/** An entry under the signature of its author. */
export const SignedEntry = Type.Object({ entry: Entry, signature: Signature });
export type SignedEntry = Type.Static<typeof SignedEntry>;

/** An entry as it is handed in: with what it says, and what that was hashed with. */
export const ReturnedEntry = Type.Object({
  ...SignedEntry.properties,
  /** As JSON text, just as it was hashed. */
  content: Type.Optional(Type.String({ maxLength: mostReturnedBytes })),
  salt: Type.Optional(Salt),
});
export type ReturnedEntry = Type.Static<typeof ReturnedEntry>;

export const RosterMember = Type.Object({
  node_id: NodeId,
  public_key: PublicKey,
  role: NodeRole,
  /** Where it listens for other nodes; absent: it can only dial. */
  p2p_url: Type.Optional(Type.String()),
});
export type RosterMember = Type.Static<typeof RosterMember>;

/** Who the members are, as the hub signs it. */
export const Roster = Type.Object({
  federation_id: Type.String(),
  roster_id: RosterId,
  issued_at: Time,
  expires_at: Time,
  /** Its place in the log: of two rosters, the one with the higher place counts. */
  position: Position,
  members: Type.Array(RosterMember),
});
export type Roster = Type.Static<typeof Roster>;

/** Public keys of the hub (RFC 7517). */
export const HubKeys = Type.Object({
  keys: Type.Array(Type.Object({ kty: Type.String(), crv: Type.String(), x: Type.String(), kid: Type.String() })),
});
export type HubKeys = Type.Static<typeof HubKeys>;

const Returned = Type.Object({
  entry: EntryHash,
  status: Type.Union([Type.Literal('taken'), Type.Literal('known'), Type.Literal('refused'), Type.Literal('waits')]),
  code: Type.Optional(Type.String()),
  reason: Type.Optional(Type.String()),
});
export type Returned = Type.Static<typeof Returned>;

export const p2pPackets = {
  /** Asks for the newest roster. Of one that is known already, only the keys come. */
  'federation:p2p:roster': {
    service: 'p2p-fallback',
    who: 'node',
    packet: closed(Type.Object({ known: Type.Optional(RosterId) })),
    ack: Type.Object({
      ...done,
      /** A JWS in compact form; null: it is the known one. */
      roster: Type.Union([Type.String(), Type.Null()]),
      keys: HubKeys,
      federation_id: Type.String(),
    }),
  },
  /**
   * Hands in entries: the next of a chain of this node, or what others wrote to it. Without entries it asks where the chain
   * stands. `let_go`: receipts of these entries are of something that the hub will not have; of these messages the node does not
   * wait any longer for a mailbox to have room.
   */
  'federation:p2p:return': {
    service: 'p2p-fallback',
    who: 'node',
    packet: closed(
      Type.Object({
        chain: ChainId,
        entries: Type.Array(ReturnedEntry, { maxItems: mostReturned }),
        let_go: Type.Optional(Type.Array(EntryHash, { maxItems: mostReturned })),
      }),
    ),
    ack: Type.Object({
      ...done,
      results: Type.Array(Returned),
      /** All of the chain up to here is home. */
      through: Type.Integer({ minimum: 0 }),
      /** Entries of others that receipts are of, and that the hub does not know. */
      missing: Type.Array(EntryHash),
      position: Position,
    }),
  },
} as const;

export const p2pPushes = {
  /** There is another roster. */
  'federation:p2p:roster': Type.Object({
    position: Position,
    time: Time,
    roster_id: RosterId,
    issued_at: Time,
    expires_at: Time,
    members: Type.Integer({ minimum: 0 }),
  }),
} as const;
