/** Takes messages: those that are kept go into the log, sealed, when there is room for them; of the others see ephemeral.ts. */
import type { About, Decide, Executed } from '../../commands/execute.ts';
import {
  bring,
  type Sending as Command,
  type MessageState,
  message,
  messageStream,
  type Sent,
  send,
} from '../../commands/message.ts';
import { actorOf, type Identity } from '../../doors.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Direct } from '../../events/p2p.ts';
import type { Hub } from '../../hub.ts';
import { isoTime } from '../../kernel.ts';
import type { NewMessage } from '../../protocol/messages.ts';
import { seal, sealingKey } from '../../sealed.ts';
import { Turns } from '../../turns.ts';
import type { OfflineQueue } from '../offline-queue.ts';
import { boxOf, type Known } from './address.ts';

/** Of the content of a message, as JSON. */
const mostBytes = 256 * 1024;
const dayMs = 86_400_000;

/** The subject of the key that seals what lies in a box. */
export function mailKey(box: string): string {
  return `mail:${box}`;
}

interface Text {
  readonly text: string;
  readonly bytes: number;
}

/** Content as text, and its bytes. Refuses `payload_too_large`, and `invalid_input` for nothing at all. */
export function contentText(content: unknown): Text | Refusal {
  const text = JSON.stringify(content);
  if (text === undefined) return refuse('invalid_input', 'a message has content');
  const bytes = text.length > mostBytes ? text.length : Buffer.byteLength(text);
  if (bytes > mostBytes)
    return refuse('payload_too_large', `a message has ${mostBytes} bytes at most; larger ones go as a file`);
  return { text, bytes };
}

export class Sending {
  readonly #hub: Hub;
  readonly #queue: OfflineQueue;
  readonly #known: Known;
  /** Of what a pair says that waits until it is known whether it may go, and of what waits for the key of a box, none overtakes another. */
  readonly #pairs = new Turns();
  readonly #keys = new Turns();

  constructor(hub: Hub, queue: OfflineQueue) {
    this.#hub = hub;
    this.#known = { live: hub.live, log: hub.log, members: queue.members };
    this.#queue = queue;
  }

  /** Takes one that nodes passed among themselves. Refuses as `send` does, and `idempotency_mismatch`. */
  async bring(
    { to, content, correlation_id, reply_to }: NewMessage,
    from: Extract<Identity, { kind: 'node' }>,
    said: { readonly messageId: string; readonly expiresAt: string; readonly p2p: Direct },
    about: About,
  ): Promise<Executed<{ known: boolean }> | Refusal> {
    const text = contentText(content);
    if (isRefusal(text)) return text;
    const box = await boxOf(this.#known, to, from);
    if (isRefusal(box)) return box;
    const message = { to, box, text, message_id: said.messageId, expires_at: said.expiresAt, p2p: said.p2p };
    const headers = { ...(correlation_id !== undefined && { correlation_id }), ...(reply_to && { reply_to }) };
    return this.#write({ ...message, ...headers, from: actorOf(from) }, bring, about);
  }

  /** Refuses `queue_full` when the recipient's mailbox has no room, and what `boxOf` and `contentText` refuse. */
  async send(
    { to, content, ttl_seconds, correlation_id, reply_to }: NewMessage,
    by: Identity,
    about: About,
  ): Promise<Executed<Sent> | Refusal> {
    const { kernel, config } = this.#hub;
    const text = contentText(content);
    if (isRefusal(text)) return text;
    const pair = `${actorOf(by)} ${JSON.stringify(to)}`;
    const box = await this.#pairs.take(pair, () => boxOf(this.#known, to, by));
    if (isRefusal(box)) return box;
    // What is known by its key has a name made of it: sent again, it is the same message.
    const message_id = about.command?.id ?? kernel.uuid();
    const expires_at = isoTime(
      kernel.now() + (ttl_seconds === undefined ? config.messageDays * dayMs : ttl_seconds * 1_000),
    );
    const headers = { ...(correlation_id !== undefined && { correlation_id }), ...(reply_to && { reply_to }) };
    return this.#write({ to, box, text, message_id, expires_at, ...headers, from: actorOf(by) }, send, about);
  }

  async #write<Reply>(
    { text, ...said }: Omit<Command, 'content' | 'bytes' | 'full' | 'without'> & { readonly text: Text },
    decide: Decide<MessageState | undefined, Command, Reply>,
    about: About,
  ): Promise<Executed<Reply> | Refusal> {
    const { message_id, box, from, to } = said;
    const subject = mailKey(box);
    const key = await this.#keys.take(subject, () => sealingKey(this.#hub, subject));
    const recipients = this.#queue.recipients(box, from);
    const left = this.#queue.reserve(recipients, message_id, text.bytes);
    const toOne = box.startsWith('node:');
    const sealed = seal('message', subject, key, text.text, this.#hub);
    const command: Command = {
      ...said,
      content: sealed,
      bytes: text.bytes,
      ...(!toOne && left.length > 0 && { without: left }),
      full: left.length > 0 && left.length === recipients.length ? fullOf(to, left) : undefined,
    };
    const written = this.#hub.executor.execute(messageStream(message_id), message, decide, command, about);
    const release = () => this.#queue.release(recipients, message_id);
    written.then((done) => {
      if (isRefusal(done)) release();
      else this.#queue.settled(recipients, message_id, done.position);
    }, release);
    return written;
  }
}

function fullOf(to: NewMessage['to'], full: readonly string[]): Refusal {
  const whose = 'node' in to || 'entity' in to ? `the mailbox of ${full[0]} is full` : 'all its mailboxes are full';
  return refuse('queue_full', `${whose}: 1,000 messages or 64 MiB wait for it`);
}
