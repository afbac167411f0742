/** What lies in whose mailbox, by definition: a naive model of all that may happen to mail, and histories at random that a hub could have. */
import * as fc from 'fast-check';
import type { DomainEvent } from '../../src/events/catalog.ts';

export const time = '2026-03-01T10:00:00.000Z';
const base = Date.parse(time);
const uuid = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

interface Sent {
  readonly id: string;
  readonly position: number;
  readonly box: string;
  readonly from: string;
  readonly without: readonly string[];
  readonly bytes: number;
  readonly expires_at: string;
  readonly refused: Set<string>;
  expired: boolean;
}

interface Task {
  readonly id: string;
  readonly submitter: string;
  /** Its submitter is told at its socket. */
  readonly told: boolean;
  readonly position: number;
  ended: { readonly position: number; readonly failed: boolean } | undefined;
}

/** What a test asks of a history: the kind of the next thing, and numbers to choose by. */
export interface Choice {
  readonly kind: (typeof kinds)[number];
  readonly a: number;
  readonly b: number;
  readonly c: number;
}

const kinds = [
  'direct',
  'channel',
  'everyone',
  'acknowledge',
  'expire',
  'refuse',
  'read',
  'join',
  'leave',
  'register',
  'remove',
  'submit',
  'end',
  'retry',
  'purge',
] as const;
/** How often each comes, of 37 times. */
const weights: Record<(typeof kinds)[number], number> = {
  direct: 4,
  channel: 4,
  everyone: 3,
  acknowledge: 3,
  expire: 2,
  refuse: 2,
  read: 1,
  join: 2,
  leave: 2,
  register: 3,
  remove: 2,
  submit: 2,
  end: 3,
  retry: 2,
  purge: 2,
};
/** Two nodes, one of which hears a channel: else most of what is wished could not be. */
const prelude: readonly Choice[] = [
  { kind: 'register', a: 0, b: 0, c: 0 },
  { kind: 'register', a: 0, b: 0, c: 0 },
  { kind: 'join', a: 1, b: 0, c: 0 },
];

/** Histories as wishes, of 20 to `maxLength` steps. */
export const choices = (maxLength: number): fc.Arbitrary<Choice[]> => {
  const kind = fc.oneof(...kinds.map((each) => ({ weight: weights[each], arbitrary: fc.constant(each) })));
  const choice = fc.record({ kind, a: fc.nat(1_000), b: fc.nat(1_000), c: fc.nat(1_000) });
  return fc.array(choice, { minLength: 20, maxLength, size: 'max' }).map((all) => [...prelude, ...all]);
};

const pick = <T>(all: readonly T[], at: number): T | undefined => all[at % all.length];

/** A federation as it is after what `happened`, and what may happen next. */
export class World {
  readonly names: readonly string[];
  /** Since when each member is one. */
  readonly nodes = new Map<string, number>();
  /** Who joined each channel, and when; a name may be that of one who was removed since. */
  readonly channels = new Map<string, Map<string, number>>();
  readonly #messages = new Map<string, Sent>();
  readonly #tasks = new Map<string, Task>();
  readonly #through = new Map<string, number>();
  /** States: whom they are for, and what of. */
  readonly #states: { readonly position: number; readonly sender: string; readonly sent: number }[] = [];
  readonly #positions: number[] = [];
  readonly #word: string;
  #count: number;

  /** `word` and `count` make names and ids that other worlds of the same log do not have. */
  constructor(word = '', count = 0) {
    this.#word = word;
    this.#count = count;
    this.names = ['ada', 'bob', 'cy', 'dan'].map((name) => `${word}${name}`);
    for (const channel of ['news', 'ops']) this.channels.set(`${word}${channel}`, new Map());
  }

  /** Where the history began, and each step of it ended. */
  get positions(): readonly number[] {
    return this.#positions;
  }

  /** An event that a hub could write now; undefined when the choice cannot be had. */
  propose({ kind, a, b, c }: Choice): DomainEvent | undefined {
    const member = pick([...this.nodes.keys()], a);
    const channel = pick([...this.channels.keys()], b)!;
    switch (kind) {
      case 'register': {
        const node_id = pick(
          this.names.filter((name) => !this.nodes.has(name)),
          a,
        );
        const data = { public_key: 'A'.repeat(43), role: 'member' as const, profile: {} };
        return node_id === undefined ? undefined : { type: 'node.registered', data: { node_id, ...data } };
      }
      case 'remove':
        return member === undefined
          ? undefined
          : { type: 'node.removed', data: { node_id: member, cause: 'operator' } };
      case 'join': {
        const joined = this.channels.get(channel)!;
        if (member === undefined || joined.has(member)) return undefined;
        return { type: 'channel.joined', data: { channel, node_id: member } };
      }
      case 'leave': {
        const node_id = pick([...this.channels.get(channel)!.keys()], a);
        return node_id === undefined
          ? undefined
          : { type: 'channel.left', data: { channel, node_id, cause: 'itself' } };
      }
      case 'direct':
        return member === undefined ? undefined : this.#sending(b, c, `node:${member}`);
      case 'channel':
        return this.#sending(a, c, `channel:${channel}`);
      case 'everyone':
        return this.#sending(b, c, 'everyone');
      case 'acknowledge': {
        const through = member === undefined ? undefined : pick(this.box(member), b);
        return through === undefined ? undefined : { type: 'mail.delivered', data: { node_id: member!, through } };
      }
      default:
        return this.#later({ kind, a, b, c });
    }
  }

