/** Tells web addresses of the end of tasks, signed by the rules of Standard Webhooks: a job each, ten tries over some eight minutes. */
import { callBack, task, taskStream } from '../../commands/task.ts';
import { failureOf } from '../../egress.ts';
import { type Code, Fault } from '../../errors.ts';
import type { EventData, LogEvent } from '../../events/catalog.ts';
import { decode } from '../../events/decode.ts';
import type { Hub } from '../../hub.ts';
import type { JobQueue, Jobs } from '../../jobs.ts';
import type { OpenTaskRow } from '../../projections/open-tasks.ts';
import { webhookSecret } from '../../webhook-secret.ts';
import { type Change, type Changes, isHeld, isPending } from './changes.ts';
import { nodeOf } from './pushes.ts';

const mostAttempts = 10;
/** Waits between attempts: 1, 2, 4 … 256 s. */
const backoff = { type: 'exponential', delay: 1_000 };
const concurrency = 16;
const timeoutMs = 10_000;
const batch = 500;
const pageEvents = 1_000;

interface Owed {
  readonly task: string;
}

interface Told {
  readonly submission: EventData<'task.submitted'> | undefined;
  /** Its position. */
  readonly submittedAt: number;
  readonly end: End | undefined;
}

type End = LogEvent<'task.completed' | 'task.failed' | 'task.cancelled'>;

export class Callbacks {
  readonly #hub: Hub;
  readonly #changes: Changes;
  /** Tasks that are over and whose webhooks are not told. */
  readonly #owed = new Set<string>();
  #queue: JobQueue | undefined;

  constructor(hub: Hub, changes: Changes) {
    this.#hub = hub;
    this.#changes = changes;
  }

