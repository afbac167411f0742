/** From a letter to the packet that its node gets: events as they passed by, or read again from the log; content opened. */
import { LRUCache } from 'lru-cache';
import { decode, type EventType, type LogEvent } from '../../events/catalog.ts';
import type { Hub } from '../../hub.ts';
import type { HubPacket } from '../../protocol.ts';
import { SealBroken, unseal } from '../../sealed.ts';
import { openContent } from '../../task-content.ts';
import type { Clearance } from './clearance.ts';
import type { Letter } from './mailroom.ts';

/** What a node gets of its mail. */
export type Mail = {
  [N in MailName]: {
    readonly name: N;
    readonly position: number;
    readonly packet: HubPacket<N>;
    /** Of what it tells of, if that belongs to a trace. */
    readonly traceparent?: string | undefined;
  };
}[MailName];

export type MailName =
  | 'federation:message'
  | 'federation:message:state'
  | 'federation:task:finished'
  | 'federation:file';

/** Events whose letters these are. */
export const mailTypes = [
  'message.sent',
  'message.expired',
  'message.refused',
  'task.completed',
  'task.failed',
  'task.cancelled',
  'file.stored',
] as const satisfies EventType[];
type MailEvent = LogEvent<(typeof mailTypes)[number]>;

/** Bytes of events, sealed as they are, that are remembered. */
const rememberedBytes = 64 * 1024 * 1024;
const pageEvents = 200;

export class Contents {
  readonly #hub: Hub;
  readonly #clearance: Pick<Clearance, 'setAside'>;
  readonly #events = new LRUCache<number, MailEvent>({ maxSize: rememberedBytes, sizeCalculation: sizeOf });

  constructor(hub: Hub, clearance: Pick<Clearance, 'setAside'>) {
    this.#hub = hub;
    this.#clearance = clearance;
  }

  /** An event that passed by. */
  remember(event: MailEvent): void {
    this.#events.set(event.position, event);
  }

  /**
   * The mail of letters that follow each other, in their order. A message that cannot be read is set aside: it is written down by then that the
   * node does not get it. Throws a `Fault` when log or keyring fail.
   */
  async of(nodeId: string, letters: readonly Letter[]): Promise<Mail[]> {
    const mail: Mail[] = [];
    for (const [at, letter] of letters.entries()) {
      const event = this.#events.get(letter.position) ?? (await this.#read(letters, at));
      if (!event) continue;
      try {
        mail.push({ ...(await this.#mailOf(event)), traceparent: event.meta.traceparent });
      } catch (error) {
        if (!(error instanceof SealBroken)) throw error;
        this.#hub.kernel.log.error({ err: error, nodeId, position: event.position }, 'a piece of mail cannot be read');
        await this.#clearance.setAside(nodeId, letter);
      }
    }
    return mail;
  }

  /** Reads on from a letter, as others of its node are often near. Undefined when the log does not have it as mail. */
  async #read(letters: readonly Letter[], at: number): Promise<MailEvent | undefined> {
    const { position } = letters[at]!; // one of them
    const more = letters.length - at > 1;
    const page = await this.#hub.log.readAll(position - 1, more ? pageEvents : 1, mailTypes);
    const wanted = new Set(letters.slice(at).map((letter) => letter.position));
    for (const recorded of page.events) {
      if (wanted.has(recorded.position)) this.remember(decode(recorded) as MailEvent); // only those types were asked for
    }
    return this.#events.get(position);
  }

  async #mailOf(event: MailEvent): Promise<Mail> {
    const { position, time } = event;
    switch (event.type) {
      case 'message.sent':
        return { name: 'federation:message', position, packet: await this.#message(event) };
      case 'message.expired': {
        const { message_id, unreached: nodes, others } = event.data;
        const packet = { position, time, message_id, state: 'expired' as const, nodes, others };
        return { name: 'federation:message:state', position, packet };
      }
      case 'message.refused': {
        const { message_id, node_id, code, reason } = event.data;
        const packet = {
          position,
          time,
          message_id,
          state: 'refused' as const,
          nodes: [node_id],
          others: 0,
          code,
          reason,
        };
        return { name: 'federation:message:state', position, packet };
      }
      case 'file.stored': {
        const { owner: from, box: _, ...file } = event.data;
        return { name: 'federation:file', position, packet: { position, time, file: { ...file, from } } };
      }
      default:
        return {
          name: 'federation:task:finished',
          position,
          packet: { position, time, task_id: event.data.task_id, ...(await this.#endOf(event)) },
        };
    }
  }

  async #message({ data, position, time }: LogEvent<'message.sent'>): Promise<HubPacket<'federation:message'>> {
    const { message_id, from, to, correlation_id, reply_to, expires_at, p2p } = data;
    const text = await unseal('message', this.#hub, data.content);
    const erased = text === undefined;
    return {
      message_id,
      from,
      to,
      content: text === undefined ? null : JSON.parse(text),
      ...(erased && { erased }),
      ...(correlation_id !== undefined && { correlation_id }),
      ...(reply_to && { reply_to }),
      sent_at: time,
      ...(p2p && { said_at: p2p.said_at }),
      expires_at,
      position,
    };
  }

  async #endOf(
    event: LogEvent<'task.completed' | 'task.failed' | 'task.cancelled'>,
  ): Promise<Pick<HubPacket<'federation:task:finished'>, 'status' | 'result' | 'error'>> {
    if (event.type === 'task.cancelled') return { status: 'cancelled' };
    if (event.type === 'task.failed') return { status: 'failed', error: event.data.error };
    try {
      const { value } = await openContent(this.#hub, event.data.result);
      return { status: 'completed', ...(value !== undefined && { result: value }) };
    } catch (error) {
      if (!(error instanceof SealBroken)) throw error;
      this.#hub.kernel.log.error({ err: error, position: event.position }, 'the result of a task cannot be read');
      return { status: 'failed', error: { code: 'unreadable', message: error.message } };
    }
  }
}

/** About what it takes in memory. */
function sizeOf(event: MailEvent): number {
  if (event.type === 'message.sent') return 512 + event.data.content.sealed.length;
  if (event.type !== 'task.completed') return 1_024;
  const { value, sealed } = event.data.result;
  return 512 + (sealed ? sealed.sealed.length : value === undefined ? 0 : JSON.stringify(value).length);
}
