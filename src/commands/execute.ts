/**
 * The one road from a command to the log: load, decide, append, answer.
 *
 * A decision is judged against the stream it was made from. When someone else wrote meanwhile, the delta is read and
 * the decision made again, a stated number of times. States are cached and follow the log, so that a hot stream is read
 * once and a new one never; a stale one costs a conflict, never a wrong decision. Commands to one stream in this process take turns.
 */
import { LRUCache } from 'lru-cache';
import { type Code, Fault, isRefusal, type Refusal, refuse } from '../errors.ts';
import { type DomainEvent, decode, encode, keptTypes, streamClass } from '../events/catalog.ts';
import type {
  CommandRecord,
  EventLog,
  Expected,
  NewEvent,
  Recorded,
  StoredCommand,
  Subscription,
  Verdict,
} from '../events/log.ts';
import { isoTime, type Kernel } from '../kernel.ts';
import { type Span, type Tracer, untraced } from '../tracing.ts';

/** An event as `evolve` sees it: freshly decided, or out of the log. `time` is ISO 8601. */
export type Happened = DomainEvent & { readonly time: string; readonly revision: number };

/** What is known of one stream, and how each event changes it. Pure; `evolve` ignores what it does not know. */
export interface Aggregate<State> {
  readonly initial: State;
  evolve(state: State, event: Happened): State;
}

/** Time and chance, given to a decision as data. */
export interface Context {
  /** Milliseconds since 1970. */
  readonly now: number;
  /** A UUID of this decision's own. */
  readonly id: string;
}

/** What was decided. No events means that nothing had to change. */
export interface Decision<Reply> {
  readonly events: readonly DomainEvent[];
  readonly reply: Reply;
}

/** Pure: the same state, command and context give the same decision. */
export type Decide<State, Command, Reply> = (
  state: State,
  command: Command,
  context: Context,
) => Decision<Reply> | Refusal;

/** Who asks, and how the command is known. */
export interface About {
  /** `node:<id>`, `operator:<prefix>`, `hub` or `anonymous`. */
  readonly actor: string;
  /** Where the actor came from, as the door saw it. */
  readonly address?: string;
  readonly correlation?: string;
  readonly causation?: string;
  readonly traceparent?: string;
  /** Makes the command known by id: asked again, it answers as before and does nothing. */
  readonly command?: {
    /** UUID; see `commandId`. */
    readonly id: string;
    /** Hash of what was asked. */
    readonly bodyHash: string;
    /** The reply holds a secret: it is not kept, and asking again answers `already_done`. */
    readonly once?: boolean;
  };
}

export interface Executed<Reply> {
  /** Wait for it with `min_position` to see the effect in the views. */
  readonly position: number;
  readonly reply: Reply;
}

interface Loaded {
  readonly state: unknown;
  /** Revision of the last event in `state`; -1 for a stream that is not there. */
  readonly revision: number;
  readonly position: number;
}

/** How often a decision is made again after a conflict, before the caller is told. */
const attempts = 10;
const cachedStreams = 50_000;
const pageEvents = 1_000;

export class Executor {
  readonly #log: EventLog;
  readonly #kernel: Kernel;
  readonly #tracing: Tracer;
  readonly #cache = new LRUCache<string, Loaded & { aggregate: Aggregate<unknown> }>({ max: cachedStreams });
  /** The newest revision of each stream that passed by lately: what is loaded meanwhile must hold it. */
  readonly #passed = new LRUCache<string, number>({ max: cachedStreams });
  /** The last command under way of each stream. */
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #subscription: Subscription;

  private constructor(log: EventLog, kernel: Kernel, tracing: Tracer, head: number) {
    this.#log = log;
    this.#kernel = kernel;
    this.#tracing = tracing;
    this.#subscription = log.subscribe(head, ({ events }) => this.#follow(events), { types: keptTypes });
  }

  static async start(log: EventLog, kernel: Kernel, tracing: Tracer = untraced): Promise<Executor> {
    return new Executor(log, kernel, tracing, await log.head());
  }

