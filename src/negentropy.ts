/**
 * Two sides that hold sets of items find out in what they differ, at a cost that follows the difference and not the size.
 *
 * Range-based set reconciliation, on the wire Negentropy v1. Who asks sends fingerprints of ranges; who answers says of
 * each range that differs how its own parts look, or what ids it has there; and so on, until all that differs is named. Only
 * who asks learns the difference, and only who asks remembers anything between messages.
 */
import { type Bound, compareBounds, earlier, infinity, later, origin } from './negentropy/bound.ts';
import { type ItemSet, idBytes } from './negentropy/item-set.ts';
import { BadFrame, type Range, readMessage, version } from './negentropy/read.ts';
import { Frame, leastFrameBytes, type Piece } from './negentropy/write.ts';

export { type Item, ItemSet } from './negentropy/item-set.ts';
export { BadFrame } from './negentropy/read.ts';

/** How large messages get, and how finely ranges are divided. The two sides need not agree on any of it. */
export interface Limits {
  /** Most bytes of a message that is made; of one that is read too, or 65,536 where that is more. From 256; 60,000 if not said. */
  readonly frameBytes?: number;
  /** Into how many parts a range that differs is divided at most. From 2; 16 if not said. */
  readonly branch?: number;
  /** A range of fewer items than this is not divided: its ids are sent. From 2; 12 if not said, so that ids cost what fingerprints do. */
  readonly listBelow?: number;
}

/** What an answer told, and what to ask next. */
export interface Step {
  /** The next message to send; undefined when everything is known. */
  readonly message: Uint8Array | undefined;
  /** Ids of our items that the other side lacks: views of the set, to be read only. At most as many as the set holds. */
  readonly have: Uint8Array[];
  /** Ids that the other side has and we lack. At most one for 32 bytes of the answer. */
  readonly need: Uint8Array[];
}

/** Answers in a row that name no difference. Between honest sides some ten are usual, and a few hundred in the smallest frames. */
const mostQuietAnswers = 1_024;
/** Ranges that wait to be settled: an answer of 60,000 bytes adds 3,000, for each of a handful of levels. */
const mostOpenRanges = 262_144;
/** Ranges that are asked about at least, when answers have no room for more. */
const leastWindow = 16;

/** A range that is asked about, and in which way. */
interface Ask extends Piece {
  readonly form: 'fingerprint' | 'ids';
}

/** A range that is not settled. `divide`: it is known to differ, so its parts will be asked about. */
interface Open extends Piece {
  readonly form: 'fingerprint' | 'ids' | 'divide';
}

/**
 * Who asks. For one reconciliation, alternating strictly: `first`, then `next` for each answer until it gives no message.
 *
 * Every range is settled once, so no id is told twice. Ranges that did not fit into a message wait here. A side that claims
 * ever more ids is stopped by nothing here: count `need`.
 */
export class Initiator {
  readonly #set: ItemSet;
  readonly #limits: Required<Limits>;
  /** Asked about in the last message, in order. */
  #asked: readonly Ask[] = [];
  /** Not settled and not asked about yet, all after what was asked, in order. */
  #open: readonly Open[];
  /** How many ranges a message asks about at most: less when answers had no room for all. */
  #window = Number.POSITIVE_INFINITY;
  #quiet = 0;

  constructor(set: ItemSet, limits: Limits = {}) {
    this.#set = set;
    this.#limits = checked(limits);
    this.#open = [{ lower: origin, upper: infinity, from: 0, to: set.size, form: 'divide' }];
  }

  /** The first message, about all items. */
  first(): Uint8Array {
    return this.#message();
  }

