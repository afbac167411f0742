/** What nodes said among themselves, as it comes home: which entry has which place of a chain, and how far the chain is home. */
import { type Refusal, refuse } from '../errors.ts';
import type { DomainEvent, EventData } from '../events/catalog.ts';
import { isoTime } from '../kernel.ts';
import { mostTtlSeconds } from '../protocol/messages.ts';
import type { Entry } from '../protocol/p2p.ts';
import type { Aggregate, Decide } from './execute.ts';

export const rosterStream = (rosterId: string): string => `roster-${rosterId}`;
export const chainStream = (nodeId: string, chain: string): string => `p2p-${nodeId}-${chain}`;
/** Of what could not be laid to a chain. No node is called so: whatever nodes call themselves, this is the stream of no chain. */
export const strayStream = (by: string): string => `p2p-stray:${by}`;

export type RosterState = (EventData<'roster.issued'> & { readonly time: string }) | undefined;

export const roster: Aggregate<RosterState> = {
  initial: undefined,
  evolve: (state, event) => (event.type === 'roster.issued' ? { ...event.data, time: event.time } : state),
};

export const issue: Decide<RosterState, EventData<'roster.issued'>, undefined> = (state, data) => ({
  events: state ? [] : [{ type: 'roster.issued', data }],
  reply: undefined,
});

/** What is known of an author at the moment that a roster was made. */
export interface Standing {
  readonly publicKey: string;
  readonly mayAct: boolean;
}

/** What an entry is judged by. Times are milliseconds since 1970. */
export interface Judging {
  readonly now: number;
  readonly federationId: string;
  readonly roster: { readonly issuedAt: number; readonly expiresAt: number } | undefined;
  /** As the roster had it; undefined: it did not name the author. */
  readonly standing: Standing | undefined;
  /** Why the author may say nothing today. */
  readonly today: Refusal | undefined;
  readonly signed: boolean;
  /** Whether the content is there and is what the entry says; true for what has none. */
  readonly contentFits: boolean;
}

/** Whether it is known that the author wrote it: what follows is said of the author, not of whoever brought it. */
export function isOf(entry: Entry, { federationId, roster, standing, signed }: Judging): Refusal | undefined {
  if (entry.federation_id !== federationId) return refuse('signature_invalid', 'the entry is of another federation');
  if (!roster) return refuse('roster_unknown', `there is no roster ${entry.roster_id}`);
  if (!standing) return refuse('not_in_roster', `the roster does not name ${entry.author}`);
  return signed ? undefined : refuse('signature_invalid', 'the author’s key did not sign the entry');
}

/** Why an entry that its author wrote is not taken. */
export function judge(entry: Entry, { roster, standing, today, contentFits }: Judging): Refusal | undefined {
  const time = Date.parse(entry.time);
  if (!(time < roster!.expiresAt)) return refuse('roster_expired', 'it was written when its roster counted no more'); // `isOf` passed
  if (entry.kind === 'message' && !(Date.parse(entry.expires_at) <= time + mostTtlSeconds * 1_000))
    return refuse('invalid_input', 'a message is kept for 30 days at most');
  if (today) return today;
  if (entry.kind === 'message' && !standing!.mayAct) return refuse('forbidden', 'an observer sends no messages');
  return contentFits ? undefined : refuse('content_mismatch', 'the content is not what the entry was written for');
}

/**
 * The entry with the times that count here. Whoever names a roster wrote after it was issued, and before now: a time outside of that is
 * of a clock that is wrong, and becomes the nearer end. How long a message lives stays as it was said.
 */
export function timed<E extends Entry>(entry: E, { now, roster }: Pick<Judging, 'now' | 'roster'>): E {
  const time = Date.parse(entry.time);
  const ms = Math.min(Math.max(time, roster?.issuedAt ?? time), now) - time;
  const later = (moment: string) => isoTime(Date.parse(moment) + ms);
  if (entry.kind !== 'message') return { ...entry, time: later(entry.time) };
  return { ...entry, time: later(entry.time), expires_at: later(entry.expires_at) };
}

/**
 * Why an entry may not take its place because of who brings it. Others than its author bring messages alone, and nothing that they
 * leave out of them does the author harm.
 */
export function isBroughtBadly(entry: Entry, by: string, refusal: Refusal | undefined): Refusal | undefined {
  if (by === entry.author) return undefined;
  if (entry.kind !== 'message') return refuse('forbidden', 'what became of a message is brought by who says it');
  return refusal?.refused === 'content_mismatch' ? refusal : undefined; // it says nothing of the entry
}

/**
 * What is known of the places of a chain. Never changed: what adds to it copies a block, not the whole, so that a chain of thousands of
 * entries that came one by one is read as fast as one that came in pages.
 */
export class Places<Known> {
  readonly #blocks: readonly (readonly (Known | undefined)[])[];

  constructor(blocks: readonly (readonly (Known | undefined)[])[] = []) {
    this.#blocks = blocks;
  }

