/** Packets between two nodes while the hub is silent. All are closed, and each is answered. */
import { Type } from 'typebox';
import { NodeId } from '../events/node.ts';
import { RosterId } from '../events/p2p.ts';
import { SignedEntry } from './p2p.ts';
import { closed, done, Position } from './shapes.ts';

/** Bytes of a packet between nodes: a sealed content of 256 KiB, and what stands around it. */
export const peerPacketBytes = 512 * 1024;
/** Entries that are passed on in one packet. */
export const mostEnvelopes = 32;
/** Letters of a roster that are handed over at once. */
export const rosterPart = 256 * 1024;

const Nonce = Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' });
const Signature = Type.String({ pattern: '^[A-Za-z0-9_-]{86}$' });
const ChainId = Type.String({ format: 'uuid' });
const Seq = Type.Integer({ minimum: 0 });

/** An entry on its way to one node, with what it says, sealed for it; without that when it is no message, or its time is over. */
export const Envelope = Type.Object({
  ...SignedEntry.properties,
  sealed: Type.Optional(Type.String({ maxLength: 400_000, pattern: '^[A-Za-z0-9_-]*$' })),
  /** Place of the entry before this one in the chain that was for the same node; 0: there was none. */
  after: Seq,
  /** Of its author, over all of this and for whom it is: who carries it changes nothing. */
  envelope_signature: Signature,
});
export type Envelope = Type.Static<typeof Envelope>;

const Envelopes = Type.Array(Envelope, { maxItems: mostEnvelopes });

export const peerPackets = {
  /** The first: who dials whom, and which roster each has. */
  'p2p:hello': {
    packet: closed(
      Type.Object({
        version: Type.Literal(1),
        federation_id: Type.String({ maxLength: 64 }),
        node_id: NodeId,
        to: NodeId,
        nonce: Nonce,
        roster_id: RosterId,
        roster_position: Position,
      }),
    ),
    ack: Type.Object({ ...done, nonce: Nonce, roster_id: RosterId, roster_position: Position, signature: Signature }),
  },
  /** The second: the proof of who dialled. */
  'p2p:prove': { packet: closed(Type.Object({ signature: Signature })), ack: Type.Object(done) },
  /** A part of the roster that the other side has. */
  'p2p:roster': {
    packet: closed(Type.Object({ part: Type.Integer({ minimum: 0, maximum: 64 }) })),
    ack: Type.Object({ ...done, text: Type.String(), parts: Type.Integer({ minimum: 1, maximum: 64 }) }),
  },
  /** Entries of one chain for this node. `have`: it has all that is for it up to there. */
  'p2p:deliver': {
    packet: closed(Type.Object({ author: NodeId, chain: ChainId, envelopes: Envelopes })),
    ack: Type.Object({ ...done, have: Seq, code: Type.Optional(Type.String()) }),
  },
  /** Entries of the sender's chain for a third node. `have`: that node has them; `kept`: this one keeps them until it can hand them on. */
  'p2p:carry': {
    packet: closed(Type.Object({ to: NodeId, chain: ChainId, envelopes: Envelopes })),
    ack: Type.Object({ ...done, have: Type.Optional(Seq), kept: Type.Optional(Seq) }),
  },
} as const;

export type PeerPacketName = keyof typeof peerPackets;
export type PeerPacket<N extends PeerPacketName> = Type.Static<(typeof peerPackets)[N]['packet']>;
export type PeerAck<N extends PeerPacketName> = Type.Static<(typeof peerPackets)[N]['ack']>;
