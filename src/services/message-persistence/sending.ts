/** Takes messages: those that are kept go into the log, sealed, when there is room for them; of the others see ephemeral.ts. */
import type { About, Executed } from '../../commands/execute.ts';
import { type Sending as Command, message, messageStream, type Sent, send } from '../../commands/message.ts';
import { actorOf, type Identity } from '../../doors.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { isoTime } from '../../kernel.ts';
import type { NewMessage } from '../../protocol/messages.ts';
import { seal, sealingKey } from '../../sealed.ts';
import type { OfflineQueue } from '../offline-queue.ts';
import { boxOf } from './address.ts';

/** Of the content of a message, as JSON. */
const mostBytes = 256 * 1024;
const dayMs = 86_400_000;

/** The subject of the key that seals what lies in a box. */
function mailSubject(box: string): string {
  return `mail:${box}`;
}

/** Content as text, and its bytes. Refuses `payload_too_large`, and `invalid_input` for nothing at all. */
export function contentText(content: unknown): { text: string; bytes: number } | Refusal {
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
  /** Messages of one box that wait for its key, so that none overtakes another. */
  readonly #waiting = new Map<string, Promise<unknown>>();
  /** Messages from and to whom it is being found out whether they may go, for the same reason. */
  readonly #unsettled = new Map<string, Promise<unknown>>();

  constructor(hub: Hub, queue: OfflineQueue) {
    this.#hub = hub;
    this.#queue = queue;
  }

  /** Refuses `queue_full` when the recipient's mailbox has no room, and what `boxOf` and `contentText` refuse. */
  async send(
    { to, content, ttl_seconds, correlation_id, reply_to }: NewMessage,
    by: Identity,
    about: About,
  ): Promise<Executed<Sent> | Refusal> {
    const { kernel, config, executor } = this.#hub;
    const text = contentText(content);
    if (isRefusal(text)) return text;
    const box = await this.#boxOf(to, by);
    if (isRefusal(box)) return box;
    // What is known by its key has a name made of it: sent again, it is the same message.
    const message_id = about.command?.id ?? kernel.uuid();
    const from = actorOf(by);
    const key = await this.#keyOf(box);
    const recipients = this.#queue.recipients(box, from);
    const left = this.#queue.reserve(recipients, message_id, text.bytes);
    const toOne = box.startsWith('node:');
    const sealed = seal('message', mailSubject(box), key, text.text, kernel);
    const command: Command = {
      message_id,
      from,
      to,
      box,
      content: sealed,
      bytes: text.bytes,
      ...(correlation_id !== undefined && { correlation_id }),
      ...(reply_to && { reply_to }),
      expires_at: isoTime(
        kernel.now() + (ttl_seconds === undefined ? config.messageDays * dayMs : ttl_seconds * 1_000),
      ),
      ...(!toOne && left.length > 0 && { without: left }),
      full: left.length > 0 && left.length === recipients.length ? fullOf(to, left) : undefined,
    };
    this.#queue.rememberOpen(sealed, content, text.bytes);
    const written = executor.execute(messageStream(message_id), message, send, command, about);
    const release = () => this.#queue.release(recipients, message_id);
    written.then((done) => {
      if (isRefusal(done)) release();
      else this.#queue.settled(recipients, message_id, done.position);
    }, release);
    return written;
  }

  /** The box of an address. When it is being found out whether there is one, those that come meanwhile wait in their order. */
  #boxOf(to: NewMessage['to'], by: Identity): string | Promise<string | Refusal> {
    const pair = `${actorOf(by)} ${JSON.stringify(to)}`;
    const before = this.#unsettled.get(pair);
    const box = before ? before.then(() => boxOf(this.#hub, to, by)) : boxOf(this.#hub, to, by);
    if (!(box instanceof Promise)) return box;
    const unsettled = box.catch(() => {});
    this.#unsettled.set(pair, unsettled);
    void unsettled.finally(() => this.#unsettled.get(pair) === unsettled && this.#unsettled.delete(pair));
    return box;
  }

  /** The key of a box. When it has to be looked up, those that come meanwhile wait in their order. */
  #keyOf(box: string): ReturnType<typeof sealingKey> {
    const before = this.#waiting.get(box);
    const key = before
      ? before.then(() => this.#hub.keyring.dataKey(mailSubject(box)))
      : sealingKey(this.#hub, mailSubject(box));
    if (!(key instanceof Promise)) return key;
    const waiting = key.catch(() => {});
    this.#waiting.set(box, waiting);
    void waiting.finally(() => this.#waiting.get(box) === waiting && this.#waiting.delete(box));
    return key;
  }
}

function fullOf(to: NewMessage['to'], full: readonly string[]): Refusal {
  const whose = 'node' in to || 'entity' in to ? `the mailbox of ${full[0]} is full` : 'all its mailboxes are full';
  return refuse('queue_full', `${whose}: 1,000 messages or 64 MiB wait for it`);
}
