/** The work of the demo: what is handed in, and what of it is shown as it happens. */
import { isDeepStrictEqual } from 'node:util';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

export interface ShownTask {
  readonly task_id: string;
  readonly status: string;
  readonly node_id: string | null;
  readonly percent: number | null;
  readonly error: { readonly message: string } | null;
}

interface Job {
  readonly name: string;
  shown: ShownTask | undefined;
}

const proverbs = [
  'a stitch in time saves nine',
  'the early bird catches the worm but the second mouse gets the cheese',
  'all is well that ends well',
];

export class DemoWork {
  readonly #client: HubClient;
  readonly #output: Output;
  /** By task id, in the order they were handed in. */
  readonly #jobs = new Map<string, Job>();

  constructor(client: HubClient, output: Output) {
    this.#client = client;
    this.#output = output;
  }

  async countAndHash(): Promise<void> {
    for (const [at, payload] of proverbs.entries()) await this.#submit(`words ${at + 1}`, { type: 'words', payload });
    for (const [at, payload] of proverbs.entries()) await this.#submit(`hash ${at + 1}`, { type: 'hash', payload });
  }

  async tryThrice(): Promise<void> {
    const backoff = { kind: 'fixed', delay_ms: 1_000, max_ms: 1_000 };
    await this.#submit('stubborn', { type: 'stubborn', max_attempts: 3, backoff });
  }

  async sleep(count: number): Promise<void> {
    for (let at = 1; at <= count; at++) await this.#submit(`sleep ${at}`, { type: 'sleep' });
  }

  allOver(): boolean {
    return [...this.#jobs.values()].every(({ shown }) => shown && isOver(shown));
  }

  /** What a node is at, for people; '' when nothing. */
  at(nodeId: string): string {
    const under = [...this.#jobs.values()].filter(
      ({ shown }) => shown?.status === 'running' && shown.node_id === nodeId,
    );
    return under.map(({ name, shown }) => `${name} ${shown?.percent ?? 0} %`).join(', ');
  }

  /** Who is at work now. */
  busy(): string[] {
    const under = [...this.#jobs.values()].filter(({ shown }) => shown?.status === 'running');
    return under.flatMap(({ shown }) => shown?.node_id ?? []);
  }

  /** Says what changed since the last look. */
  async look(say: (value: object, line: string) => void): Promise<void> {
    if (this.allOver()) return;
    const { tasks } = await this.#client.get<{ tasks: ShownTask[] }>('/tasks');
    for (const task of tasks.toReversed()) {
      const job = this.#jobs.get(task.task_id);
      if (!job || isDeepStrictEqual(job.shown, task)) continue;
      const before = job.shown;
      job.shown = task;
      const line = await this.#told(job.name, before, task);
      if (line) say({ task: job.name, ...task }, line);
    }
  }

  async #told(name: string, before: ShownTask | undefined, now: ShownTask): Promise<string | undefined> {
    const { task_id, status, node_id, error } = now;
    if (before?.status === status && before.node_id === node_id) return undefined; // only its progress changed
    switch (status) {
      case 'running':
        return `  ${name} is at ${node_id}`;
      case 'pending':
        return before?.node_id
          ? `  ${name} failed at ${before.node_id}: ${error?.message}; it is tried again`
          : undefined;
      case 'completed': {
        const { task } = await this.#client.get<{ task: { result: object } }>(`/tasks/${task_id}`);
        return `  ${name} is done by ${node_id}: ${JSON.stringify(task.result)}`;
      }
      case 'failed':
        return `  ${name} failed: ${error?.message}`;
      default:
        return undefined;
    }
  }

  async #submit(name: string, task: object): Promise<void> {
    const { task_id } = await this.#client.post<{ task_id: string }>('/tasks', task);
    this.#jobs.set(task_id, { name, shown: undefined });
    this.#output.value({ task: name, task_id }, `  ${name} is handed in`);
  }
}

function isOver({ status }: ShownTask): boolean {
  return status === 'completed' || status === 'failed' || status === 'cancelled';
}
