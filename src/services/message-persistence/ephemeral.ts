/** Messages that are not kept: they reach whoever is there now, at any replica, and the log holds only how many there were. */
import type { About } from '../../commands/execute.ts';
import { actorOf, type Identity } from '../../doors.ts';
import { isRefusal, type Refusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { type Cancel, isoTime } from '../../kernel.ts';
import type { Message, NewMessage } from '../../protocol/messages.ts';
import type { OfflineQueue } from '../offline-queue.ts';
import type { WebsocketPool } from '../websocket-pool.ts';
import { boxOf, type Known } from './address.ts';
import { contentText } from './sending.ts';
import type { Traffic } from './traffic.ts';

const topic = 'message';
/** How long another replica may take to say to how many it told. */
const answerMs = 1_000;

interface Word {
  readonly nodes: readonly string[];
  readonly message: Message;
}

export class Ephemeral {
  readonly #hub: Hub;
  readonly #sockets: WebsocketPool;
  readonly #queue: OfflineQueue;
  readonly #traffic: Traffic;
  readonly #known: Known;
  readonly #stop: Cancel;

  constructor(hub: Hub, sockets: WebsocketPool, queue: OfflineQueue, traffic: Traffic) {
    this.#hub = hub;
    this.#known = { live: hub.live, log: hub.log, members: queue.members };
    this.#sockets = sockets;
    this.#queue = queue;
    this.#traffic = traffic;
    this.#stop = sockets.cluster.handle(topic, (word) => {
      const { nodes, message } = word as Word; // as `send` says it
      return Promise.resolve({ delivered: this.#tell(nodes, message) });
    });
  }

  close(): void {
    this.#stop();
  }

  /** Answers to how many it went. Refuses as sending does, but for room. */
  async send(
    { to, content, correlation_id, reply_to }: NewMessage,
    by: Identity,
    { command }: About,
  ): Promise<{ messageId: string; delivered: number } | Refusal> {
    const { kernel } = this.#hub;
    const text = contentText(content);
    if (isRefusal(text)) return text;
    const box = await boxOf(this.#known, to, by);
    if (isRefusal(box)) return box;
    const from = actorOf(by);
    const message: Message = {
      message_id: command?.id ?? kernel.uuid(), // sent again, it has the same name, by which its recipient knows it
      from,
      to,
      content,
      ...(correlation_id !== undefined && { correlation_id }),
      ...(reply_to && { reply_to }),
      sent_at: isoTime(kernel.now()),
    };
    this.#traffic.add(from, box, text.bytes);
    const recipients = box.startsWith('node:') ? [box.slice('node:'.length)] : this.#queue.recipients(box, from);
    const elsewhere = new Map<string, string[]>();
    const here = recipients.filter((nodeId) => this.#sockets.has(nodeId) || this.#note(elsewhere, nodeId));
    let delivered = this.#tell(here, message);
    for (const answer of await Promise.all(Array.from(elsewhere, ([to, nodes]) => this.#ask(to, { nodes, message }))))
      delivered += answer;
    return { messageId: message.message_id, delivered };
  }

  /** Notes at which other replica a node has its socket. */
  #note(elsewhere: Map<string, string[]>, nodeId: string): false {
    const session = this.#hub.live.sessions.get(`${nodeId}/socket`);
    if (session?.status !== 'open' || session.replica === this.#hub.kernel.replica) return false;
    const there = elsewhere.get(session.replica);
    if (there) there.push(nodeId);
    else elsewhere.set(session.replica, [nodeId]);
    return false;
  }

  #tell(nodes: readonly string[], message: Message): number {
    return nodes.filter((nodeId) => this.#sockets.tell(nodeId, 'federation:message', message)).length;
  }

  async #ask(replica: string, word: Word): Promise<number> {
    const answer = await this.#sockets.cluster.ask(replica, topic, word, answerMs);
    return isRefusal(answer) ? 0 : (answer as { delivered: number }).delivered; // as the handler above says it
  }
}
