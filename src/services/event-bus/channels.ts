/**
 * Events over sockets. Connections that asked for the same thing and have the same rights are one room, so that Socket.IO encodes
 * an event once for all of them; the parties of an event, who see more of it, get theirs one by one.
 */
import { createHash } from 'node:crypto';
import { canonicalJson } from '../../canonical-json.ts';
import { type Refusal, refuse } from '../../errors.ts';
import type { EventType } from '../../events/catalog.ts';
import type { EventFilter } from '../../events/subscription.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import { may } from '../../rights.ts';
import type { Tracer } from '../../tracing.ts';
import type { Channel, WebsocketPool } from '../websocket-pool.ts';
import type { Fanout, Target } from './fanout.ts';
import { fits, typesOf } from './patterns.ts';
import type { Shown } from './shown.ts';
import { viewFor } from './visible.ts';

/** Subscriptions of one connection. */
const mostOfConnection = 64;
/** How often those are looked at whose rights may have changed without a word. */
const lookEveryMs = 1_000;
/** Events sent to one connection, of those it missed, before it is seen whether they leave. */
const burst = 16;

type Class = 'governor' | 'member';

/** What connections asked for, all of them alike. */
interface Group {
  readonly id: string;
  readonly filter: EventFilter | undefined;
  readonly types: ReadonlySet<EventType>;
  readonly members: Map<string, Member>;
  /** How many hear in each room. */
  readonly hearing: Record<Class, number>;
  stop: Cancel;
}

interface Member {
  readonly group: Group;
  readonly channel: Channel;
  nodeId: string;
  /** The room it is in; undefined while it catches up, or may be told nothing. */
  room: Class | undefined;
  /** While it may be told nothing: everything up to here was told. */
  mutedAt: number | undefined;
  /** Grows with each time that it begins to catch up: the one before stops. */
  turn: number;
  gone: boolean;
}

export class Channels {
  readonly #hub: Pick<Hub, 'live' | 'kernel' | 'log'>;
  readonly #sockets: WebsocketPool;
  readonly #tracing: Tracer;
  readonly #fanout: Fanout;
  readonly #groups = new Map<string, Group>();
  /** Subscriptions of each connection, by id. */
  readonly #connections = new Map<string, Map<string, Member>>();
  readonly #byNode = new Map<string, Set<Member>>();
  readonly #stops: Cancel[];

