/** The mail of a node as it comes in: each piece once for this process, and acknowledged up to where all of it was handled. */
import type { NodeClock } from './clock.ts';
import { HubRefusal } from './connection.ts';
import { isPassing, retryInMs } from './retry.ts';

/** A message, the end of a task, or what became of a message. */
export interface Piece {
  /** Its place in the log, by which mail comes and is acknowledged. */
  readonly position: number;
  /** What it is about: at one position, the same piece. */
  readonly name: string;
  handled: boolean;
}

export interface MailWindowParts {
  readonly clock: NodeClock;
  /** Tells the hub of the open session that all mail up to here is handled. Rejects with `HubRefusal` or `HubUnreachable`. */
  acknowledge(through: number, timeoutMs?: number): Promise<unknown>;
  trouble(error: Error): void;
  /** There is no room for more: the session is to end, so that the hub sends again in the next what had no room. */
  overflow(): void;
  /** Some mail has waited for seconds to be handled, so that the hub may hold back more. Again and again, for as long as it does. */
  stuck(): void;
}

/** Pieces that are not handled yet; a hub sends at most 256 beyond what was acknowledged. */
const mostUnhandled = 1_000;
/** Pieces that are known again when they come again; of older ones it is known that they came. */
const mostKnown = 4_096;
/** How many are handled, or how long the first of them waits, until they are acknowledged. */
const ackEvery = 64;
const ackAfterMs = 25;
const stuckEveryMs = 5_000;

export class MailWindow {
  readonly #parts: MailWindowParts;
  readonly #known = new Map<number, Piece>();
  /** All mail up to here came, and is not known any more. */
  #forgotten = -1;
  #unhandled = 0;

  // Of the session, or of the next while there is none. Nothing is acknowledged that was not pushed in the same session: a hub
  // that knows less than the one before, after a restore, is not told of positions that are still to come.

  /** Pushed, and after `#through`; by position. */
  #pending: Piece[] = [];
  /** All that was pushed up to here is handled. */
  #through = -1;
  /** The hub knows that. */
  #told = -1;
  /** It is being told of this. */
  #telling = -1;
  /** Handled since it was told. */
  #due = 0;
  #underWay = false;
  #failures = 0;
  #full = false;
  #turn = 0;

  #cancelAck: (() => void) | undefined;
  #cancelStuck: (() => void) | undefined;
  readonly #flushing = new Set<() => void>();

  constructor(parts: MailWindowParts) {
    this.#parts = parts;
  }

