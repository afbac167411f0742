/**
 * The node SDK. `await new FederationNode({ url, nodeId, keyFile: 'node.key' }).connect()` joins a federation and stays in it:
 * it proves the key, heartbeats, renews its token, and comes back after every loss until `close()` or `leave()`.
 */
import { EventEmitter } from 'node:events';
import type { ClientPacket, ClientPacketName, TaskSubmission } from '../protocol.ts';
import { type NodeClock, processClock } from './clock.ts';
import { type AnyHubPacket, Connection, type ConnectionHandlers, HubRefusal, HubUnreachable } from './connection.ts';
import { Desk, type ModelClaim } from './desk.ts';
import { Feed } from './feed.ts';
import { Files } from './files.ts';
import type { SubmitOptions, TaskHandle } from './hand-in.ts';
import type { MessageHandler, MessagesOptions } from './handling.ts';
import { Identity } from './identity.ts';
import type { NodeKey } from './key-file.ts';
import type { Knowledge } from './knowledge.ts';
import { KnowledgeDesk } from './knowledge-desk.ts';
import type { KnowledgeStore } from './knowledge-store.ts';
import type { SyncOptions, SyncResult, SyncSide } from './knowledge-sync.ts';
import { type FederationNodeEvents, handedOn } from './node-events.ts';
import type { FederationNodeOptions } from './node-options.ts';
import type { Destination, SendOptions, Sent } from './outbox.ts';
import { P2p, type P2pOptions } from './p2p.ts';
import type { ReceivedMessage } from './received-message.ts';
import type { RequestOptions } from './requests.ts';
import { backoffMaxMs, isFinal, isWaiting, retryInMs } from './retry.ts';
import { Secrets } from './secrets.ts';
import type { Line } from './sender.ts';
import { type ServiceHandler, Serving } from './serve.ts';
import { type NodeIdentity, type Registered, register, rotate, Session } from './session.ts';
import { type EventSubscription, type FederationEvent, type SubscribeOptions, Subscriber } from './subscribe.ts';
import type { ClaimedTask, ClaimOptions, TaskHandlers, WorkOptions } from './work.ts';

export type { Reading } from '../events/heartbeat.ts';
export type { NodeProfile } from '../events/node.ts';
export type { AssignedTask, HubPacket, PublicNode, TaskSubmission } from '../protocol.ts';
export { type TaskContext, TaskFailure } from './assignment.ts';
export type { NodeClock } from './clock.ts';
export { HubRefusal, HubUnreachable } from './connection.ts';
export type { ModelClaim } from './desk.ts';
export type { Files, GetOptions, ListOptions, PutOptions, SentFile, SharedFile } from './files.ts';
export type { SubmitOptions, TaskHandle } from './hand-in.ts';
export type { MessageHandler, MessagesOptions } from './handling.ts';
export { generateKey, type NodeKey, openKeyFile } from './key-file.ts';
export type {
  Knowledge,
  KnowledgeSyncOptions,
  KnownMemory,
  KnownVersion,
  MemoryToWrite,
  WrittenMemory,
} from './knowledge.ts';
export { SqliteKnowledgeStore } from './knowledge-sqlite.ts';
export { type KeptItem, type KeptVersion, type KnowledgeStore, MemoryKnowledgeStore } from './knowledge-store.ts';
export type { FinishedSync, SyncItem, SyncOptions, SyncResult, SyncSide, SyncState } from './knowledge-sync.ts';
export type { FederationNodeEvents } from './node-events.ts';
export type { FederationNodeOptions } from './node-options.ts';
export type { Destination, SendOptions, Sent } from './outbox.ts';
export type { FallbackChange, P2pOptions, RefusedEntry } from './p2p.ts';
export type { ReceivedMessage } from './received-message.ts';
export type { RequestOptions } from './requests.ts';
export type { GivenSecret, KnownSecret, SecretAccess, SecretParties, Secrets, StoredSecret } from './secrets.ts';
export type { ServiceHandler } from './serve.ts';
export { type RequestSigner, type RequestToSign, signRequest } from './signed-request.ts';
export type { EventSubscription, FederationEvent, SubscribeOptions } from './subscribe.ts';
export type { ClaimedTask, ClaimOptions, TaskHandler, TaskHandlers, WorkOptions } from './work.ts';