  get(seq: number): Known | undefined {
    return this.#blocks[Math.floor(seq / blockPlaces)]?.[seq % blockPlaces];
  }

  with(seq: number, known: Known): Places<Known> {
    const blocks = this.#blocks.slice();
    const at = Math.floor(seq / blockPlaces);
    for (let missing = blocks.length; missing <= at; missing++) blocks.push([]);
    const block = blocks[at]!.slice(); // it was made just now, at the latest
    block[seq % blockPlaces] = known;
    blocks[at] = block;
    return new Places(blocks);
  }

  *[Symbol.iterator](): Generator<[number, Known]> {
    for (const [at, block] of this.#blocks.entries())
      for (const [place, known] of block.entries()) if (known !== undefined) yield [at * blockPlaces + place, known];
  }
}

const blockPlaces = 128;

export interface ChainState {
  /** Entries by place. */
  readonly entries: Places<string>;
  readonly refused: Places<{ readonly code: string; readonly reason: string }>;
  readonly through: number;
}

export const chain: Aggregate<ChainState> = {
  initial: { entries: new Places(), refused: new Places(), through: 0 },
  evolve(state, event) {
    switch (event.type) {
      case 'p2p.claimed': {
        const entries = event.data.entries.reduce((known, { seq, entry }) => known.with(seq, entry), state.entries);
        return { ...state, entries };
      }
      case 'p2p.refused': {
        const { seq, entry, code, reason } = event.data;
        if (state.entries.get(seq) !== entry) return state;
        return { ...state, refused: state.refused.with(seq, { code, reason }) };
      }
      case 'p2p.returned':
        return { ...state, through: Math.max(state.through, event.data.through) };
      default:
        return state;
    }
  },
};

export interface Claim {
  readonly seq: number;
  readonly entry: string;
  readonly prev: string | null;
  /** It is the author's, and not taken. */
  readonly refusal: Refusal | undefined;
}

export interface Claiming {
  readonly nodeId: string;
  readonly chain: string;
  readonly by: string;
  /** In the order of their places. */
  readonly claims: readonly Claim[];
}

/** `open`: it has its place, and is to be carried out, unless it was already. */
export type Verdict =
  | { readonly entry: string; readonly seq: number; readonly status: 'open'; readonly known: boolean }
  | {
      readonly entry: string;
      readonly seq: number;
      readonly status: 'refused';
      readonly code: string;
      readonly reason: string;
    };

/** Gives entries their places. Each has its verdict; the first entry at a place keeps it. An author's own come without a gap. */
export const claim: Decide<ChainState, Claiming, { verdicts: Verdict[] }> = (
  state,
  { nodeId, chain: name, by, claims },
) => {
  let { entries } = state;
  const fresh: { seq: number; entry: string }[] = [];
  const events: DomainEvent[] = [];
  const verdicts = claims.map(({ seq, entry, prev, refusal }): Verdict => {
    const said = { node_id: nodeId, chain: name, by, seq, entry };
    const refused = (code: string, reason: string, told = true): Verdict => {
      if (told) events.push({ type: 'p2p.refused', data: { ...said, code, reason: reason.slice(0, 512) } });
      return { entry, seq, status: 'refused', code, reason };
    };
    const there = entries.get(seq);
    if (there === entry) {
      const before = state.refused.get(seq);
      return before ? refused(before.code, before.reason, false) : { entry, seq, status: 'open', known: true };
    }
    const before = seq === 1 ? null : entries.get(seq - 1);
    if (there !== undefined || (before !== undefined && before !== prev))
      return refused('chain_forked', `another entry has the place ${there === undefined ? seq - 1 : seq}`);
    if (by === nodeId && before === undefined) return refused('chain_gap', `entry ${seq - 1} is missing`);
    entries = entries.with(seq, entry);
    fresh.push({ seq, entry });
    return refusal ? refused(refusal.refused, refusal.detail) : { entry, seq, status: 'open', known: false };
  });
  const claimed: DomainEvent = { type: 'p2p.claimed', data: { node_id: nodeId, chain: name, by, entries: fresh } };
  return { events: fresh.length > 0 ? [claimed, ...events] : events, reply: { verdicts } };
};

/** All of the chain up to here is home. */
export const come: Decide<ChainState, { nodeId: string; chain: string; by: string; through: number }, undefined> = (
  state,
  { nodeId, chain: name, by, through },
) => ({
  events:
    through > state.through ? [{ type: 'p2p.returned', data: { node_id: nodeId, chain: name, by, through } }] : [],
  reply: undefined,
});

export const stray: Aggregate<undefined> = { initial: undefined, evolve: () => undefined };

/** Writes down what could not be laid to a chain. */
export const refuseStray: Decide<undefined, EventData<'p2p.refused'>, undefined> = (_state, data) => ({
  events: [{ type: 'p2p.refused', data }],
  reply: undefined,
});