  /** Takes a piece that was pushed. Answers it when it is new: it is to be handled; undefined when it came before. */
  take(position: number, name: string): Piece | undefined {
    if (this.#full) return undefined;
    const known = this.#known.get(position);
    if (known?.name === name) this.#pushed(known);
    else if (!known && position <= this.#forgotten) this.#pushed({ position, name, handled: true });
    else if (this.#unhandled >= mostUnhandled) {
      this.#full = true;
      this.#parts.overflow();
    } else {
      const piece = { position, name, handled: false };
      this.#unhandled++;
      this.#remember(piece);
      this.#pushed(piece);
      return piece;
    }
    return undefined;
  }

  /** Whether a piece of this name came lately. */
  knows(name: string): boolean {
    for (const piece of this.#known.values()) if (piece.name === name) return true;
    return false;
  }

  /** The piece need not come again. Twice is harmless. */
  handled(piece: Piece): void {
    if (piece.handled) return;
    piece.handled = true;
    this.#unhandled--;
    this.#advance();
  }

  /** There is a session to acknowledge in. */
  opened(): void {
    this.#failures = 0;
    this.#cancelAck?.();
    this.#cancelAck = undefined;
    void this.#tell();
  }

  /** The session is over: the next hub sends again what was not acknowledged. */
  dropped(): void {
    this.#turn++;
    this.#pending = [];
    this.#through = -1;
    this.#told = -1;
    this.#due = 0;
    this.#underWay = false;
    this.#full = false;
    this.#cancelAck?.();
    this.#cancelAck = undefined;
    this.#flushed();
  }

  /** The log ends at `position`, before what was seen: what comes after it is new. */
  rewind(position: number): void {
    this.#forgotten = Math.min(this.#forgotten, position);
    for (const known of this.#known.keys()) if (known > position) this.#known.delete(known);
  }

  /** Acknowledges at once what is handled; resolves when the hub knows, or after `ms`. */
  async flush(ms: number): Promise<void> {
    void this.#tell();
    if (this.#told >= this.#through) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        cancel();
        this.#flushing.delete(done);
        resolve();
      };
      const cancel = this.#parts.clock.after(ms, done);
      this.#flushing.add(done);
    });
  }

  /** Stops. Answers when the hub knows what is handled, or after `ms`; undefined when it knows already. */
  close(ms: number): Promise<void> | undefined {
    const isToldAll = this.#through <= this.#told;
    const lastWord = isToldAll ? undefined : this.#parts.acknowledge(this.#through, ms).then(nothing, nothing);
    this.dropped();
    this.#cancelStuck?.();
    return lastWord;
  }

  #remember(piece: Piece): void {
    this.#known.set(piece.position, piece);
    for (const [position, { handled }] of this.#known) {
      if (this.#known.size <= mostKnown || !handled) return;
      this.#known.delete(position);
      this.#forgotten = Math.max(this.#forgotten, position);
    }
  }

  #pushed(piece: Piece): void {
    // The hub that pushes it was not told, does not know, or took no word of it: some news come before what they lie behind.
    this.#told = Math.min(this.#told, piece.position - 1);
    this.#telling = Math.min(this.#telling, piece.position - 1);
    if (piece.position > this.#through || !piece.handled) {
      this.#through = Math.min(this.#through, piece.position - 1);
      let at = this.#pending.length;
      while (at > 0 && this.#pending[at - 1]!.position > piece.position) at--; // it lies within
      if (this.#pending[at - 1] !== piece) this.#pending.splice(at, 0, piece);
    }
    this.#advance();
    this.#watch();
  }

  #advance(): void {
    for (let first = this.#pending[0]; first?.handled; first = this.#pending[0]) {
      this.#pending.shift();
      this.#through = first.position;
      this.#due++;
    }
    if (this.#through <= this.#told || this.#underWay) return;
    if (this.#due >= ackEvery && this.#failures === 0) void this.#tell();
    else this.#cancelAck ??= this.#parts.clock.after(ackAfterMs, () => void this.#tell());
  }

  /** One acknowledgement under way at a time: it says all that there is to say. */
  async #tell(): Promise<void> {
    this.#cancelAck?.();
    this.#cancelAck = undefined;
    if (this.#underWay || this.#through <= this.#told) return;
    const [through, turn] = [this.#through, this.#turn];
    this.#telling = through;
    this.#underWay = true;
    this.#due = 0;
    let error: unknown;
    try {
      await this.#parts.acknowledge(through);
    } catch (failure) {
      error = failure;
    }
    if (turn !== this.#turn) return;
    this.#underWay = false;
    if (error !== undefined && isPassing(error)) return this.#tellLater(error);
    if (error !== undefined) this.#parts.trouble(error instanceof Error ? error : new Error(String(error)));
    this.#failures = 0;
    this.#told = Math.max(this.#told, this.#telling); // one that the hub will not have is not said again
    if (this.#told >= this.#through) this.#flushed();
    else if (this.#flushing.size > 0) void this.#tell();
    else this.#advance();
  }

  #tellLater(error: unknown): void {
    const { clock } = this.#parts;
    const asked = error instanceof HubRefusal ? error.retryAfterMs : undefined;
    this.#cancelAck = clock.after(retryInMs(this.#failures++, asked, clock.random()), () => void this.#tell());
  }

  #flushed(): void {
    for (const done of [...this.#flushing]) done();
  }

  #watch(): void {
    const [first] = this.#pending;
    if (this.#cancelStuck || !first) return;
    this.#cancelStuck = this.#parts.clock.after(stuckEveryMs, () => {
      this.#cancelStuck = undefined;
      if (this.#pending[0] === first) this.#parts.stuck();
      this.#watch();
    });
  }
}

function nothing(): void {}
