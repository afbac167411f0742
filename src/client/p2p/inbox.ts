/** What comes from other nodes: checked, opened, on disk, and then handed to the program, once and in the order of its author. */

import { Type } from 'typebox';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import { checker } from '../../input.ts';
import { contentHash, entryHash, isEnvelopeSigned, isSigned, messageIdOf } from '../../p2p/entry.ts';
import { type MessageEntry, type ReceiptEntry, type RosterMember, Salt } from '../../protocol/p2p.ts';
import type { Envelope, PeerAck, PeerPacket } from '../../protocol/p2p-peers.ts';
import type { HubPacket } from '../../protocol.ts';
import { type NodeClock, wallClock } from '../clock.ts';
import type { NodeKey } from '../key-file.ts';
import { Lanes } from '../lanes.ts';
import { Allowance, envelopesInSecond } from './allowance.ts';
import type { RosterKeeper } from './roster.ts';
import type { Came, P2pStore } from './store.ts';

export interface InboxParts {
  readonly nodeId: string;
  readonly clock: NodeClock;
  readonly store: P2pStore;
  readonly roster: RosterKeeper;
  key(): Promise<NodeKey>;
  /** The hub handed this message over already. */
  knownFromHub(messageId: string): boolean;
  hand(came: Came): void;
  refused(entry: ReceiptEntry): void;
  trouble(error: Error): void;
}

/** Clocks of two nodes may differ by this. A message that comes so much after its end, by the clock here, is over in any case. */
const skewMs = 5 * 60_000;

/** What is sealed in an envelope. */
const opened = checker(Type.Object({ salt: Salt, content: Type.String() }));
const anything = checker(Type.Object({ value: Type.Unknown() }));

export class Inbox {
  readonly #parts: InboxParts;
  readonly #lanes = new Lanes();
  readonly #allowance: Allowance;

  constructor(parts: InboxParts) {
    this.#parts = parts;
    this.#allowance = new Allowance(parts.clock);
  }

  /** Entries of one author, whoever brings them. Refuses `not_in_roster`, and `rate_limited` when that one brings too many. */
  async take(
    peer: string,
    { author, chain, envelopes }: PeerPacket<'p2p:deliver'>,
  ): Promise<Omit<PeerAck<'p2p:deliver'>, 'ok'> | Refusal> {
    // What it carries counts apart: who floods by way of it takes nothing from what it writes itself.
    const name = author === peer ? `${peer} writes` : `${peer} carries`;
    if (!this.#allowance.take(name, envelopes.length))
      return refuse('rate_limited', `${envelopesInSecond} entries of a node are taken in a second`);
    return this.#lanes.run(author, async () => {
      const { store, roster } = this.#parts;
      const member = roster.valid && roster.member(author);
      if (!member) return refuse('not_in_roster', `the roster here does not name ${author}`);
      for (const envelope of envelopes) {
        const { entry } = envelope;
        const have = store.heard(author, chain);
        if (entry.author !== author || entry.chain !== chain) return { have, code: 'signature_invalid' };
        if (entry.seq <= have) continue;
        if (envelope.after > have) return { have, code: 'chain_gap' };
        const code = await this.#takeOne(envelope, member);
        if (code !== undefined) return { have, code };
      }
      return { have: store.heard(author, chain) };
    });
  }

  /** A message that was kept over a restart, or came just now, as the program gets it. Its time counts from when it came. */
  packetOf({ entry, content, messageId, at }: Came): HubPacket<'federation:message'> {
    const { author, to, correlation_id, reply_to, time } = entry;
    return {
      message_id: messageId,
      from: `node:${author}`,
      to,
      content: JSON.parse(content), // it was, when it came
      ...(correlation_id !== undefined && { correlation_id }),
      ...(reply_to && { reply_to }),
      sent_at: time,
      said_at: time,
      expires_at: new Date(at + ttlMs(entry)).toISOString(),
    };
  }

  /** Answers why it is not taken now; then what comes after it is not either. */
  async #takeOne(envelope: Envelope, member: RosterMember): Promise<string | undefined> {
    const { nodeId, store, trouble, refused } = this.#parts;
    const { entry, signature, after, sealed, envelope_signature } = envelope;
    const hash = entryHash(entry);
    if (!isEnvelopeSigned({ recipient: nodeId, entry: hash, after, sealed }, member.public_key, envelope_signature))
      return 'signature_invalid';
    if (!isSigned({ entry, signature }, member.public_key)) return 'signature_invalid';
    const passed = (why?: string) => {
      if (why !== undefined) trouble(new Error(`entry ${entry.seq} of ${entry.author} was not taken: ${why}`));
      store.setHeard(entry.author, entry.chain, entry.seq);
      return undefined;
    };
    if (entry.kind !== 'message') {
      if (entry.kind === 'refusal' && entry.from === nodeId) refused(entry);
      return passed();
    }
    if (entry.federation_id !== this.#parts.roster.newest?.federation_id) return passed('it is of another federation');
    const isForMe = 'everyone' in entry.to || entry.to.node === nodeId;
    if (!isForMe || member.role === 'observer') return passed('it is not for this node');
    const now = wallClock();
    const isOver = sealed === undefined || !(ttlMs(entry) > 0) || Date.parse(entry.expires_at) + skewMs <= now;
    if (isOver) return passed('its time is over');
    const messageId = messageIdOf(entry.author, entry.key);
    if (this.#parts.knownFromHub(messageId)) return passed();
    const said = await this.#open(envelope, entry, hash);
    if (isRefusal(said)) return passed(said.detail);
    if (this.#parts.knownFromHub(messageId)) return passed(); // while it was opened
    const came = { hash, entry, signature, ...said, messageId, at: now };
    const taken = store.take(came);
    if (taken === undefined) return 'queue_full';
    if (taken) this.#parts.hand(came);
    return undefined;
  }

  async #open(
    { sealed = '' }: Envelope,
    entry: MessageEntry,
    hash: string,
  ): Promise<{ content: string; salt: string } | Refusal> {
    const { nodeId, key } = this.#parts;
    const { open } = await import('../../p2p/seal.ts'); // most nodes have no use for it
    const { agree, publicKey } = await key();
    try {
      const text = await open(sealed, { recipient: nodeId, publicKey, entry: hash }, agree!); // it was asked for when this began
      const said = opened(JSON.parse(text));
      if (isRefusal(said)) return said;
      if (contentHash(said.salt, said.content) !== entry.content_hash)
        return refuse('content_mismatch', 'the content is not what the entry was written for');
      const value = anything({ value: JSON.parse(said.content) });
      return isRefusal(value) ? value : said;
    } catch (error) {
      return refuse('content_mismatch', `it cannot be opened: ${error}`);
    }
  }
}

/** How long it lives, by the clock of its author alone. */
function ttlMs({ time, expires_at }: MessageEntry): number {
  return Date.parse(expires_at) - Date.parse(time);
}
