/** One task that this node has under a lease: what it says of it, and how it learns that the task is not its any more. */
import type { AssignedTask, ClientPacket } from '../protocol.ts';
import type { NodeClock } from './clock.ts';
import { HubRefusal } from './connection.ts';
import type { Sender } from './sender.ts';

/** Throw it from a handler to say how the work failed. Any other error counts as one that may go well another time. */
export class TaskFailure extends Error {
  /** For programs: 1 to 64 characters. */
  readonly code: string;
  /** Trying again could help. */
  readonly retryable: boolean;

  constructor(
    code: string,
    message: string,
    { retryable = true, cause }: { retryable?: boolean; cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.name = 'TaskFailure';
    this.code = code;
    this.retryable = retryable;
  }
}

/** What a handler is given besides the task. */
export interface TaskContext {
  /** Aborts when the task is not this node's any more: cancelled, too late, given to another; and when the node closes. */
  readonly signal: AbortSignal;
  /** Says how far the work is. Sent at most once a second, the newest. */
  readonly progress: (percent?: number, message?: string) => void;
}

/** Work that takes no longer than this is not announced: its end says that it began. */
const announceAfterMs = 250;
const progressEveryMs = 1_000;
/** How long the end of a task is offered to a hub that does not answer; by then the lease is another's. */
const reportPatienceMs = 10 * 60_000;
const startPatienceMs = 10_000;
const giveBackPatienceMs = 5_000;
/** Of a result as JSON, as the hub counts. */
const resultBytes = 256 * 1024;

const lost: ReadonlySet<string> = new Set(['not_found', 'task_over', 'lease_lost']);

export class Assignment implements TaskContext {
  readonly task: AssignedTask;
  readonly #sender: Sender;
  readonly #clock: NodeClock;
  readonly #abort = new AbortController();
  #cancelStart = () => {};
  #cancelProgress: (() => void) | undefined;
  #said: { percent?: number; message?: string } | undefined;
  #ended = false;

  /** `begun`: the hub knows that it began. */
  constructor(task: AssignedTask, sender: Sender, clock: NodeClock, begun: boolean) {
    this.task = task;
    this.#sender = sender;
    this.#clock = clock;
    if (!begun) this.#cancelStart = clock.after(announceAfterMs, () => this.#announce());
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  readonly progress = (percent?: number, message?: string): void => {
    if (this.#ended || this.signal.aborted) return;
    this.#said = {
      ...this.#said,
      ...(percent !== undefined && Number.isFinite(percent) && { percent: Math.min(100, Math.max(0, percent)) }),
      ...(message !== undefined && { message: message.slice(0, 512) }),
    };
    if (!this.#cancelProgress) this.#tellProgress();
  };

  /** Hands the result in. Throws `HubRefusal` when it is not taken, and `HubUnreachable`. */
  async complete(result: unknown): Promise<void> {
    let content: unknown;
    try {
      content = contentOf(result);
    } catch (error) {
      return this.fail(error);
    }
    const packet = { ...this.#held(), ...(content !== undefined && { result: content }) };
    try {
      await this.#report('federation:task:complete', packet);
    } catch (error) {
      if (!(error instanceof HubRefusal && error.code === 'invalid_input')) throw error;
      await this.fail(new TaskFailure('result_invalid', error.message, { retryable: false }));
    }
  }

  /** Says that the work failed. Throws as `complete` does. */
  async fail(error: unknown): Promise<void> {
    const retryable = !(error instanceof TaskFailure) || error.retryable;
    await this.#report('federation:task:fail', { ...this.#held(), error: errorOf(error), retryable });
  }

  /** Gives the task back without having begun it. */
  async decline(code: string, message: string): Promise<void> {
    await this.#report('federation:task:fail', { ...this.#held(), error: { code, message }, declined: true });
  }

  /** The node stops before the work is done: another is to do it. Resolves when the hub knows. */
  async giveBack(): Promise<void> {
    const error = { code: 'node_stopping', message: 'the node stopped before the work was done' };
    const told = this.#sender.send(
      'federation:task:fail',
      { ...this.#held(), error, declined: true },
      giveBackPatienceMs,
    );
    this.withdraw(error.message);
    await told;
  }

  /** The task is not this node's any more: nothing more is said of it. */
  withdraw(reason: string): void {
    this.#end();
    this.#abort.abort(new DOMException(reason, 'AbortError'));
  }

  #held() {
    return { task_id: this.task.task_id, lease: this.task.lease };
  }

  async #report<N extends 'federation:task:complete' | 'federation:task:fail'>(
    name: N,
    packet: ClientPacket<N>,
  ): Promise<void> {
    this.#end();
    await this.#sender.send(name, packet, reportPatienceMs);
  }

  #end(): void {
    this.#ended = true;
    this.#cancelStart();
    this.#cancelProgress?.();
  }

  #announce(): void {
    this.#sender
      .send('federation:task:started', this.#held(), startPatienceMs)
      .catch((error: unknown) => this.#judge(error));
  }

  #tellProgress(): void {
    const said = this.#said;
    this.#said = undefined;
    this.#cancelProgress = this.#clock.after(progressEveryMs, () => {
      this.#cancelProgress = undefined;
      if (this.#said && !this.#ended) this.#tellProgress();
    });
    this.#sender
      .once('federation:task:progress', { ...this.#held(), ...said })
      .then(() => this.#cancelStart()) // who says how far it is has begun
      .catch((error: unknown) => this.#judge(error)); // the next one tells
  }

  #judge(error: unknown): void {
    if (this.#ended) return;
    if (error instanceof HubRefusal && lost.has(error.code)) this.withdraw(error.message);
  }
}

/** A result as JSON has it. Throws a `TaskFailure` for one that cannot be sent. */
function contentOf(result: unknown): unknown {
  let text: string | undefined;
  try {
    text = JSON.stringify(result);
  } catch (cause) {
    throw new TaskFailure('result_invalid', `the result is no JSON: ${cause}`, { retryable: false, cause });
  }
  if (text === undefined) return undefined;
  const bytes = Buffer.byteLength(text);
  if (bytes <= resultBytes) return JSON.parse(text);
  const message = `the result is ${bytes} bytes, and ${resultBytes} are taken; hand it in as a file`;
  throw new TaskFailure('result_too_large', message, { retryable: false });
}

function errorOf(error: unknown): { code: string; message: string } {
  const message = (error instanceof Error ? error.message : String(error)).slice(0, 4_096);
  const code = error instanceof TaskFailure ? error.code.slice(0, 64) : '';
  return { code: code || 'handler_error', message };
}