  constructor(hub: Pick<Hub, 'live' | 'kernel' | 'log' | 'tracing'>, sockets: WebsocketPool, fanout: Fanout) {
    this.#hub = hub;
    this.#sockets = sockets;
    this.#tracing = hub.tracing;
    this.#fanout = fanout;
    const { live, kernel } = hub;
    this.#stops = [
      live.nodes.onChange((nodeId) => this.#lookAt(this.#byNode.get(nodeId))),
      live.sessions.onChange((_id, row) => row && this.#lookAt(this.#byNode.get(row.node_id))),
      live.access.onChange(() => this.#lookAtAll()),
      live.bans.onChange(() => this.#lookAtAll()),
      kernel.every(lookEveryMs, () => this.#lookAtAll()),
    ];
  }

  /** Sends what fits from now on; with `after`, first what happened since. The same again begins anew. Refuses `invalid_input`, `limit_reached`. */
  async subscribe(
    channel: Channel,
    wish: {
      readonly patterns: readonly string[];
      readonly filter?: EventFilter | undefined;
      readonly after?: number | undefined;
    },
  ): Promise<{ subscription: string; position: number } | Refusal> {
    const { patterns, filter, after } = wish;
    const types = typesOf(patterns);
    if (types.size === 0) return refuse('invalid_input', 'no type of event is named by these patterns');
    if (after !== undefined && after > (await this.#hub.log.head())) return beyondLog(after);
    const hearer = channel.hearer();
    if (!hearer) return refuse('session_superseded', 'this connection may be told nothing now');
    const id = idOf(patterns, filter);
    const own = this.#ofConnection(channel);
    if (!own) return refuse('session_superseded', 'this connection is gone');
    const former = own.get(id);
    if (!former && own.size >= mostOfConnection) {
      return refuse('limit_reached', `a connection may have ${mostOfConnection} subscriptions at most`);
    }
    if (former) this.#drop(former);
    const group = this.#groups.get(id) ?? this.#open(id, types, filter);
    const { nodeId } = hearer;
    const member: Member = { group, channel, nodeId, room: undefined, mutedAt: undefined, turn: 0, gone: false };
    group.members.set(channel.id, member);
    own.set(id, member);
    this.#index(member);
    const position = after ?? this.#fanout.position;
    if (after === undefined) this.#place(member);
    else void this.#catchUp(member, after);
    return { subscription: id, position };
  }

  /** Refuses `not_found`. */
  unsubscribe(channel: Channel, subscription: string): Refusal | undefined {
    const member = this.#connections.get(channel.id)?.get(subscription);
    if (!member) return refuse('not_found', 'this connection has no such subscription');
    this.#drop(member);
    return undefined;
  }

  close(): void {
    for (const stop of this.#stops) stop();
    for (const { stop } of this.#groups.values()) stop();
  }

  #open(id: string, types: ReadonlySet<EventType>, filter: EventFilter | undefined): Group {
    const members = new Map<string, Member>();
    const group: Group = { id, types, filter, members, hearing: { governor: 0, member: 0 }, stop: () => {} };
    const target: Target = { types, take: (shown) => this.#publish(group, shown) };
    group.stop = this.#fanout.add(target);
    this.#groups.set(id, group);
    return group;
  }

  #publish(group: Group, shown: Shown): void {
    const span = this.#tracing.within('push federation:event', 'producer', shown.event.meta.traceparent);
    this.#send(group, shown);
    span?.end();
  }

  #send(group: Group, shown: Shown): void {
    const parties = this.#partiesIn(group, shown);
    for (const kind of classes) {
      if (group.hearing[kind] === 0) continue;
      const name = viewFor(shown.type, stranger[kind], false);
      const view = name && shown.view(name);
      if (!view || !fits(group.filter, view.event.data as object)) continue; // data of events are objects
      const except = parties.filter(({ room }) => room === kind).map(({ channel }) => channel.id);
      const packet = { subscription: group.id, event: view.event };
      this.#sockets.publish(roomOf(group.id, kind), 'federation:event', packet, except);
    }
    for (const member of parties) this.#tell(member, shown);
  }

  /** Those in the rooms of a group who are parties of an event, and so may see more of it. */
  #partiesIn(group: Group, shown: Shown): Member[] {
    const actors = [...new Set(shown.parties.map(({ actor }) => actor))].filter((actor) => actor.startsWith('node:'));
    return actors.flatMap((actor) =>
      [...(this.#byNode.get(actor.slice('node:'.length)) ?? [])].filter(
        (member) => member.group === group && member.room !== undefined,
      ),
    );
  }

  /** Sends to one, as it may see it now. */
  #tell({ channel, group }: Member, shown: Shown): boolean {
    const hearer = channel.hearer();
    const name = hearer && viewFor(shown.type, hearer, shown.isOf(`node:${hearer.nodeId}`));
    if (!name) return false;
    const { event } = shown.view(name);
    if (!fits(group.filter, event.data as object)) return false; // as above
    channel.send('federation:event', { subscription: group.id, event });
    return true;
  }

  /** Tells what was missed, then puts it among those who hear what happens. */
  async #catchUp(member: Member, after: number): Promise<void> {
    this.#leave(member);
    const turn = ++member.turn;
    member.mutedAt = undefined;
    let sent = 0;
    let told = after;
    const goesOn = () => !member.gone && member.turn === turn;
    await this.#fanout.catchUp(after, {
      types: member.group.types,
      take: (shown) => {
        if (!goesOn() || member.mutedAt !== undefined) return;
        if (!member.channel.hearer())
          member.mutedAt = told; // it goes on from there when it may hear again
        else if (this.#tell(member, shown)) sent++;
        told = shown.position;
      },
      ready: async () => {
        if (!goesOn() || member.mutedAt !== undefined) return false;
        if (sent < burst) return true;
        sent = 0;
        return member.channel.drained();
      },
      met: () => {
        if (goesOn()) this.#place(member);
      },
    });
  }

  /** Puts a member that misses nothing into the room that fits its rights. */
  #place(member: Member): void {
    const hearer = member.channel.hearer();
    if (!hearer) {
      this.#leave(member);
      member.mutedAt ??= this.#fanout.position;
      return;
    }
    if (hearer.nodeId !== member.nodeId) {
      this.#unindex(member);
      member.nodeId = hearer.nodeId;
      this.#index(member);
    }
    const room: Class = may(hearer, 'govern') ? 'governor' : 'member';
    if (member.room === room) return;
    this.#leave(member);
    member.room = room;
    member.group.hearing[room]++;
    member.channel.join(roomOf(member.group.id, room));
  }

  #leave(member: Member): void {
    if (member.room === undefined) return;
    member.channel.leave(roomOf(member.group.id, member.room));
    member.group.hearing[member.room]--;
    member.room = undefined;
  }

  #lookAtAll(): void {
    for (const own of this.#connections.values()) this.#lookAt(own.values());
  }

  #lookAt(members: Iterable<Member> | undefined): void {
    for (const member of [...(members ?? [])]) {
      if (member.mutedAt !== undefined) {
        if (member.channel.hearer()) void this.#catchUp(member, member.mutedAt);
      } else if (member.room !== undefined) this.#place(member);
    }
  }