  /** Runs a command against one kept stream. Throws a `Fault` when the log fails. */
  execute<State, Command, Reply>(
    stream: string,
    aggregate: Aggregate<State>,
    decide: Decide<State, Command, Reply>,
    command: Command,
    about: About,
  ): Promise<Executed<Reply> | Refusal> {
    const span = this.#begin(`command ${decide.name}`, stream, about);
    if (span) return traced(span, this.#inTurn(stream, aggregate, decide, command, under(span, about)));
    return this.#inTurn(stream, aggregate, decide, command, about);
  }

  async #inTurn<State, Command, Reply>(
    stream: string,
    aggregate: Aggregate<State>,
    decide: Decide<State, Command, Reply>,
    command: Command,
    about: About,
  ): Promise<Executed<Reply> | Refusal> {
    const before = this.#turns.get(stream);
    const turn = (before ?? Promise.resolve()).then(() => this.#run(stream, aggregate, decide, command, about));
    const settled = turn.catch(() => {});
    this.#turns.set(stream, settled);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(stream) === settled) {
        this.#turns.delete(stream);
        this.#forgetIfPassed(stream);
      }
    }
  }

  /**
   * Decides on a kept stream and writes readings to a transient one. The state is as fresh as this replica's view of the
   * log, which is enough for readings, and nobody takes turns.
   */
  record<State, Command, Reply>(
    stream: string,
    aggregate: Aggregate<State>,
    decide: Decide<State, Command, Reply>,
    command: Command,
    to: string,
    about: About,
  ): Promise<Executed<Reply> | Refusal> {
    if (streamClass(to) !== 'transient') return Promise.reject(new TypeError(`${to} is not a transient stream`));
    const span = this.#begin(`command ${decide.name}`, to, about);
    if (span) return traced(span, this.#write(stream, aggregate, decide, command, to, under(span, about)));
    return this.#write(stream, aggregate, decide, command, to, about);
  }

  async #write<State, Command, Reply>(
    stream: string,
    aggregate: Aggregate<State>,
    decide: Decide<State, Command, Reply>,
    command: Command,
    to: string,
    about: About,
  ): Promise<Executed<Reply> | Refusal> {
    const loaded = this.#cached(stream) ?? (await this.#load(stream, aggregate));
    const decision = decide(loaded.state as State, command, this.#context());
    if (isRefusal(decision) || decision.events.length === 0)
      return (await this.#known<Reply>(about)) ?? unwritten(decision, loaded);
    const events = this.#encode(decision.events, about);
    const verdict = await this.#append(to, 'any', events, decision.reply, about);
    if (verdict.status === 'conflict') throw new Error(`an append of 'any' to ${to} met a conflict`);
    if (verdict.status === 'duplicate' && verdict.command && about.command)
      return again(verdict.command, about.command.bodyHash);
    return { position: verdict.position, reply: decision.reply };
  }

  /** Writes down facts that nobody decides on, such as a refusal. Answers the position of the last. Throws a `Fault`. */
  async note(stream: string, facts: readonly DomainEvent[], about: About): Promise<number> {
    const verdict = await this.#log.append(stream, 'any', this.#encode(facts, about));
    if (verdict.status !== 'written') throw new Error(`facts for ${stream} met a ${verdict.status}`);
    return verdict.position;
  }

  /** The state of a stream as the log has it now, without deciding anything. Of one that is known, only what is new is read. */
  async state<State>(stream: string, aggregate: Aggregate<State>): Promise<State> {
    const known = this.#cached(stream);
    const loaded = known ? await this.#refresh(stream, aggregate, known) : await this.#load(stream, aggregate);
    return loaded.state as State;
  }

  async close(): Promise<void> {
    await this.#subscription.close();
  }

  async #run<State, Command, Reply>(
    stream: string,
    aggregate: Aggregate<State>,
    decide: Decide<State, Command, Reply>,
    command: Command,
    about: About,
  ): Promise<Executed<Reply> | Refusal> {
    // A stream that is not known here is taken for new: if it is not, the log says so, and it is read then.
    let presumed = this.#cached(stream) === undefined;
    // What others wrote a moment ago may not be known here yet. An append would find out; to decide that nothing is to be
    // written, the stream is looked at first.
    let fresh = false;
    let loaded = this.#cached(stream) ?? nothing(aggregate);
    for (let attempt = 0; attempt < attempts; attempt++) {
      const deciding = this.#tracing.within('decide', 'internal', about.traceparent);
      const decision = decide(loaded.state as State, command, this.#context());
      deciding?.end(isRefusal(decision) ? decision.refused : undefined);
      if (isRefusal(decision) || decision.events.length === 0) {
        if (fresh) return (await this.#known<Reply>(about)) ?? unwritten(decision, loaded);
      } else {
        const events = this.#encode(decision.events, about);
        const expected = loaded.revision === -1 ? 'noStream' : loaded.revision;
        const verdict = await this.#append(stream, expected, events, decision.reply, about);
        const answer = this.#answer(stream, aggregate, loaded, decision, events, verdict, about);
        if (answer) return answer;
        if (attempt > 0) await this.#kernel.sleep(this.#kernel.random() * 5 * 2 ** attempt);
      }
      const loading = this.#tracing.within('load', 'internal', about.traceparent);
      loaded = presumed ? await this.#load(stream, aggregate) : await this.#refresh(stream, aggregate, loaded);
      loading?.end();
      presumed = false;
      fresh = true;
    }
    return refuse('conflict', `${stream} was changed by others ${attempts} times while this was decided`);
  }

  /** From handing it to the log until the verdict. */
  #append(
    stream: string,
    expected: Expected,
    events: readonly NewEvent[],
    reply: unknown,
    about: About,
  ): Promise<Verdict> {
    const span = this.#tracing.within('append', 'internal', about.traceparent);
    const appended = this.#log.append(stream, expected, events, this.#record(about, reply));
    if (span) {
      span.set('federation.events', events.length);
      appended.then(
        () => span.end(),
        (error: unknown) => span.end(error instanceof Fault ? error.code : 'internal_error'),
      );
    }
    return appended;
  }

  /** The span of a command; undefined for one that is not traced. */
  #begin(name: string, stream: string, { actor, traceparent }: About): Span | undefined {
    const span = this.#tracing.within(name, 'internal', traceparent);
    span?.set('federation.stream', stream);
    span?.set('federation.actor', actor);
    return span;
  }

  /**
   * The answer to a command that was done before. Asked when a decision writes nothing, since it may be the command's own effect
   * that left nothing to do. Else the append tells: to ask before would be one more way to the log for each command.
   */
  async #known<Reply>({ command }: About): Promise<Executed<Reply> | Refusal | undefined> {
    const known = command && (await this.#log.findCommand(command.id));
    return known && again(known, command.bodyHash);
  }

  /** What the verdict means for the caller; undefined for a conflict, which is decided again. */
  #answer<Reply>(
    stream: string,
    aggregate: Aggregate<unknown>,
    loaded: Loaded,
    decision: Decision<Reply>,
    events: readonly NewEvent[],
    verdict: Verdict,
    about: About,
  ): Executed<Reply> | Refusal | undefined {
    if (verdict.status === 'conflict') return undefined;
    if (verdict.status === 'duplicate') {
      if (verdict.command && about.command) return again(verdict.command, about.command.bodyHash);
      throw new Error(`the log knows an event id that was just made: ${events[0]?.id}`);
    }
    let { state, revision } = loaded;
    for (const [at, event] of decision.events.entries()) {
      revision++;
      state = aggregate.evolve(state, { ...event, time: events[at]!.time, revision } as Happened);
    }
    const newest = Math.max(this.#cached(stream)?.revision ?? -1, this.#passed.get(stream) ?? -1);
    if (newest <= revision) this.#cache.set(stream, { state, revision, position: verdict.position, aggregate });
    return { position: verdict.position, reply: decision.reply };
  }

  #cached(stream: string): Loaded | undefined {
    return this.#cache.get(stream);
  }

  /** Reads a stream into the cache; again, when an event of it passed by while it was read. */
  async #load(stream: string, aggregate: Aggregate<unknown>): Promise<Loaded> {
    let loaded = await this.#refresh(stream, aggregate, nothing(aggregate));
    while ((this.#passed.get(stream) ?? -1) > loaded.revision) loaded = await this.#refresh(stream, aggregate, loaded);
    return loaded;
  }

  /** Brings a loaded state up to the end of its stream. */
  async #refresh(stream: string, aggregate: Aggregate<unknown>, from: Loaded): Promise<Loaded> {
    let loaded = from;
    for (;;) {
      const page = await this.#log.readStream(stream, loaded.revision + 1, pageEvents);
      for (const recorded of page) loaded = evolved(aggregate, loaded, recorded);
      if (page.length < pageEvents) break;
    }
    const cached = this.#cached(stream);
    if (cached && cached.revision > loaded.revision) return cached;
    this.#cache.set(stream, { ...loaded, aggregate });
    return loaded;
  }

  /** Keeps cached states fresh with what any replica wrote. */
  #follow(events: readonly Recorded[]): void {
    for (const recorded of events) {
      this.#passed.set(recorded.stream, recorded.revision);
      if (this.#turns.has(recorded.stream)) continue; // likely what that command wrote; it knows its own effect
      const cached = this.#cache.peek(recorded.stream);
      if (!cached || recorded.revision <= cached.revision) continue;
      if (recorded.revision > cached.revision + 1) this.#cache.delete(recorded.stream);
      else
        this.#cache.set(recorded.stream, {
          ...evolved(cached.aggregate, cached, recorded),
          aggregate: cached.aggregate,
        });
    }
  }

  /** What others wrote to a stream during a command to it was not followed: then the stream is read again when it is needed. */
  #forgetIfPassed(stream: string): void {
    const cached = this.#cache.peek(stream);
    if (cached && (this.#passed.get(stream) ?? -1) > cached.revision) this.#cache.delete(stream);
  }

  #context(): Context {
    const { uuid } = this.#kernel;
    let made: string | undefined;
    return {
      now: this.#kernel.now(),
      get id() {
        made ??= uuid(); // few decisions ask for it
        return made;
      },
    };
  }

  #encode(events: readonly DomainEvent[], about: About): NewEvent[] {
    const { actor, address, causation, traceparent } = about;
    const correlation = about.correlation ?? this.#kernel.uuid();
    const meta = JSON.stringify({ actor, address, correlation, causation, traceparent, replica: this.#kernel.replica });
    const time = isoTime(this.#kernel.now());
    return events.map((event) => encode(event, { id: this.#kernel.uuid(), time, meta }));
  }

  #record({ command }: About, reply: unknown): CommandRecord | undefined {
    if (!command) return undefined;
    const { id, bodyHash, once } = command;
    return { id, bodyHash, reply: once ? null : JSON.stringify(reply ?? null), time: isoTime(this.#kernel.now()) };
  }
}

/** What is done in a span: events name the span, not what it is a part of. */
function under(span: Span, about: About): About {
  return { ...about, traceparent: span.traceparent };
}

async function traced<Reply>(
  span: Span,
  running: Promise<Executed<Reply> | Refusal>,
): Promise<Executed<Reply> | Refusal> {
  let failed: Code | undefined = 'internal_error'; // unless it comes to an end of another kind
  try {
    const done = await running;
    failed = isRefusal(done) ? done.refused : undefined;
    if (!isRefusal(done)) span.set('federation.position', done.position);
    return done;
  } catch (error) {
    if (error instanceof Fault) failed = error.code;
    throw error;
  } finally {
    span.end(failed);
  }
}

/** A stream as it is before its first event. */
function nothing(aggregate: Aggregate<unknown>): Loaded {
  return { state: aggregate.initial, revision: -1, position: 0 };
}

function evolved(aggregate: Aggregate<unknown>, loaded: Loaded, recorded: Recorded): Loaded {
  return {
    state: aggregate.evolve(loaded.state, decode(recorded)),
    revision: recorded.revision,
    position: recorded.position,
  };
}

function unwritten<Reply>(decision: Decision<Reply> | Refusal, { position }: Loaded): Executed<Reply> | Refusal {
  return isRefusal(decision) ? decision : { position, reply: decision.reply };
}

function again<Reply>(known: StoredCommand, bodyHash: string): Executed<Reply> | Refusal {
  if (known.bodyHash !== bodyHash) {
    const code: Code = 'idempotency_mismatch';
    return refuse(code, 'this idempotency key was used for another request');
  }
  if (known.reply === null) return refuse('already_done', 'this was done before; its secret was shown then');
  return { position: known.position, reply: JSON.parse(known.reply) as Reply }; // written by #record from the same Reply
}
