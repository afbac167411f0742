/**
 * The mail of every node, as it lies in the log: what came for it and was not acknowledged. On each replica, in memory, without any
 * content, in the order of the log; so whichever replica a node comes to knows what is owed to it.
 */
import type { LogEvent } from '../../events/catalog.ts';
import type { Address } from '../../events/message.ts';
import { Heap, type Placed } from '../../heap.ts';
import { receiptsKeptMs } from '../../projections/message-receipts.ts';
import { Box } from './box.ts';

/** A piece of mail: a message, the end of a task, or what became of a message that the node itself sent. */
export interface Letter extends Placed {
  /** Of the event. */
  readonly position: number;
  readonly kind: 'message' | 'task' | 'state';
  /** Of a message or the task. */
  readonly name: string;
  /** Where it lay; of what is no message, the mailbox of the node that it is for. */
  readonly box: string;
  /** Whom the sender named. */
  readonly to: Address | undefined;
  /** The actor. */
  readonly from: string;
  readonly bytes: number;
  /** When it expires, milliseconds since 1970; and its position, so that no two are alike. */
  rank: number;
  turn: number;
  place: number;
  /** Mailboxes that it lies in. */
  held: number;
}

/** Who the members are, as this replica knows it: at least as new as the event that is taken. */
export interface Members {
  /** The position of its registration; undefined for one that is no member. */
  since(nodeId: string): number | undefined;
  /** Who hears a channel, and since which position. */
  channel(name: string): Iterable<readonly [nodeId: string, since: number]>;
  all(): Iterable<readonly [nodeId: string, since: number]>;
}

/** How long the end of a task, or what became of a message, is kept for who asked. */
export const keptMs = receiptsKeptMs;

/** A task whose end is mail for whoever handed it in. */
export interface Awaited {
  readonly nodeId: string;
  /** Where it was handed in. */
  readonly position: number;
}

export type MailListener = (nodeId: string, letter: Letter) => void;

export class Mailroom {
  readonly #members: Members;
  readonly #boxes = new Map<string, Box>();
  readonly #awaited = new Map<string, Awaited>();
  /** All that lies in any mailbox, by when it expires: messages, of which the log will say so, and the rest. */
  readonly #messages = new Heap<Letter>();
  readonly #notices = new Heap<Letter>();
  readonly #onLetter: MailListener;
  readonly #onMoved: (nodeId: string) => void;

  /** `onMoved`: something left a mailbox. */
  constructor(members: Members, onLetter: MailListener, onMoved: (nodeId: string) => void) {
    this.#members = members;
    this.#onLetter = onLetter;
    this.#onMoved = onMoved;
  }

  /** The mailbox of a node; an empty one that nobody keeps when there is none. */
  box(nodeId: string): Box {
    return this.#boxes.get(nodeId) ?? new Box();
  }

