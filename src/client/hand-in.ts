/** The tasks that a node hands in: known by a key, so that each is handed in once, and watched until they are over. */
import { randomUUID } from 'node:crypto';
import type { HubPacket, TaskSubmission } from '../protocol.ts';
import { TaskFailure } from './assignment.ts';
import { HubRefusal, HubUnreachable } from './connection.ts';
import { callHub } from './http.ts';
import type { Line, Sender } from './sender.ts';

export interface SubmitOptions {
  /** Makes the task known: handed in again under the same key within seven days, it is the same task. Default: a random one. */
  readonly key?: string;
  /** How long to go on trying while the hub is away or busy. Default one minute. */
  readonly timeoutMs?: number;
}

/** A task that was handed in. */
export interface TaskHandle {
  readonly taskId: string;
  /**
   * The result, when there is one. Rejects with a `TaskFailure` when the task failed, or with code `cancelled` when it was
   * cancelled; with `HubUnreachable` when this node is closed before.
   */
  done(): Promise<unknown>;
  /** Ends the task, whoever works on it. Throws `HubRefusal`: `task_over` when it was over before. */
  cancel(reason?: string): Promise<void>;
}

type Finished = Pick<HubPacket<'federation:task:finished'>, 'status' | 'result' | 'error'>;

interface Watched {
  readonly taskId: string;
  finished: Finished | undefined;
  /** The hub does not know the task, by two looks. */
  missing: number;
  /** The session in which it was handed in or looked at last: from there on its end is pushed. */
  session: number;
  /** Where it was handed in: views that are behind that do not know it. */
  position: number;
  readonly waiting: { resolve(result: unknown): void; reject(error: Error): void }[];
}

/** Tasks that are watched for their end at once. Of more, the oldest are asked about when somebody waits for them. */
const mostWatched = 100_000;
/** Ends of tasks whose hand-in was not answered yet; of more, the newest. */
const mostEarly = 20_000;
/** Of a payload as JSON, as the hub counts. */
const payloadBytes = 256 * 1024;
/** Of what stands around it; with more, the packet would be larger than the hub takes, which ends the connection. */
const aroundBytes = 48 * 1024;
const looksAtOnce = 4;
const lookEveryMs = 5_000;
/** After a new session, what ended meanwhile is looked for again so much later: the views may have been a moment behind. */
const secondLookMs = 3_000;

export class HandIns {
  readonly #line: Line;
  readonly #sender: Sender;
  readonly #watched = new Map<string, Watched>();
  readonly #early = new Map<string, Finished>();
  #handingIn = 0;
  /** Counts sessions, and where the newest began. */
  #session = 0;
  #position = 0;
  #cancelLook = () => {};
  #closed = false;

  constructor(line: Line, sender: Sender) {
    this.#line = line;
    this.#sender = sender;
  }