  /** The positions of all that lies in the mailbox of a member, the oldest first. */
  box(nodeId: string): number[] {
    const since = this.nodes.get(nodeId);
    if (since === undefined) return [];
    const messages = [...this.#messages.values()].filter((sent) => this.holds(nodeId, sent));
    const ends = [...this.#tasks.values()].flatMap(({ submitter, told, position, ended }) =>
      told && submitter === `node:${nodeId}` && position > since && ended ? [ended.position] : [],
    );
    const states = this.#states.filter(({ sender, sent }) => sender === `node:${nodeId}` && sent > since);
    return [...messages, ...states]
      .map(({ position }) => position)
      .concat(ends)
      .filter((position) => position > (this.#through.get(nodeId) ?? 0))
      .sort((one, other) => one - other);
  }

  /** Of the messages in it. */
  contents(nodeId: string): { messages: number; bytes: number } {
    const held = [...this.#messages.values()].filter((sent) => this.holds(nodeId, sent));
    return { messages: held.length, bytes: held.reduce((sum, { bytes }) => sum + bytes, 0) };
  }

  /** Messages that lie anywhere, with those who have them: by when they expire, then by position. */
  held(): { id: string; rank: number; by: string[] }[] {
    return [...this.#messages.values()]
      .map((sent) => ({
        id: sent.id,
        position: sent.position,
        rank: Date.parse(sent.expires_at),
        by: [...this.nodes.keys()].filter((nodeId) => this.holds(nodeId, sent)).sort(),
      }))
      .filter(({ by }) => by.length > 0)
      .sort((one, other) => one.rank - other.rank || one.position - other.position)
      .map(({ id, rank, by }) => ({ id, rank, by }));
  }

  /** Whether a message lies in the mailbox of a node. */
  holds(nodeId: string, { box, position, from, without, refused, expired }: Sent): boolean {
    const since = this.nodes.get(nodeId);
    if (since === undefined || since > position || position <= (this.#through.get(nodeId) ?? 0)) return false;
    if (expired || refused.has(nodeId)) return false;
    if (box === `node:${nodeId}`) return true;
    if (from === `node:${nodeId}` || without.includes(nodeId)) return false;
    if (box === 'everyone') return true;
    const joined = this.channels.get(box.slice('channel:'.length))?.get(nodeId);
    return joined !== undefined && joined > since && joined < position;
  }

  /** Where a task was handed in. */
  submittedAt(taskId: string): number {
    return this.#tasks.get(taskId)!.position;
  }

  happened({ type, data }: DomainEvent, position: number): void {
    this.#positions.push(position);
    switch (type) {
      case 'node.registered':
        this.nodes.set(data.node_id, position);
        break;
      case 'node.removed':
        this.nodes.delete(data.node_id);
        break;
      case 'channel.joined':
        this.channels.get(data.channel)!.set(data.node_id, position);
        break;
      case 'channel.left':
        this.channels.get(data.channel)!.delete(data.node_id);
        break;
      case 'message.sent': {
        const { message_id: id, box, from, without = [], bytes, expires_at } = data;
        const sent = {
          id,
          position,
          box,
          from,
          without,
          bytes,
          expires_at,
          refused: new Set<string>(),
          expired: false,
        };
        this.#messages.set(id, sent);
        break;
      }
      case 'message.expired':
        this.#messages.get(data.message_id)!.expired = true;
        this.#states.push({ position, sender: data.from, sent: data.sent_position });
        break;
      case 'message.refused':
        this.#messages.get(data.message_id)!.refused.add(data.node_id);
        this.#states.push({ position, sender: data.from, sent: data.sent_position });
        break;
      case 'mail.delivered':
        this.#through.set(data.node_id, data.through);
        break;
      case 'task.submitted': {
        const { task_id: id, submitter, callback } = data;
        this.#tasks.set(id, { id, submitter, told: callback?.kind === 'socket', position, ended: undefined });
        break;
      }
      case 'task.completed':
      case 'task.failed':
      case 'task.cancelled':
        this.#tasks.get(data.task_id)!.ended = { position, failed: type === 'task.failed' };
        break;
      case 'task.retried':
        this.#tasks.get(data.task_id)!.ended = undefined;
        break;
    }
  }

  #sending(from: number, number: number, box: string): DomainEvent {
    const sender = pick([...this.nodes.keys()].map((nodeId) => `node:${nodeId}`).concat('operator:abcd'), from)!;
    const [kind, name = ''] = box.split(':');
    const to = kind === 'node' ? { node: name } : kind === 'channel' ? { channel: name } : { everyone: true as const };
    const without = kind !== 'node' && number % 5 === 0 ? { without: [this.names[number % 4]!] } : {};
    const data = {
      message_id: uuid(this.#count++),
      from: sender,
      to,
      box,
      content: { subject: `mail:${box}`, key_id: 'k', sealed: 'AAAA' },
      bytes: number,
      expires_at: new Date(base + 60_000 * (1 + (number % 50))).toISOString(),
      ...without,
    };
    return { type: 'message.sent', data };
  }

  /** What may happen to messages and tasks that are there. */
  #later({ kind, a, b, c }: Choice): DomainEvent | undefined {
    const sent = pick(
      [...this.#messages.values()].filter(({ expired }) => !expired),
      b,
    );
    const about = sent && { message_id: sent.id, box: sent.box, from: sent.from, expires_at: sent.expires_at };
    const facts = { ...about!, sent_position: sent?.position ?? 0 }; // not used when there is none
    switch (kind) {
      case 'expire': {
        const unreached = sent ? [...this.nodes.keys()].filter((nodeId) => this.holds(nodeId, sent)) : [];
        return unreached.length === 0
          ? undefined
          : { type: 'message.expired', data: { ...facts, unreached, others: 0 } };
      }
      case 'refuse': {
        const node_id =
          sent &&
          pick(
            [...this.nodes.keys()].filter((nodeId) => this.holds(nodeId, sent)),
            a,
          );
        const why = { code: 'declined', reason: 'no' };
        return node_id === undefined ? undefined : { type: 'message.refused', data: { ...facts, node_id, ...why } };
      }
      case 'read': {
        const node_id = pick([...this.nodes.keys()], a);
        return sent && node_id !== undefined ? { type: 'message.read', data: { ...facts, node_id } } : undefined;
      }
      case 'purge': {
        // As a hub does it: long after all that expired before was told of.
        const until = new Date(base + 60_000 * (c % 60)).toISOString();
        const held = [...this.#messages.values()].some(
          (each) => each.expires_at < until && [...this.nodes.keys()].some((nodeId) => this.holds(nodeId, each)),
        );
        return held ? undefined : { type: 'mail.purged', data: { before: until } };
      }
      default:
        return this.#work({ kind, a, b, c });
    }
  }

  #work({ kind, a, b, c }: Choice): DomainEvent | undefined {
    const submitter = pick([...this.nodes.keys()].map((nodeId) => `node:${nodeId}`).concat('operator:abcd'), a)!;
    const told = b % 4 > 0 ? { callback: { kind: 'socket' as const } } : {};
    const given = { type: 'count', priority: 5, requirements: {}, ...told };
    const task = pick(
      [...this.#tasks.values()].filter(({ ended }) => !ended),
      b,
    )?.id;
    switch (kind) {
      case 'submit': {
        const backoff = { kind: 'fixed' as const, delay_ms: 0, max_ms: 0 };
        const data = {
          task_id: `${this.#word}t${this.#count++}`,
          submitter,
          payload: {},
          max_attempts: 1,
          backoff,
          ...given,
        };
        return { type: 'task.submitted', data };
      }
      case 'end':
        if (task === undefined) return undefined;
        if (c % 3 === 0) return { type: 'task.cancelled', data: { task_id: task } };
        if (c % 3 === 1)
          return {
            type: 'task.failed',
            data: { task_id: task, cause: 'deadline', error: { code: 'deadline', message: '' } },
          };
        return { type: 'task.completed', data: { task_id: task, node_id: this.names[0]!, lease: 1, result: {} } };
      case 'retry': {
        const failed = pick(
          [...this.#tasks.values()].filter(({ ended }) => ended?.failed),
          b,
        );
        if (!failed) return undefined;
        const callback = failed.told ? { callback: { kind: 'socket' as const } } : {};
        const { id: task_id, submitter: by } = failed;
        const again = { type: 'count', priority: 5, requirements: {}, lease: 0, ...callback };
        return { type: 'task.retried', data: { task_id, submitter: by, ...again } };
      }
      default:
        return undefined;
    }
  }
}