  /** Nodes that have mail. */
  *waiting(): IterableIterator<[nodeId: string, box: Box]> {
    for (const entry of this.#boxes) if (entry[1].size > 0) yield entry;
  }

  await(taskId: string, awaited: Awaited): void {
    this.#awaited.set(taskId, awaited);
  }

  /** Takes room for a message, until it is seen in the log or `release`d. Answers whose mailboxes have none left. */
  reserve(nodeIds: Iterable<string>, messageId: string, bytes: number): string[] {
    const full: string[] = [];
    for (const nodeId of nodeIds) if (!this.#made(nodeId).reserve(messageId, bytes)) full.push(nodeId);
    return full;
  }

  release(nodeIds: Iterable<string>, messageId: string): void {
    for (const nodeId of nodeIds) this.#boxes.get(nodeId)?.release(messageId);
  }

  /** Who would get a message that lay in this box at this position: not whoever sent it to many. */
  *recipients(
    { box, from, without }: { readonly box: string; readonly from: string; readonly without?: readonly string[] },
    position: number,
  ): IterableIterator<string> {
    if (box.startsWith('node:')) {
      const nodeId = box.slice('node:'.length);
      const since = this.#members.since(nodeId);
      if (since !== undefined && since < position) yield nodeId;
      return;
    }
    const of = box === 'everyone' ? this.#members.all() : this.#members.channel(box.slice('channel:'.length));
    const left = new Set(without);
    for (const [nodeId, since] of of)
      if (since < position && !left.has(nodeId) && from !== `node:${nodeId}`) yield nodeId;
  }

  /** Puts in what lay there before anything was followed; in the order of positions a node. */
  put(nodeId: string, letter: Letter): void {
    const evicted = this.#made(nodeId).put(letter);
    if (!evicted) return;
    for (const old of evicted) this.#left(old);
    if (letter.held++ === 0) this.#heapOf(letter).push(letter);
    this.#onLetter(nodeId, letter);
  }

  delivered(nodeId: string, through: number): void {
    if (this.#members.since(nodeId) === undefined) return; // its last word; it is removed next
    const gone = this.#made(nodeId).deliver(through);
    for (const letter of gone) this.#left(letter);
    if (gone.length > 0) this.#onMoved(nodeId);
  }

  /** What the log says next. */
  take(event: LogEvent): void {
    switch (event.type) {
      case 'message.sent':
        this.#sent(event);
        break;
      case 'message.expired':
        for (const nodeId of this.recipients(event.data, event.data.sent_position))
          this.#remove(nodeId, event.data.sent_position);
        this.#tellSender(event);
        break;
      case 'message.refused':
        this.#remove(event.data.node_id, event.data.sent_position);
        this.#tellSender(event);
        break;
      case 'mail.delivered':
        this.delivered(event.data.node_id, event.data.through);
        break;
      case 'task.submitted':
        this.#submitted(event);
        break;
      case 'task.retried':
        this.#retried(event);
        break;
      case 'task.completed':
      case 'task.failed':
      case 'task.cancelled':
        this.#taskOver(event);
        break;
      case 'node.removed':
        this.#empty(event.data.node_id, event.position, () => true);
        if (this.box(event.data.node_id).idle) this.#boxes.delete(event.data.node_id);
        break;
      case 'channel.left':
        this.#empty(event.data.node_id, event.position, ({ box }) => box === `channel:${event.data.channel}`);
        break;
    }
  }

  /** When the next message expires, milliseconds since 1970. */
  get nextExpiry(): number | undefined {
    return this.#messages.first()?.rank;
  }

  /** Messages whose time is over, with those who did not get them, at most `limit`; they stay until the log says that they expired. */
  expired(now: number, limit: number): { readonly letter: Letter; readonly unreached: readonly string[] }[] {
    const due: Letter[] = [];
    for (let first = this.#messages.first(); first && due.length < limit; first = this.#messages.first()) {
      if (first.rank > now) break;
      this.#messages.remove(first);
      due.push(first);
    }
    for (const letter of due) this.#messages.push(letter);
    return due.map((letter) => ({ letter, unreached: this.holders(letter) }));
  }

  /** Lets go of ends of tasks and states of messages that nobody fetched for long. */
  dropOld(now: number): void {
    for (let first = this.#notices.first(); first && first.rank <= now; first = this.#notices.first())
      this.#remove(first.box.slice('node:'.length), first.position);
  }

  /** In whose mailboxes a message lies. */
  holders(letter: Letter): string[] {
    const { position } = letter;
    return [...this.recipients(letter, position)].filter((nodeId) => this.box(nodeId).has(position));
  }

  #sent({ data, position }: LogEvent<'message.sent'>): void {
    const letter = letterOf(data, position);
    for (const nodeId of this.recipients(data, position)) {
      this.release([nodeId], data.message_id);
      this.put(nodeId, letter);
    }
  }

  #submitted({ data: { task_id, submitter, callback }, position }: LogEvent<'task.submitted'>): void {
    if (callback?.kind === 'socket' && submitter.startsWith('node:'))
      this.await(task_id, { nodeId: submitter.slice('node:'.length), position });
  }

  #taskOver(event: LogEvent<'task.completed' | 'task.failed' | 'task.cancelled'>): void {
    const { task_id } = event.data;
    const awaited = this.#awaited.get(task_id);
    if (!awaited) return;
    this.#awaited.delete(task_id);
    const since = this.#members.since(awaited.nodeId);
    if (since === undefined || since > awaited.position) return; // who has its name now is another
    this.put(awaited.nodeId, noticeOf('task', task_id, awaited.nodeId, event.position, Date.parse(event.time)));
  }

  /** It is tried again: its end was none. The next is awaited by whoever knows where it was handed in. */
  #retried({ data: { task_id, submitter }, position }: LogEvent<'task.retried'>): void {
    const isItsEnd = ({ kind, name }: Letter) => kind === 'task' && name === task_id;
    this.#empty(submitter.slice('node:'.length), position, isItsEnd);
  }

  #tellSender(event: LogEvent<'message.expired' | 'message.refused'>): void {
    const { from, message_id, sent_position } = event.data;
    if (!from.startsWith('node:')) return;
    const sender = from.slice('node:'.length);
    const since = this.#members.since(sender);
    if (since === undefined || since > sent_position) return;
    this.put(sender, noticeOf('state', message_id, sender, event.position, Date.parse(event.time)));
  }

  /** Takes out what came before a position: a page of the log that is given again takes nothing that came later. */
  #empty(nodeId: string, before: number, unwanted: (letter: Letter) => boolean): void {
    for (const letter of this.box(nodeId).all())
      if (letter.position < before && unwanted(letter)) this.#remove(nodeId, letter.position);
  }

  #remove(nodeId: string, position: number): void {
    const letter = this.#boxes.get(nodeId)?.remove(position);
    if (!letter) return;
    this.#left(letter);
    this.#onMoved(nodeId);
  }

  #left(letter: Letter): void {
    if (--letter.held === 0) this.#heapOf(letter).remove(letter);
  }

  #heapOf({ kind }: Letter): Heap<Letter> {
    return kind === 'message' ? this.#messages : this.#notices;
  }

  #made(nodeId: string): Box {
    let box = this.#boxes.get(nodeId);
    if (!box) {
      box = new Box();
      this.#boxes.set(nodeId, box);
    }
    return box;
  }
}

export function letterOf(
  message: { message_id: string; box: string; to: Address; from: string; bytes: number; expires_at: string },
  position: number,
): Letter {
  const { message_id, box, to, from, bytes, expires_at } = message;
  return {
    position,
    kind: 'message',
    name: message_id,
    box,
    to,
    from,
    bytes,
    rank: Date.parse(expires_at),
    turn: position,
    place: 0,
    held: 0,
  };
}

/** The end of a task, or what became of a message; `ms`: when that was. */
export function noticeOf(kind: 'task' | 'state', name: string, nodeId: string, position: number, ms: number): Letter {
  const box = `node:${nodeId}`;
  const rank = ms + keptMs;
  return { position, kind, name, box, to: undefined, from: 'hub', bytes: 0, rank, turn: position, place: 0, held: 0 };
}