  /** Takes the answer to the last message. Throws BadFrame, and is of no more use then. */
  next(answer: Uint8Array): Step {
    const ranges = readMessage(answer, mostRead(this.#limits));
    if (ranges === 'other_version') throw new BadFrame('The other side does not speak version 1');
    const found = new Findings(this.#set);
    const asked = this.#asked;
    this.#asked = [];
    let first = 0;
    for (const ask of asked) {
      while (compareBounds(ranges[first]!.upper, ask.lower) <= 0) first++; // the last range ends at infinity
      for (let at = first; at < ranges.length && compareBounds(ranges[at]!.lower, ask.upper) < 0; at++) {
        found.take(ranges[at]!, ask);
      }
    }
    this.#pace(asked.length, found);
    this.#open = [...found.open, ...this.#open];
    if (this.#open.length > mostOpenRanges) throw new BadFrame(`More than ${mostOpenRanges} ranges differ at once`);
    const message = this.#open.length === 0 ? undefined : this.#message();
    return { message, have: found.have, need: found.need };
  }

  /** Asks about as many open ranges as fit, from the first on: so the first of them gets smaller with every answer. */
  #message(): Uint8Array {
    const frame = new Frame(this.#limits.frameBytes, false);
    const asked: Ask[] = [];
    let settled = 0;
    let rest: Open | undefined;
    for (const open of this.#open) {
      for (const ask of asksAbout(this.#set, open, this.#limits)) {
        const left = asked.length < this.#window ? put(frame, this.#set, ask) : ask;
        if (left !== ask) asked.push(left ? { ...ask, upper: left.lower, to: left.from } : ask);
        if (left) rest = { ...open, lower: left.lower, from: left.from };
        if (left) break;
      }
      if (rest) break;
      settled++;
    }
    const after = this.#open.slice(rest ? settled + 1 : settled);
    this.#open = rest ? [rest, ...after] : after;
    this.#asked = asked;
    return frame.message();
  }

  /** Asks about fewer ranges after an answer that had no room for all, and about more again when one had. */
  #pace(asked: number, { unanswered, have, need }: Findings): void {
    this.#window = unanswered > 0 ? Math.max(leastWindow, 2 * (asked - unanswered)) : this.#window * 2;
    this.#quiet = have.length + need.length > 0 ? 0 : this.#quiet + 1;
    if (this.#quiet > mostQuietAnswers) throw new BadFrame('The answers lead nowhere');
  }
}

/**
 * Who answers: one message, from the set and the message alone, so that nothing is kept between messages. Throws BadFrame.
 *
 * What it costs is bounded by the bytes of the message and of a frame. A message of another version is answered with ours.
 */
export function answer(set: ItemSet, message: Uint8Array, limits: Limits = {}): Uint8Array {
  const all = checked(limits);
  const ranges = readMessage(message, mostRead(all));
  if (ranges === 'other_version') return Uint8Array.of(version);
  const frame = new Frame(all.frameBytes, true);
  let from = 0;
  for (const range of ranges) {
    const to = set.firstFrom(range.upper, from);
    const left = answerTo(frame, set, range, { lower: range.lower, upper: range.upper, from, to }, all);
    if (left) {
      frame.close(left.lower, set.fingerprint(left.from, set.size));
      break;
    }
    from = to;
  }
  return frame.message();
}

/** Puts into the frame what there is to say to a range; answers what did not fit. */
function answerTo(frame: Frame, set: ItemSet, range: Range, piece: Piece, limits: Required<Limits>): Piece | undefined {
  if (range.mode === 'ids') return frame.ids(set, piece);
  if (range.mode === 'skip' || isSame(range.fingerprint, set.fingerprint(piece.from, piece.to))) return undefined;
  for (const ask of asksAbout(set, { ...piece, form: 'divide' }, limits)) {
    const left = put(frame, set, ask);
    if (left) return left;
  }
  return undefined;
}

/** What one answer says, about the ranges that were asked about. What it says of others is not looked at. */
class Findings {
  readonly #set: ItemSet;
  readonly open: Open[] = [];
  readonly have: Uint8Array[] = [];
  readonly need: Uint8Array[] = [];
  /** How many ranges, or parts of them, the answer had no room for. */
  unanswered = 0;

  constructor(set: ItemSet) {
    this.#set = set;
  }

  take(range: Range, ask: Ask): void {
    if (range.mode === 'skip') return;
    const piece = this.#common(range, ask);
    const isWithin = piece.lower === range.lower && piece.upper === range.upper;
    if (range.mode === 'ids') {
      if (!isWithin) throw new BadFrame('Ids of a range that was not asked about as one');
      this.#settle(piece, range.ids);
    } else if (!isWithin) {
      // One fingerprint over several ranges that were asked about: the frame was full. They are asked about again.
      this.open.push({ ...piece, form: ask.form });
      this.unanswered++;
    } else if (!isSame(range.fingerprint, this.#set.fingerprint(piece.from, piece.to))) {
      this.open.push({ ...piece, form: 'divide' });
    }
  }

  #common(range: Range, ask: Ask): Piece {
    const lower = later(range.lower, ask.lower);
    const upper = earlier(range.upper, ask.upper);
    const from = this.#set.firstFrom(lower, ask.from);
    return { lower, upper, from, to: this.#set.firstFrom(upper, from) };
  }

  #settle({ from, to }: Piece, ids: Uint8Array): void {
    const theirs = new Map<string, Uint8Array>();
    const copy = ids.slice(); // the message is the caller's
    for (let at = 0; at < copy.length; at += idBytes) {
      const id = copy.subarray(at, at + idBytes);
      theirs.set(text(id), id);
    }
    const all = theirs.size === 0;
    for (let place = from; place < to; place++) {
      const id = this.#set.id(place);
      if (all || !theirs.delete(text(id))) this.have.push(id);
    }
    for (const id of theirs.values()) this.need.push(id);
  }
}

/** The ranges to ask about for an open one: itself, or its parts, of as equal numbers of items as can be. */
function* asksAbout(set: ItemSet, open: Open, { branch, listBelow }: Required<Limits>): Generator<Ask> {
  const { form } = open;
  const count = open.to - open.from;
  if (form !== 'divide') yield { ...open, form };
  else if (count < listBelow) yield { ...open, form: 'ids' };
  else {
    const parts = Math.max(2, Math.min(branch, count >>> 1));
    let { lower, from } = open;
    for (let part = 0; part < parts; part++) {
      const isLast = part === parts - 1;
      const to = from + Math.floor(count / parts) + (part < count % parts ? 1 : 0);
      const upper: Bound = isLast ? open.upper : set.boundBefore(to);
      yield { lower, upper, from, to, form: 'fingerprint' };
      [lower, from] = [upper, to];
    }
  }
}

const put = (frame: Frame, set: ItemSet, ask: Ask): Piece | undefined =>
  ask.form === 'ids' ? frame.ids(set, ask) : frame.fingerprint(set, ask);

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, place) => byte === b[place]);
}

/** An id as a key of a map. */
const text = (id: Uint8Array): string => Buffer.from(id.buffer, id.byteOffset, id.length).toString('latin1');

const mostRead = ({ frameBytes }: Required<Limits>): number => Math.max(frameBytes, 65_536);

function checked({ frameBytes = 60_000, branch = 16, listBelow = 12 }: Limits): Required<Limits> {
  if (!(frameBytes >= leastFrameBytes)) throw new RangeError(`A frame of ${frameBytes} bytes is too small`);
  if (!(branch >= 2) || !(listBelow >= 2))
    throw new RangeError('A range is divided in two at least, and by two items at least');
  return { frameBytes, branch, listBelow };
}