interface End {
  readonly reason: string;
  readonly error?: Error;
  /** The hub said when to come back. */
  readonly retryAfterMs?: number | undefined;
}

export class FederationNode extends EventEmitter<FederationNodeEvents> {
  /** Secrets of this node, and those that others let it have. */
  readonly secrets: Secrets;
  /** Files of this node: sent, fetched, listed and taken away over HTTP, also while the session is lost for a moment. */
  readonly files: Files;
  readonly #options: FederationNodeOptions;
  readonly #identity: Identity;
  readonly #clock: NodeClock;
  readonly #feed: Feed;
  readonly #serving: Serving;
  readonly #desk: Desk;
  readonly #subscriber: Subscriber;
  readonly #knowledge: KnowledgeDesk;
  readonly #p2p: P2p | undefined;
  #connecting: Promise<this> | undefined;
  #settle: { opened(): void; failed(error: Error): void } | undefined;
  #connection: Connection | undefined;
  #session: Session | undefined;
  /** Hears what became of the request to join that waits. */
  #answered: ((answer: Registered | HubRefusal) => void) | undefined;
  /** Ends the session under way, or the wait for the next. */
  #interrupt: ((end: End) => void) | undefined;
  #closed = false;

  constructor(options: FederationNodeOptions) {
    super();
    const {
      url,
      nodeId,
      keyFile,
      key,
      displayName,
      invite,
      reading,
      position,
      logger,
      clock,
      agent,
      traceparent,
      p2p,
      ...profile
    } = options;
    if (!/^(http|ws)s?:$/.test(new URL(url).protocol)) throw new TypeError(`${url} is not the URL of a hub`);
    this.#options = options;
    const named = displayName === undefined ? profile : { display_name: displayName, ...profile };
    this.#identity = new Identity({ nodeId, keyFile, key, invite }, named);
    this.#clock = clock ?? processClock;
    this.#feed = new Feed((packet) => this.#deliver(packet), position);
    this.#serving = new Serving(this.#clock, (error) => this.#trouble(error));
    this.#subscriber = new Subscriber({
      clock: this.#clock,
      subscribe: async (packet) => this.#open().ask('federation:subscribe', packet, 30_000),
      unsubscribe: async (subscription) => this.#open().ask('federation:unsubscribe', { subscription }),
      connected: () => this.#session !== undefined,
      trouble: (error) => this.#trouble(error),
      paused: (event) => this.#tell('subscription-paused', event),
      hand: (listener, event) => guarded(() => listener(event)),
    });
    const line = {
      nodeId,
      url,
      clock: this.#clock,
      token: () => this.token,
      traceparent,
      ask: async <N extends ClientPacketName>(name: N, packet: ClientPacket<N>, timeoutMs?: number) =>
        this.#open().ask(name, packet, timeoutMs),
      trouble: (error: Error) => this.#trouble(error),
    };
    this.#desk = new Desk(line, {
      listens: () => this.listenerCount('message') > 0,
      message: (message) => this.#tell('message', message),
      state: (packet) => this.#tell('message-state', packet),
      file: ({ file }) => this.#tell('file', file),
      restart: (reason) => this.#interrupt?.({ reason }),
    });
    this.#knowledge = new KnowledgeDesk(line);
    this.secrets = new Secrets(line);
    this.#p2p = p2p && this.#fallback(p2p, line);
    this.files = new Files(line);
    (this as EventEmitter).on('newListener', (name) => {
      if (name === 'message') queueMicrotask(() => this.#desk.mail.listened()); // by then it listens
    });
  }

  /** Everything up to here was emitted. Keep it to pass as `position` to a later process. */
  get position(): number | undefined {
    return this.#feed.position;
  }

  /** The token of the open session, for requests over HTTP; undefined while there is none. */
  get token(): string | undefined {
    return this.#session?.token;
  }

  /**
   * Resolves when the node is registered and its session is open; with `p2p`, also when it goes on without the hub. Keeps trying while the hub is away, for ever unless
   * `timeoutMs` is given, and while an administrator has not decided yet; rejects with `HubRefusal` when the hub says a no that trying again does not change, with
   * `HubUnreachable` after the timeout, and with what is wrong with the key file. After a rejection the node is closed.
   */
  connect({ timeoutMs }: { timeoutMs?: number } = {}): Promise<this> {
    if (this.#closed) return Promise.reject(new HubUnreachable('this node was closed; make a new one'));
    this.#connecting ??= new Promise<this>((resolve, reject) => {
      const giveUp = () => this.#stop('timeout', new HubUnreachable(`no session within ${timeoutMs} ms`));
      const cancel = timeoutMs === undefined ? () => {} : this.#clock.after(timeoutMs, giveUp);
      const settle = (how: () => void) => {
        this.#settle = undefined;
        cancel();
        how();
      };
      this.#settle = {
        opened: () => settle(() => resolve(this)),
        failed: (error) => settle(() => reject(error)),
      };
      this.#run().catch((error: Error) => this.#stop('failed', error));
    });
    return this.#connecting;
  }

  /**
   * Answers calls to a service of this node that come through its connection, which the hub uses when it cannot dial the node.
   * The profile names the service from now on, so that others find it. With the name of a capability it answers calls by that
   * capability; with '', calls to the node that name no service. What is returned takes the handler away again.
   */
  serve(service: string, handler: ServiceHandler): () => void {
    const { services = {}, capabilities = [] } = this.#identity.profile;
    const known = service === '' || Object.hasOwn(services, service) || capabilities.includes(service);
    if (!known) {
      const changes = { services: { ...services, [service]: { status: 'running' as const } } };
      this.#identity.say(changes);
      this.#desk.say(changes);
    }
    return this.#serving.handle(service, handler);
  }

  /**
   * Does tasks from now on, by type: the hub pushes them. A handler's answer is the result; what it throws says how it failed
   * (`TaskFailure`). Called again, it replaces what was said before. A task may come more than once: do nothing twice that must be done once.
   */
  work(handlers: TaskHandlers, options: WorkOptions = {}): void {
    this.#identity.say({ work: this.#desk.work(handlers, options) });
  }

  /**
   * Asks for a task; undefined when none came in time. For nodes that take tasks when they like: give `work: { capacity, mode:
   * 'claim' }` in the options. Throws `HubRefusal` or `HubUnreachable`.
   */
  claim(options: ClaimOptions = {}): Promise<ClaimedTask | undefined> {
    return this.#desk.claim(options);
  }

  /**
   * Takes no more tasks and messages, and resolves when those under way are over and the hub knows it. A task that is not over
   * after `timeoutMs` (30 s) is given back, so that another node does it, and its signal aborts; a message that is not handled
   * by then comes again. Call it before `leave` or `close`, which leave tasks to run out.
   */
  drain({ timeoutMs = 30_000 }: { timeoutMs?: number } = {}): Promise<void> {
    return this.#desk.drain(timeoutMs);
  }

  /** Hands in a task. Resolves when the hub has it for good. Throws `HubRefusal`, and `HubUnreachable` when it could not be asked in time. */
  submit(submission: TaskSubmission, options: SubmitOptions = {}): Promise<TaskHandle> {
    return this.#desk.submit(submission, options);
  }

  /**
   * Sends a message: `'ada'` is a node, `{ entity }`, `{ channel }` and `{ everyone: true }` are others. Resolves when the hub has
   * it; those to one address go one after another. Tries again over reconnects, and is sent once. Throws `HubRefusal`
   * (`queue_full`: the mailbox is), and `HubUnreachable` when the hub could not be asked in time.
   */
  send(to: Destination, content: unknown, options: SendOptions = {}): Promise<Sent> {
    return this.#desk.mail.send(to, content, options);
  }

  /**
   * Sends a message that wants an answer, and resolves with the first: what somebody gave to `reply`. Throws as `send` does,
   * `HubUnreachable` when no answer comes in time, and the refusal of the node that will not have the message.
   */
  request(to: Destination, content: unknown, options: RequestOptions = {}): Promise<ReceivedMessage> {
    return this.#desk.mail.request(to, content, options);
  }

  /**
   * Hands each message to this handler from now on: once for this process, those of one sender in order, the next when the one
   * before has settled. One that throws is tried again after 1, 2 and 4 s, then the message is refused and its sender told. What
   * a process had not handled when it ended comes to the next. What is returned takes the handler away; then messages wait at
   * the hub until somebody takes them. Called again, it replaces the handler. Throws `TypeError`.
   */
  messages(handler: MessageHandler, options: MessagesOptions = {}): () => void {
    return this.#desk.mail.messages(handler, options);
  }

  /** Hears a channel from now on, also in later sessions and processes, until `leaveChannel`. Throws `HubRefusal` or `HubUnreachable`. */
  join(channel: string): Promise<void> {
    return this.#desk.mail.join(channel);
  }

  /** Hears a channel no more. Throws `HubRefusal` or `HubUnreachable`. */
  leaveChannel(channel: string): Promise<void> {
    return this.#desk.mail.leaveChannel(channel);
  }

  /**
   * Calls a listener with each event of the patterns (`node.*`, `task.>`), in order, once each, over all sessions until it is ended.
   * Resolves when the hub has it, which waits for a session and a hub with time for it. Throws `HubRefusal`.
   */
  subscribe(
    patterns: readonly string[],
    listener: (event: FederationEvent) => void,
    options: SubscribeOptions = {},
  ): Promise<EventSubscription> {
    return this.#subscriber.subscribe(patterns, listener, options);
  }

  /**
   * What this node knows, kept in this store: written also while it is offline, and brought to the same state as the hub by `sync`. From
   * now on copies that are to go go from it, and a sync that an administrator asks for is of it.
   */
  knowledge(store: KnowledgeStore): Knowledge {
    return this.#knowledge.open(store);
  }

  /** A sync of whoever keeps versions in a way of their own; `knowledge` does it for stores. Withdrawals come to the last side that was given. */
  sync(side: SyncSide, options: SyncOptions = {}): Promise<SyncResult> {
    this.#knowledge.attach(side);
    return this.#knowledge.sync(side, options);
  }

  /** All models of this node from now on; said again in every session. Resolves at once while there is none. Throws `HubRefusal`. */
  models(models: readonly ModelClaim[]): Promise<void> {
    return this.#desk.models(models);
  }

  /**
   * Changes the key of this node, signed by the old one and the new one; the session goes on. With `keyFile`, the new key is made
   * and takes its place there; else it is the one given. Throws `HubRefusal`, or `HubUnreachable` when it is not known whether the
   * hub took it: then the node finds out by itself when it comes back.
   */
  async rotateKey(newKey?: NodeKey): Promise<void> {
    const [connection, session] = [this.#connection, this.#session];
    if (!connection || !session) throw new HubUnreachable('there is no session to change the key in');
    const next = await this.#identity.prepareNext(newKey);
    const { nodeId, key } = await this.#identity.open();
    const registered = await rotate(connection, nodeId, key, next);
    await this.#identity.taken(next);
    if (this.#connection === connection) this.#session?.goOn(registered);
  }

  /** Says goodbye, so that others learn at once that this node is gone, and closes. Throws when the hub could not be told. */
  async leave(): Promise<void> {
    try {
      if (this.#session) await this.#desk.mail.flush();
      if (!this.#connection || !this.#session) throw new HubUnreachable('there is no session to say goodbye in');
      this.#session.stop();
      await this.#connection.ask('federation:leave', {}, 5_000);
    } finally {
      this.close();
    }
  }

  /**
   * Ends all timers and the connection for good: at once, or, when messages were handled that the hub does not know of, as soon
   * as it does, at most a second later. Twice is harmless.
   */
  close(): void {
    this.#stop('closed');
  }

  #fallback(options: P2pOptions, line: Line): P2p {
    const { mail } = this.#desk;
    const p2p = new P2p(options, {
      line,
      key: async () => (await this.#identity.open()).key,
      hand: (message, handled) => mail.direct(message, handled),
      state: (packet) => mail.directState(packet),
      knownFromHub: (messageId) => mail.knows(messageId),
      turned: () => this.#desk.turned(),
      changed: (change) => {
        if (change.active) this.#settle?.opened();
        this.#tell('fallback', change);
      },
      refused: (entry) => this.#tell('entry-refused', entry),
    });
    mail.open(p2p, p2p);
    return p2p;
  }

  /** Sessions, one after another, with growing waits between those that fail. */
  async #run(): Promise<void> {
    const p2p_url = await this.#p2p?.open();
    if (p2p_url !== undefined) this.#identity.say({ network: { ...this.#identity.profile.network, p2p_url } });
    let failures = 0;
    while (!this.#closed) {
      const lived = this.#clock.monotonicMs();
      const end = await this.#live(await this.#identity.open()).catch((error: Error): End => endOf(error));
      // The key may have been changed without this node hearing of it.
      const rotated = isOldKey(end.error) && (await this.#identity.tryNext());
      if (!rotated && isFinal(end.error)) this.#stop(end.reason, end.error);
      this.#drop();
      if (this.#closed) return;
      if (this.#clock.monotonicMs() - lived > backoffMaxMs) failures = 0; // that one worked
      const waitMs = retryInMs(failures++, end.retryAfterMs, this.#clock.random());
      this.#options.logger?.info({ reason: end.reason, waitMs }, 'no session with the hub; trying again');
      this.#tell('disconnected', { reason: end.reason, retryInMs: waitMs });
      await this.#wait(waitMs);
    }
  }

  /** One session, from dial to end. */
  async #live(identity: NodeIdentity): Promise<End> {
    const ended = new Promise<End>((resolve) => {
      this.#interrupt = resolve;
    });
    const interrupt = this.#interrupt!; // a Promise runs its executor at once
    const { url, reading = () => ({}), nodeId, agent, traceparent } = this.#options;
    const handlers: ConnectionHandlers = {
      onPacket: (packet, acknowledge) => {
        if (this.#closed) return; // the last word is being said
        const { name, packet: part } = packet;
        if (name === 'federation:ping') acknowledge({ ok: true });
        else if (name !== 'federation:request') this.#take(packet, interrupt);
        else if (this.#connection) this.#serving.take(part, this.#connection, acknowledge);
      },
      onLost: (reason) => interrupt({ reason }),
    };
    const connection = await Connection.open(url, handlers, { agent, traceparent });
    this.#connection = connection;
    if (this.#closed) return { reason: 'closed' };
    const answer = await this.#register(connection, identity, ended);
    if (!('token' in answer)) return answer;
    const registered = answer;
    await this.#identity.taken(identity.key);
    if (this.#closed) return { reason: 'closed' };
    const parts = {
      nodeId,
      connection,
      clock: this.#clock,
      reading: () => this.#desk.addTo(reading()),
      onBroken: (error: Error) => interrupt(endOf(error)),
      onTrouble: (error: Error) => this.#trouble(error),
      seen: () => this.#feed.position,
      onRestored: (position: number) => this.#restored(position),
    };
    this.#session = new Session(parts, registered);
    this.#p2p?.opened();
    this.#desk.opened(registered);
    this.#subscriber.opened();
    await this.#resume(connection, registered.position);
    if (this.#closed) return { reason: 'closed' };
    this.#settle?.opened();
    const { node, session_id: sessionId, position } = registered;
    this.#tell('connected', { node, sessionId, position });
    return ended;
  }

  /** Registers, and waits for as long as it takes where an administrator decides. Answers the end when that comes first. */
  async #register(connection: Connection, identity: NodeIdentity, ended: Promise<End>): Promise<Registered | End> {
    const answered = new Promise<Registered | HubRefusal>((resolve) => {
      this.#answered = resolve;
    });
    try {
      return await register(connection, identity);
    } catch (error) {
      if (!isWaiting(error)) throw error;
      this.#tell('waiting', { requestedAt: textOf(error, 'requested_at'), expiresAt: textOf(error, 'expires_at') });
      const answer = await Promise.race([answered, ended]);
      if (answer instanceof HubRefusal) throw answer;
      return answer;
    } finally {
      this.#answered = undefined;
    }
  }

  /** Has pushed again what this node missed. A hub that refuses leaves a gap, which is told, not hidden. */
  async #resume(connection: Connection, start: number): Promise<void> {
    const from = this.#feed.begin(start);
    if (from === undefined) return;
    try {
      await connection.ask('federation:resume', { position: from }, 30_000);
    } catch (error) {
      if (!(error instanceof HubRefusal)) throw error;
      this.#trouble(error);
    }
    this.#feed.finish();
  }

  #restored(position: number): void {
    this.#feed.rewind(position);
    this.#subscriber.rewind(position);
    this.#desk.mail.rewind(position);
    this.#trouble(
      new Error(`the hub's log was restored: what it held after ${position} is gone, and positions go on from there`),
    );
  }

  #take(packet: AnyHubPacket, interrupt: (end: End) => void): void {
    if (packet.name === 'federation:admitted') {
      this.#answered?.({ ok: true, ...packet.packet }); // an answer to `register` that came late; its position is where the session begins
    } else if (!this.#knowledge.hear(packet) && !this.#desk.hear(packet) && !this.#feed.take(packet)) {
      interrupt({ reason: 'too much to catch up with at once' });
      this.#connection?.end();
    } else if (packet.name === 'federation:revoked') {
      this.#stop(packet.packet.reason);
    } else if (packet.name === 'federation:degraded' && packet.packet.reason === 'draining') {
      interrupt({ reason: 'draining', retryAfterMs: packet.packet.retry_after_ms ?? 0 });
    }
  }

  #deliver({ name, packet }: AnyHubPacket): void {
    const event = handedOn[name];
    if (name === 'federation:p2p:roster') this.#p2p?.renew();
    if (name === 'federation:event') this.#subscriber.hear(packet);
    if (event) this.#tell(event, ...([packet] as never)); // the event takes the packet of this name
    if (name === 'federation:error') this.#trouble(new HubRefusal(packet.code, packet.message));
    if (name === 'federation:rejected') this.#answered?.(new HubRefusal(packet.code, packet.reason));
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#clock.after(ms, resolve);
      this.#interrupt = () => {
        cancel();
        resolve();
      };
    });
  }

  /** `lastWord`: the connection is still of use until then. */
  #drop(lastWord?: Promise<void>): void {
    const connection = this.#connection;
    this.#session?.stop();
    this.#session = undefined;
    this.#connection = undefined;
    this.#desk.dropped();
    this.#p2p?.dropped();
    this.#serving.drop();
    if (lastWord) void lastWord.then(() => connection?.end());
    else connection?.end();
  }

  /** The end of this node: asked for by either side, or forced by `error`. */
  #stop(reason: string, error?: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    const lastWord = this.#desk.close();
    this.#knowledge.close();
    this.#p2p?.close();
    this.#subscriber.close(error ?? new HubUnreachable(`the node was closed: ${reason}`));
    const hadSession = this.#session !== undefined;
    this.#drop(lastWord);
    this.#interrupt?.({ reason });
    if (hadSession) this.#tell('disconnected', { reason, retryInMs: undefined });
    if (this.#settle) this.#settle.failed(error ?? new HubUnreachable(`closed before there was a session: ${reason}`));
    else if (error) this.#trouble(error);
  }

  /** The connection of the open session. Throws `HubUnreachable`. */
  #open(): Connection {
    if (!this.#connection || !this.#session) throw new HubUnreachable('there is no session to ask in');
    return this.#connection;
  }

  #trouble(error: Error): void {
    this.#options.logger?.warn({ err: error }, error.message);
    if (this.listenerCount('error') > 0) this.#tell('error', error);
  }

  #tell<K extends keyof FederationNodeEvents>(name: K, ...args: FederationNodeEvents[K]): void {
    guarded(() => (this as EventEmitter).emit(name, ...args)); // the arguments are those of `name`
  }
}

/** A listener that throws is the program's defect, told as uncaught; it does not take the session down with it. */
function guarded(listener: () => void): void {
  try {
    listener();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** Whether a hub that took another key of this node would say this. */
function isOldKey(error: Error | undefined): boolean {
  return error instanceof HubRefusal && (error.code === 'key_revoked' || error.code === 'node_id_taken');
}

function textOf({ extra }: HubRefusal, name: string): string | undefined {
  const value = extra[name];
  return typeof value === 'string' ? value : undefined;
}

function endOf(error: Error): End {
  return { reason: error.message, error, retryAfterMs: error instanceof HubRefusal ? error.retryAfterMs : undefined };
}
