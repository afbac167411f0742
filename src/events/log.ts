/**
 * The port of the event log: the only truth of a federation.
 *
 * What every backend promises, and `test/log/conformance.ts` checks:
 * - An append is all or nothing, durable before its verdict, and judged against its stream at the moment of writing.
 * - Positions increase in commit order: a reader that remembers the last position it saw misses nothing.
 * - The text of an event comes back byte for byte as it was written.
 * - A verdict is a value. What is thrown is a `Fault`: `overloaded` (queue full, nothing was tried),
 *   `log_full` (nothing was written) or `log_unavailable` (whether it was written is not known).
 *
 * Streams have two classes, told by `streamClass` of the catalogue. *Kept* streams live for ever; their revisions count
 * 0, 1, 2 … without gaps. *Transient* streams (readings: heartbeats, health) take only `any`; their revision is their
 * position, and they lie in segments by range of position that are dropped whole. Decisions rest on kept streams only.
 *
 * What the port is not: it knows no event types, no JSON and no clock. It stores text.
 */

/** What must be true of the stream for an append to be written. A number is the revision of its last event. */
export type Expected = 'any' | 'noStream' | 'exists' | number;

/** An event as text, ready to be written. `id` is a UUID, `time` ISO 8601 in UTC, `data` and `meta` are JSON text. */
export interface NewEvent {
  readonly id: string;
  readonly type: string;
  readonly version: number;
  readonly time: string;
  readonly data: string;
  readonly meta: string;
}

/** An event as it lies in the log. */
export interface Recorded extends NewEvent {
  /** Place in the whole log, from 1. */
  readonly position: number;
  readonly stream: string;
  /** Place in its stream, from 0; for a transient stream, the position. */
  readonly revision: number;
}

/** Makes a command known, in the same transaction as its events, so that asking again gives the same answer. */
export interface CommandRecord {
  /** UUID of the command. */
  readonly id: string;
  /** Hash of what was asked: the same id with another body is another command wearing its name. */
  readonly bodyHash: string;
  /** JSON text of the reply, or null where the reply held a secret that is shown once. */
  readonly reply: string | null;
  /** ISO 8601; records are forgotten seven days later. */
  readonly time: string;
}

export interface StoredCommand extends CommandRecord {
  /** Position of the command's last event. */
  readonly position: number;
}

/** A record of a command as it lies in the log, with all of it: what a backup carries. */
export interface RecordedCommand extends StoredCommand {
  /** Of the command's last event. */
  readonly revision: number;
}

export interface Append {
  readonly stream: string;
  readonly expected: Expected;
  /** At least one. */
  readonly events: readonly NewEvent[];
  readonly command?: CommandRecord;
}

export type Verdict =
  /** `position` and `revision` are those of the last event of the append. */
  | { readonly status: 'written'; readonly position: number; readonly revision: number }
  /** `revision` is that of the stream's last event now, -1 when there is no such stream. */
  | { readonly status: 'conflict'; readonly revision: number }
  /**
   * The command id (then `command` is its record) or, on a kept stream, the id of the first event is in the log already.
   * Judged before `expected`. `position` and `revision` are of the last event that stands there for it.
   */
  | {
      readonly status: 'duplicate';
      readonly position: number;
      readonly revision: number;
      readonly command?: StoredCommand;
    };

/** A page of the whole log. `through` is how far was looked: ask on from there, even when a filter left no events. */
export interface Page {
  readonly events: readonly Recorded[];
  readonly through: number;
}

export interface SubscribeOptions {
  /** Event types wanted; all when absent. */
  readonly types?: readonly string[];
  /** Most events of one batch. Default 1,000. */
  readonly batch?: number;
}

export interface Subscription {
  /** Every event up to here was handed over (or filtered out). */
  readonly position: number;
  /** Resolves when the running batch has returned; nothing is handed over afterwards. */
  close(): Promise<void>;
}

/** Called with one batch at a time, in order; the next waits for the promise. A throw is logged and the batch given again. */
export type OnBatch = (page: Page) => void | Promise<void>;

/** A range of positions whose transient events lie together: `[from, to]`, both included. */
export interface Segment {
  readonly from: number;
  readonly to: number;
  /** No event will be added: the head is beyond `to`. */
  readonly closed: boolean;
}

export interface EventLog {
  /** UUID made when the log was created. Views carry it, so that a restored or swapped log is noticed. */
  readonly id: string;
  /** Positions in one segment; fixed when the log was created. A position's segment starts at `1 + ⌊(p-1)/size⌋·size`. */
  readonly segmentSize: number;
  append(stream: string, expected: Expected, events: readonly NewEvent[], command?: CommandRecord): Promise<Verdict>;
  /** Events of one stream from `from` (a revision) on, in order, at most `limit`. */
  readStream(stream: string, from: number, limit: number): Promise<readonly Recorded[]>;
  /** Events after a position, in order, at most `limit`; of `types` only, when given. Kept and transient merged. */
  readAll(after: number, limit: number, types?: readonly string[]): Promise<Page>;
  /** Position of the last event, 0 for an empty log. */
  head(): Promise<number>;
  findCommand(id: string): Promise<StoredCommand | undefined>;
  /** Records of commands whose events lie at `through` or before, by id from after `after`, at most `limit`. */
  readCommands(through: number, after: string | undefined, limit: number): Promise<readonly RecordedCommand[]>;
  /** Follows the log from after a position, past events first. Survives lost connections and lost wake-ups. */
  subscribe(after: number, onBatch: OnBatch, options?: SubscribeOptions): Subscription;
  /** Segments that still hold transient events, oldest first. */
  segments(): Promise<readonly Segment[]>;
  /** Transient events of the segment that starts at `from`, after a position, in order, at most `limit`. */
  readSegment(from: number, after: number, limit: number): Promise<readonly Recorded[]>;
  /** Drops a closed segment. Doing it twice is harmless. The caller has written down what it held. */
  dropSegment(from: number): Promise<void>;
  /** Forgets command records older than the given ISO time. Returns how many. */
  forgetCommands(before: string): Promise<number>;
  /** Refuses new appends, finishes those under way, closes connections. Twice is harmless. */
  close(): Promise<void>;
}
