/**
 * Calls to a module that lives in a worker thread: SQLite and the projector live there, so that neither an fsync nor a long
 * query stalls the sockets. Arguments and answers are structured clones. A `Fault` crosses as a `Fault`, everything else
 * as an `Error` of the same name and message.
 */
import { parentPort, type ResourceLimits, Worker, workerData } from 'node:worker_threads';
import { type Code, Fault } from './errors.ts';

type Api = Record<string, (...args: never[]) => unknown>;

interface Call {
  readonly id: number;
  readonly method: string;
  readonly args: unknown[];
}

interface Failure {
  readonly name: string;
  readonly message: string;
  readonly code?: string;
  readonly stack?: string;
}

type Reply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly failure: Failure }
  | { readonly note: unknown };

/** The file of a module that is started and not imported, by its path from here without its ending, which is that of this file: `.ts` from sources, `.js` built. */
export function moduleFile(module: string): URL {
  return new URL(`./${module}${import.meta.url.slice(-3)}`, import.meta.url);
}

/** The main side: `A` is the shape of the api that the module gives to `serve`. */
export class Thread<A extends Api, Note = never> {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, { resolve: (value: never) => void; reject: (error: unknown) => void }>();
  readonly #exited: Promise<void>;
  #next = 0;
  #dead: Error | undefined;

  /**
   * @param module see `moduleFile`.
   * @param data given to the module as `threadData()`.
   * @param onNote called with each `note` of the module.
   * @param resourceLimits sizes of its heap, in MiB, where the defaults do not suit.
   */
  constructor(
    module: string,
    data: unknown,
    onNote: (note: Note) => void = () => {},
    resourceLimits: ResourceLimits = {},
  ) {
    this.#worker = new Worker(moduleFile(module), { workerData: data, resourceLimits });
    this.#worker.on('message', (reply: Reply) => {
      if ('note' in reply) return onNote(reply.note as Note);
      const waiting = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      if (this.#waiting.size === 0) this.#worker.unref();
      if ('failure' in reply) waiting?.reject(revive(reply.failure));
      else waiting?.resolve(reply.value as never);
    });
    this.#exited = new Promise((done) => {
      const end = (error: Error) => {
        this.#dead ??= error;
        for (const { reject } of this.#waiting.values()) reject(this.#dead);
        this.#waiting.clear();
        done();
      };
      this.#worker.on('error', end);
      this.#worker.on('exit', (code) => end(new Error(`the thread ended with code ${code}`)));
    });
    this.#worker.unref();
  }

  /** Why it answers no more; undefined while it does. */
  get dead(): Error | undefined {
    return this.#dead;
  }

  /** Runs a method of the module there. Rejects when the thread died. */
  call<K extends keyof A & string>(method: K, ...args: Parameters<A[K]>): Promise<Awaited<ReturnType<A[K]>>> {
    if (this.#dead) return Promise.reject(this.#dead);
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#waiting.set(id, { resolve, reject });
      this.#worker.ref(); // a call under way keeps the process alive
      this.#worker.postMessage({ id, method, args } satisfies Call);
    });
  }

  /** Ends the thread at once; calls under way reject. Call the module's own `close` first. */
  async end(): Promise<void> {
    await this.#worker.terminate();
    await this.#exited;
  }
}

/** The worker side: answers calls with `api`, each in its turn as it comes; gives back a way to send notes. */
export function serve<Note = never>(api: Api): (note: Note) => void {
  const port = parentPort!;
  port.on('message', ({ id, method, args }: Call) => {
    const answer = (reply: Reply) => port.postMessage(reply);
    const fail = (error: unknown) => answer({ id, failure: describe(error) });
    try {
      const value = api[method]!(...(args as never[]));
      if (value instanceof Promise) value.then((settled) => answer({ id, value: settled }), fail);
      else answer({ id, value });
    } catch (error) {
      fail(error);
    }
  });
  return (note) => port.postMessage({ note } satisfies Reply);
}

/** What the main side gave as `data`. */
export function threadData<T>(): T {
  return workerData as T;
}

function describe(error: unknown): Failure {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const { name, message, stack } = error;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  return { name, message, ...(code && { code }), ...(stack && { stack }) };
}

function revive({ name, message, code, stack }: Failure): Error {
  const error = name === 'Fault' ? new Fault(code as Code, message) : Object.assign(new Error(message), { name, code });
  if (stack) error.stack = stack;
  return error;
}