  /** Undefined for a connection that is gone already. */
  #ofConnection(channel: Channel): Map<string, Member> | undefined {
    const known = this.#connections.get(channel.id);
    if (known) return known;
    if (!channel.connected()) return undefined;
    const own = new Map<string, Member>();
    this.#connections.set(channel.id, own);
    channel.onGone(() => {
      this.#connections.delete(channel.id);
      for (const member of own.values()) this.#drop(member);
    });
    return own;
  }

  #drop(member: Member): void {
    member.gone = true;
    this.#leave(member);
    this.#unindex(member);
    const { group, channel } = member;
    group.members.delete(channel.id);
    this.#connections.get(channel.id)?.delete(group.id);
    if (group.members.size > 0) return;
    group.stop();
    this.#groups.delete(group.id);
  }

  #index(member: Member): void {
    const known = this.#byNode.get(member.nodeId);
    if (known) known.add(member);
    else this.#byNode.set(member.nodeId, new Set([member]));
  }

  #unindex(member: Member): void {
    const known = this.#byNode.get(member.nodeId);
    known?.delete(member);
    if (known?.size === 0) this.#byNode.delete(member.nodeId);
  }
}

export function beyondLog(after: number): Refusal {
  return refuse('invalid_input', `the log has no position ${after} yet`);
}

const classes: readonly Class[] = ['governor', 'member'];

/** Anyone of a class who is no party. */
const stranger = {
  governor: { kind: 'node', nodeId: '', sessionId: '', role: 'admin' },
  member: { kind: 'node', nodeId: '', sessionId: '', role: 'observer' },
} as const;

function roomOf(id: string, kind: Class): string {
  return `events/${id}/${kind}`;
}

/** The same wish is the same subscription, on every connection. */
function idOf(patterns: readonly string[], filter: EventFilter | undefined): string {
  const wish = canonicalJson({ patterns: [...patterns].sort(), filter: filter ?? {} });
  return createHash('sha256').update(wish).digest('base64url').slice(0, 22);
}
