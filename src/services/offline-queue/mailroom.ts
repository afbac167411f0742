/**
 * The mail of every node, as it lies in the log: what came for it and was not acknowledged. On each replica, in memory, without any
 * content, in the order of the log; so whichever replica a node comes to knows what is owed to it.
 */
import type { LogEvent } from '../../events/catalog.ts';
import type { FileAddress, FileFacts } from '../../events/file.ts';
import type { Address } from '../../events/message.ts';
import { Heap, type Placed } from '../../heap.ts';
import { receiptsKeptMs } from '../../projections/message-receipts.ts';
import { Box } from './box.ts';

/** A piece of mail: a message, the end of a task, what became of a message that the node itself sent, or word of a file. */
export interface Letter extends Placed {
  /** Of the event. */
  readonly position: number;
  readonly kind: 'message' | 'task' | 'state' | 'file';
  /** Of a message, the task or the file. */
  readonly name: string;
  /** Where it lay; of what is no message, the mailbox of the node that it is for. */
  readonly box: string;
  /** Whom the sender named. */
  readonly to: FileAddress | undefined;
  /** The actor. */
  readonly from: string;
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
  /** When the log is to say that it expired, milliseconds since 1970; and its position, so that no two are alike. */
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
  /** Who has a role now. */
  role(name: string): Iterable<readonly [nodeId: string, since: number]>;
  all(): Iterable<readonly [nodeId: string, since: number]>;
}

/**
 * What nodes passed among themselves comes home by its author, and who received it says so in a chain of its own. It has this long to
 * come, before the author is told that the message was not received in time.
 */
const homecomingMs = 120_000;

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
  /** Where word of a file lies, in whichever mailboxes, until the file is gone. */
  readonly #offered = new Map<string, number>();
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
    const left = new Set(without);
    for (const [nodeId, since] of this.#membersOf(box))
      if (since < position && !left.has(nodeId) && from !== `node:${nodeId}`) yield nodeId;
  }

  #membersOf(box: string): Iterable<readonly [nodeId: string, since: number]> {
    if (box === 'everyone') return this.#members.all();
    if (box.startsWith('role:')) return this.#members.role(box.slice('role:'.length));
    return this.#members.channel(box.slice('channel:'.length));
  }

  /** Puts in what lay there before anything was followed; in the order of positions a node. */
  put(nodeId: string, letter: Letter): void {
    const evicted = this.#made(nodeId).put(letter);
    if (!evicted) return;
    for (const old of evicted) this.#left(old);
    if (letter.kind === 'file') this.#offered.set(letter.name, letter.position);
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
      case 'message.received':
        this.#remove(event.data.node_id, event.data.sent_position);
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
      case 'file.stored':
        for (const [nodeId, letter] of this.offers(event.data, event)) this.put(nodeId, letter);
        break;
      case 'file.expired':
      case 'file.removed':
        this.#fileGone(event);
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

  /** Word of a file for each who may fetch it. */
  *offers(
    { file_id, box, to, owner }: Pick<FileFacts, 'file_id' | 'box' | 'to' | 'owner'>,
    { position, time }: { readonly position: number; readonly time: string },
  ): IterableIterator<[nodeId: string, letter: Letter]> {
    for (const nodeId of this.recipients({ box, from: owner }, position))
      if (owner !== `node:${nodeId}`)
        yield [nodeId, { ...noticeOf('file', file_id, nodeId, position, Date.parse(time)), to, from: owner }];
  }

  /** The node may not have it any more: it is told nothing of it. */
  forget(nodeId: string, position: number): void {
    this.#remove(nodeId, position);
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

  #sent({ data, position, time }: LogEvent<'message.sent'>): void {
    const letter = letterOf(data, position, data.p2p && Date.parse(time));
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

  #fileGone({ data: { file_id } }: LogEvent<'file.expired' | 'file.removed'>): void {
    const position = this.#offered.get(file_id);
    if (position === undefined) return;
    this.#offered.delete(file_id);
    for (const nodeId of this.#boxes.keys()) this.#remove(nodeId, position);
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

/** `cameHome`: when it came to the hub, milliseconds since 1970, if it had been on its way without it. */
export function letterOf(
  message: { message_id: string; box: string; to: Address; from: string; bytes: number; expires_at: string },
  position: number,
  cameHome?: number,
): Letter {
  const { message_id, box, to, from, bytes, expires_at } = message;
  const expiresAt = Date.parse(expires_at);
  return {
    position,
    kind: 'message',
    name: message_id,
    box,
    to,
    from,
    bytes,
    expiresAt,
    rank: cameHome === undefined ? expiresAt : Math.max(expiresAt, cameHome + homecomingMs),
    turn: position,
    place: 0,
    held: 0,
  };
}

/** The end of a task, what became of a message, or word of a file; `ms`: when that was. */
export function noticeOf(
  kind: 'task' | 'state' | 'file',
  name: string,
  nodeId: string,
  position: number,
  ms: number,
): Letter {
  const box = `node:${nodeId}`;
  const expiresAt = ms + keptMs;
  const places = { rank: expiresAt, turn: position, place: 0, held: 0 };
  return { position, kind, name, box, to: undefined, from: 'hub', bytes: 0, expiresAt, ...places };
}