  /** Every replica makes calls. */
  use(jobs: Jobs): void {
    this.#queue = jobs.queue('callbacks');
    jobs.worker<Owed>('callbacks', ({ data, attemptsMade }) => this.#call(data.task, attemptsMade + 1), {
      concurrency,
    });
  }

  /** `mine`: this replica sees to the jobs. */
  take({ taskId, after, event }: Change, mine: boolean): void {
    const owed = after !== undefined && !isHeld(after) && !isPending(after);
    if (owed) this.#owed.add(taskId);
    else this.#owed.delete(taskId);
    if (!owed || !event || !mine || !this.#queue) return;
    this.#queue.addBulk([jobOf(after)]).catch(() => {}); // the sweep adds it
  }

  /** Adds the jobs of all that is owed; those that are there already stay as they are. */
  async sweep(): Promise<void> {
    const rows = [...this.#owed].flatMap((taskId) => this.#changes.get(taskId) ?? []);
    for (let at = 0; at < rows.length; at += batch) await this.#queue?.addBulk(rows.slice(at, at + batch).map(jobOf));
  }

  /** One attempt. Throws when there is to be another. */
  async #call(taskId: string, attempts: number): Promise<void> {
    const { submission, submittedAt, end } = await this.#read(taskId);
    if (!end || submission?.callback?.kind !== 'webhook') return; // told already, or tried again meanwhile
    const refused = this.#barred(submission.submitter, submittedAt);
    const told =
      refused === undefined ? await this.#post(submission, submission.callback.url, end) : { error: refused };
    const final = 'status' in told || refused !== undefined || told.final || attempts >= mostAttempts;
    if (!final) throw new Error(told.error);
    const outcome = 'status' in told ? { status: told.status } : { error: told.error.slice(0, 512) };
    const command = { taskId, ended: end.revision, attempts, ...outcome };
    await this.#hub.executor.execute(taskStream(taskId), task, callBack, command, { actor: 'hub' });
  }

  /** The submission, and the end if nobody was told of it yet. */
  async #read(taskId: string): Promise<Told> {
    let submission: EventData<'task.submitted'> | undefined;
    let submittedAt = 0;
    let end: End | undefined;
    for (let from = 0; ; from += pageEvents) {
      const page = await this.#hub.log.readStream(taskStream(taskId), from, pageEvents);
      for (const event of page.map(decode)) {
        if (event.type === 'task.submitted') [submission, submittedAt] = [event.data, event.position];
        else if (isEnd(event)) end = event;
        else if (reopens.has(event.type)) end = undefined;
      }
      if (page.length < pageEvents) return { submission, submittedAt, end };
    }
  }

  /** Why whoever handed the task in is told nothing. Throws when that cannot be judged now. */
  #barred(submitter: string, submittedAt: number): string | undefined {
    const { live, doors, kernel } = this.#hub;
    const nodeId = nodeOf(submitter);
    if (nodeId !== undefined) {
      const node = live.nodes.get(nodeId);
      if (!node || node.registered_position > submittedAt)
        return 'the node that handed the task in is no member any more';
      const refused = doors.judge({ kind: 'node', nodeId, sessionId: '', role: node.role })?.refused;
      if (refused === 'guard_unavailable')
        throw new Fault('guard_unavailable', 'who is to be told cannot be judged now');
      return refused;
    }
    const token = live.operatorTokens.get(submitter.slice('operator:'.length));
    const over = !token || token.revoked_at !== null || Date.parse(token.expires_at ?? '') <= kernel.now();
    return over ? 'the token that handed the task in is no longer valid' : undefined;
  }

  async #post(
    { submitter, payload }: EventData<'task.submitted'>,
    url: string,
    end: End,
  ): Promise<{ status: number } | { error: string; final?: boolean }> {
    const { kernel, egress, metrics, tracing } = this.#hub;
    const { Webhook } = await import('standardwebhooks');
    const body = JSON.stringify(this.#bodyOf(end, payload.sealed !== undefined));
    const now = new Date(kernel.now());
    const signature = new Webhook(await webhookSecret(this.#hub, submitter)).sign(end.id, now, body);
    const span = tracing.within('callback', 'client', end.meta.traceparent);
    span?.set('federation.stream', end.stream);
    const traceparent = span?.traceparent ?? end.meta.traceparent;
    const began = kernel.monotonicMs();
    let outcome: 'delivered' | 'failed' = 'failed';
    try {
      const answer = await egress.request(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'user-agent': `federation-hub/${this.#hub.version}`,
          'webhook-id': end.id,
          'webhook-timestamp': String(Math.floor(now.getTime() / 1_000)),
          'webhook-signature': signature,
          ...(traceparent !== undefined && { traceparent }),
        },
        body,
        timeoutMs,
      });
      answer.body.on('error', () => {}).destroy();
      const { status } = answer;
      if (status < 200 || status >= 300) return { error: `it answered ${status}`, final: status === 410 };
      outcome = 'delivered';
      return { status };
    } catch (error) {
      if (error instanceof Fault) return { error: error.code satisfies Code };
      const failure = failureOf(error);
      return { error: failure, final: failure === 'refused' };
    } finally {
      span?.end(outcome === 'failed' ? 'target_unreachable' : undefined);
      metrics.webhook('callback', outcome, kernel.monotonicMs() - began);
    }
  }

  /** What is sensitive is not sent: it can be asked for. */
  #bodyOf(end: End, sensitive: boolean): object {
    const { task_id } = end.data;
    const result = end.type === 'task.completed' && !sensitive ? end.data.result.value : undefined;
    return {
      specversion: '1.0',
      id: end.id,
      source: `urn:federation:${this.#hub.federationId}`,
      type: end.type,
      subject: task_id,
      time: end.time,
      datacontenttype: 'application/json',
      position: end.position,
      data: {
        task_id,
        status: end.type.slice('task.'.length),
        ...(sensitive && { sensitive }),
        ...(result !== undefined && { result }),
        ...(end.type === 'task.failed' && { error: end.data.error }),
      },
    };
  }
}

const reopens = new Set<string>(['task.retried', 'task.callback-delivered', 'task.callback-failed']);

function isEnd(event: LogEvent): event is End {
  return event.type === 'task.completed' || event.type === 'task.failed' || event.type === 'task.cancelled';
}

function jobOf({ task_id, lease }: OpenTaskRow) {
  // One that failed for want of log or keyring is still owed: kept, it would hold its id and be owed for ever.
  const opts = { jobId: `callback.${task_id}.${lease}`, attempts: mostAttempts, backoff, removeOnFail: true };
  return { name: 'callback', data: { task: task_id } satisfies Owed, opts };
}