  async submit(submission: TaskSubmission, { key: known, timeoutMs = 60_000 }: SubmitOptions): Promise<TaskHandle> {
    const key = known ?? randomUUID();
    // As JSON has it: no bytes, no functions, and no larger than a packet may be.
    const { payload, ...around } = submission;
    const text = JSON.stringify({ callback: { kind: 'socket' }, ...around, key });
    const content = JSON.stringify(payload) as string | undefined; // of what JSON does not know
    if (Buffer.byteLength(content ?? '') > payloadBytes)
      throw new HubRefusal('payload_too_large', 'a payload holds 256 KiB; what is larger is handed in as a file');
    if (Buffer.byteLength(text) > aroundBytes)
      throw new HubRefusal('payload_too_large', `a task holds ${aroundBytes} bytes besides its payload`);
    const packet = { ...JSON.parse(text), ...(content !== undefined && { payload: JSON.parse(content) }) };
    const session = this.#session; // the answer may come in a later one
    this.#handingIn++;
    try {
      const { task_id, position } = await this.#sender.send('federation:task:submit', packet, timeoutMs);
      const watched = this.#watch(task_id, session);
      watched.position = position;
      if (known !== undefined) watched.session = 0; // handed in before, it may have ended before
      return this.#handle(watched, submission.callback?.kind === 'webhook');
    } finally {
      this.#handingIn--;
      if (this.#handingIn === 0) this.#early.clear();
    }
  }

  /** A task is over. It may be one whose hand-in is not answered yet, or one of an earlier process. */
  hear({ task_id, ...finished }: HubPacket<'federation:task:finished'>): void {
    const watched = this.#watched.get(task_id);
    if (watched) this.#finish(watched, finished);
    else if (this.#handingIn > 0) this.#early.set(task_id, finished);
    const [oldest] = this.#early.keys();
    if (this.#early.size > mostEarly && oldest !== undefined) this.#early.delete(oldest);
  }

  /** A session is open, whose pushes begin after `position`: what ended before is looked for. */
  opened(position: number): void {
    this.#cancelLook();
    this.#session++;
    this.#position = position;
    void this.#look(position);
    this.#cancelLook = this.#line.clock.after(secondLookMs, () => void this.#look(position));
  }

  /** The end of a task may be held back: asks for those that somebody waits for. */
  lookAgain(): void {
    void this.#look(0);
  }

  close(): void {
    this.#closed = true;
    this.#cancelLook();
    for (const { waiting } of this.#watched.values())
      for (const { reject } of waiting.splice(0))
        reject(new HubUnreachable('this node was closed before the task was over'));
    this.#watched.clear();
  }

  #watch(taskId: string, session: number): Watched {
    const known = this.#watched.get(taskId);
    if (known) return known;
    const watched: Watched = { taskId, finished: undefined, missing: 0, session, position: 0, waiting: [] };
    const early = this.#early.get(taskId);
    this.#early.delete(taskId);
    if (early) this.#finish(watched, early);
    else if (this.#hasRoom()) this.#watched.set(taskId, watched);
    return watched;
  }

  /** Makes room by forgetting the oldest, if nobody waits for it. */
  #hasRoom(): boolean {
    if (this.#watched.size < mostWatched) return true;
    const [oldest] = this.#watched.values();
    return oldest?.waiting.length === 0 && this.#watched.delete(oldest.taskId);
  }

  /** `untold`: the hub tells a web address of the end, not this node. */
  #handle(watched: Watched, untold: boolean): TaskHandle {
    const { taskId } = watched;
    return {
      taskId,
      done: () =>
        new Promise((resolve, reject) => {
          if (this.#closed && !watched.finished) return reject(new HubUnreachable('this node was closed'));
          watched.waiting.push({ resolve, reject });
          if (watched.finished) this.#finish(watched, watched.finished);
          else if (!this.#watched.has(taskId)) {
            this.#watched.set(taskId, watched);
            void this.#lookAt(watched, 0);
          } else if (watched.session !== this.#session) this.#catchUp(watched);
          if (untold) this.#keepLooking(watched);
        }),
      cancel: async (reason) => {
        await callHub(this.#line, 'POST', `/tasks/${taskId}/cancel`, reason === undefined ? {} : { reason });
      },
    };
  }

  #finish(watched: Watched, finished: Finished): void {
    watched.finished = finished;
    this.#watched.delete(watched.taskId);
    const { status, result, error } = finished;
    for (const { resolve, reject } of watched.waiting.splice(0)) {
      if (status === 'completed') resolve(result);
      else reject(failureOf(watched.taskId, status, error));
    }
  }

  /** Asks for the tasks that somebody waits for, a few at a time. */
  async #look(position: number): Promise<void> {
    const due = [...this.#watched.values()].filter(({ waiting }) => waiting.length > 0);
    const lookers = Array.from({ length: looksAtOnce }, async () => {
      for (let next = due.shift(); next; next = due.shift())
        await this.#lookAt(next, Math.max(position, next.position));
    });
    await Promise.all(lookers);
  }

  async #lookAt(watched: Watched, position: number): Promise<void> {
    if (watched.finished || this.#closed) return;
    try {
      const answer = await callHub(this.#line, 'GET', `/tasks/${watched.taskId}?min_position=${position}`);
      const { task } = answer as { task: Finished | { status: 'pending' | 'assigned' | 'running' } }; // as docs/openapi.yaml has it
      if (task.status === 'completed' || task.status === 'failed' || task.status === 'cancelled')
        this.#finish(watched, task as Finished); // it is over
    } catch (error) {
      // Without a session the next one looks again.
      if (!(error instanceof HubRefusal)) return;
      if (error.code !== 'not_found') this.#line.trouble(error);
      else if (++watched.missing > 1) this.#lose(watched, error);
    }
  }

  /** It may have ended between two sessions. */
  #catchUp(watched: Watched): void {
    watched.session = this.#session;
    const look = () => void this.#lookAt(watched, Math.max(watched.position, this.#position));
    look();
    this.#line.clock.after(secondLookMs, look);
  }

  #keepLooking(watched: Watched): void {
    this.#line.clock.after(lookEveryMs, () => {
      if (watched.waiting.length > 0 && !this.#closed)
        void this.#lookAt(watched, 0).then(() => this.#keepLooking(watched));
    });
  }

  /** Its end cannot be learnt. */
  #lose(watched: Watched, error: HubRefusal): void {
    this.#watched.delete(watched.taskId);
    for (const { reject } of watched.waiting.splice(0)) reject(error);
  }
}

function failureOf(taskId: string, status: 'failed' | 'cancelled', error: Finished['error'] | null): TaskFailure {
  const { code = status, message = `task ${taskId} was ${status}` } = error ?? {};
  return new TaskFailure(status === 'cancelled' ? 'cancelled' : code, message, { retryable: false });
}
