/**
 * Hands one node that is at this replica its mail: in order, as much at a time as it acknowledges. What it does not acknowledge is handed over
 * again, after growing waits; what it may not have is refused on the way. A node that takes no messages hears of the rest all the same.
 */
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { WebsocketPool } from '../websocket-pool.ts';
import type { Box } from './box.ts';
import type { Clearance } from './clearance.ts';
import type { Contents } from './contents.ts';
import type { Letter, Mailroom } from './mailroom.ts';

/** On its way to one node and not acknowledged, at most. A single larger letter goes by itself. */
const mostUnacknowledged = 256;
const mostBytes = 2 * 1024 * 1024;
/** Letters that are opened together. */
const together = 32;
/** A node that says nothing for so long is told again; then after twice as long, and so on. */
const againMs = { first: 30_000, most: 300_000 };
/** Ends of tasks, and what became of messages, go past messages that the node left unacknowledged for so long: so many of them. */
const pastMs = 5_000;
const mostPast = 256;
/** The log or the keyring failed. */
const troubleMs = { first: 1_000, most: 30_000 };

export interface CourierParts {
  readonly room: Mailroom;
  readonly contents: Pick<Contents, 'of'>;
  readonly clearance: Pick<Clearance, 'of'>;
}

export class Courier {
  readonly #hub: Pick<Hub, 'kernel' | 'tracing'>;
  readonly #sockets: Pick<WebsocketPool, 'tell'>;
  readonly #parts: CourierParts;
  readonly #nodeId: string;
  /** What lies up to here was handed over. */
  #sent: number;
  /** The most that `#sent` ever was. */
  #furthest: number;
  #running = false;
  #again = false;
  #closed = false;
  #waitMs = againMs.first;
  #troubleMs = troubleMs.first;
  #timer: Cancel = () => {};
  /** The node took nothing for long, and no more fits: notices go past what waits for it. */
  #stuck = false;
  #stuckTimer: Cancel | undefined;
  /** The last of those that went past. They are handed over again in their turn, and count as handed over only then. */
  #past = 0;

  constructor(
    hub: Pick<Hub, 'kernel' | 'tracing'>,
    sockets: Pick<WebsocketPool, 'tell'>,
    parts: CourierParts,
    nodeId: string,
  ) {
    this.#hub = hub;
    this.#sockets = sockets;
    this.#parts = parts;
    this.#nodeId = nodeId;
    this.#sent = parts.room.box(nodeId).through;
    this.#furthest = this.#sent;
  }

  /** The last position that was handed over: what lies beyond cannot be acknowledged. */
  get furthest(): number {
    return this.#furthest;
  }

  /** There may be something to hand over. */
  kick(): void {
    if (this.#closed) return;
    this.#again = true;
    if (!this.#running) void this.#run();
  }

  /** The node acknowledged something, or something left its mailbox. */
  moved(): void {
    this.#waitMs = againMs.first;
    this.#moves();
    this.#watch();
    this.kick();
  }

  close(): void {
    this.#closed = true;
    this.#moves();
    this.#timer();
  }

  async #run(): Promise<void> {
    this.#running = true;
    try {
      while (this.#again && !this.#closed) {
        this.#again = false;
        await this.#handOver();
      }
      this.#troubleMs = troubleMs.first;
    } catch (error) {
      this.#hub.kernel.log.warn(
        { err: error, nodeId: this.#nodeId },
        'mail could not be handed over; it is tried again',
      );
      this.#later(this.#troubleMs, () => this.kick());
      this.#troubleMs = Math.min(2 * this.#troubleMs, troubleMs.most);
    } finally {
      this.#running = false;
    }
  }

  async #handOver(): Promise<void> {
    for (;;) {
      const box = this.#parts.room.box(this.#nodeId);
      this.#sent = Math.max(this.#sent, box.through);
      const under = box.upTo(this.#sent);
      const letters = fitting(
        box.after(this.#sent, Math.min(together, mostUnacknowledged - under.letters)),
        under.bytes,
        mostBytes,
      );
      if (this.#closed) return;
      if (letters.length === 0) return this.#goPast(box);
      if (!(await this.#push(letters, (position) => this.#passed(position)))) return;
      this.#passed(letters.at(-1)!.position); // there is one; what was not handed over is behind now
      this.#watch();
    }
  }

  /** Nothing more fits: after a while, what is no message goes on. */
  async #goPast(box: Box): Promise<void> {
    if (box.after(this.#sent, 1).length === 0) return;
    if (!this.#stuck) {
      this.#stuckTimer ??= this.#hub.kernel.after(pastMs, () => {
        this.#stuck = true;
        this.kick();
      });
      return;
    }
    const notices = box.noticesAfter(this.#sent, mostPast).filter(({ position }) => position > this.#past);
    await this.#push(notices, (position) => {
      this.#past = position;
    });
  }

  /** False when the node is told nothing now. `passed`: it was told of what lies at this position. */
  async #push(letters: readonly Letter[], passed: (position: number) => void): Promise<boolean> {
    const { contents, clearance } = this.#parts;
    const going = await clearance.of(this.#nodeId, letters);
    for (const { name, position, packet, traceparent } of await contents.of(this.#nodeId, going)) {
      if (this.#closed) return false;
      const span = this.#hub.tracing.within(`push ${name}`, 'producer', traceparent);
      span?.set('federation.node', this.#nodeId);
      const told = this.#sockets.tell(this.#nodeId, name, packet);
      span?.end(told ? undefined : 'target_unreachable');
      if (!told) {
        // Whoever may hear nothing now is asked again: a node is let hear again without coming back.
        this.#later(this.#waitMs, () => this.#repeat());
        return false;
      }
      passed(position);
    }
    return true;
  }

  /** The node takes something again. */
  #moves(): void {
    this.#stuckTimer?.();
    this.#stuckTimer = undefined;
    this.#stuck = false;
  }

  #passed(position: number): void {
    this.#sent = Math.max(this.#sent, position);
    this.#furthest = Math.max(this.#furthest, this.#sent);
  }

  /** While something is not acknowledged, it is handed over again after a while. */
  #watch(): void {
    this.#timer();
    const { letters } = this.#parts.room.box(this.#nodeId).upTo(this.#sent);
    if (letters > 0) this.#later(this.#waitMs, () => this.#repeat());
  }

  /** What is not acknowledged is handed over again. */
  #repeat(): void {
    this.#waitMs = Math.min(2 * this.#waitMs, againMs.most);
    this.#sent = this.#parts.room.box(this.#nodeId).through;
    this.#past = 0;
    this.kick();
  }

  #later(ms: number, then: () => void): void {
    this.#timer();
    if (!this.#closed) this.#timer = this.#hub.kernel.after(ms, then);
  }
}

/** As many as fit beside what is under way; one fits always when nothing is. In bytes. */
export function fitting(letters: readonly Letter[], underWay: number, most: number): Letter[] {
  const fit: Letter[] = [];
  let bytes = underWay;
  for (const letter of letters) {
    bytes += letter.bytes;
    if (bytes > most && bytes > letter.bytes) break;
    fit.push(letter);
  }
  return fit;
}
