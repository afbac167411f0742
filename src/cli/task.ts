/** `fedhub task`: hands work in, looks at it, waits for it, ends it, has it tried again. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

interface Task {
  readonly task_id: string;
  readonly type: string;
  readonly status: string;
  readonly submitter: string;
  readonly priority: number;
  readonly node_id: string | null;
  readonly percent: number | null;
  readonly message: string | null;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly submitted_at: string;
  readonly ended_at: string | null;
}

interface WholeTask extends Task {
  readonly requirements: object;
  readonly content: 'shown' | 'withheld' | 'erased';
  readonly payload?: unknown;
  readonly result?: unknown;
  readonly missing: readonly string[] | null;
  readonly attempts: readonly { lease: number; node_id: string; how: string; assigned_at: string; end?: string }[];
  readonly choice: {
    readonly considered: number;
    readonly candidates: readonly { node_id: string; score: number; why: Record<string, unknown> }[];
  } | null;
}

interface Wish {
  readonly payload?: string;
  readonly priority?: number;
  readonly capability: readonly string[];
  readonly model?: string;
  readonly minContext?: number;
  readonly node?: string;
  readonly label: readonly string[];
  readonly deadline?: string;
  readonly attempts?: number;
  readonly sensitive?: true;
  readonly wait?: true;
}

const statuses = ['pending', 'assigned', 'running', 'completed', 'failed', 'cancelled'];
const overStatuses = ['completed', 'failed', 'cancelled'];
const pollMs = 300;

export function registerTasks(program: Command, client: () => HubClient, output: () => Output): void {
  const task = program.command('task').description('work: hand it in, look at it, end it, have it tried again');
  task
    .command('submit <type>')
    .description('hand in a task')
    .option('--payload <json>', 'what to work on, as JSON; @<file> reads it from a file')
    .option('--priority <n>', '1 to 10, 10 is most urgent (5)', whole)
    .option('--capability <name>', 'that the node must have; may be given more than once', collected, [])
    .option('--model <name>', 'that the node must have')
    .option('--min-context <tokens>', 'that the model must take', whole)
    .option('--node <id>', 'this node and no other')
    .option('--label <name=value>', 'that the node must have; may be given more than once', labelled, [])
    .option('--deadline <time>', 'by when it must be done (ISO 8601)')
    .option('--attempts <n>', 'how often it may be begun (3)', whole)
    .option('--sensitive', 'keep payload and result encrypted')
    .option('--wait', 'until it is over, and print the result; 1 unless it was completed')
    .action((type: string, wish: Wish) => submitTask(client(), output(), type, wish));
  task
    .command('get <id>')
    .description('one task: how it stands, who worked on it, and why it went there')
    .action((id: string) => showTask(client(), output(), id));
  task
    .command('list')
    .description('tasks, the newest first')
    .addOption(new Option('--status <status>', 'only these').choices(statuses))
    .option('--type <type>', 'only of this type')
    .option('--node <id>', 'only those that this node has, or had last')
    .option('--submitter <who>', 'only of node:<id> or operator:<prefix>')
    .option('--limit <n>', 'at most so many (100)', whole, 100)
    .action(({ limit, ...filter }: Record<string, string> & { limit: number }) =>
      listTasks(client(), output(), filter, limit),
    );
  task
    .command('cancel <id>')
    .description('end a task, whoever works on it')
    .option('--reason <text>', 'told to the node')
    .action((id: string, { reason }: { reason?: string }) => change(client(), output(), id, 'cancel', { reason }));
  task
    .command('retry <id>')
    .description('have a failed task tried again')
    .action((id: string) => change(client(), output(), id, 'retry'));
}

async function submitTask(hub: HubClient, output: Output, type: string, wish: Wish): Promise<void> {
  const { priority, capability, model, minContext: min_context, node, label, deadline, attempts, sensitive } = wish;
  const labels = label.length > 0 ? Object.fromEntries(label.map((pair) => pair.split(/=(.*)/s, 2))) : undefined;
  const capabilities = capability.length > 0 ? capability : undefined;
  const submitted = await hub.post<{ task_id: string; position: number }>('/tasks', {
    type,
    payload: await payloadOf(wish.payload),
    priority,
    requirements: { capabilities, model, min_context, node, labels },
    deadline,
    max_attempts: attempts,
    sensitive,
  }); // what is undefined is left out of JSON
  if (!wish.wait) return output.value(submitted, submitted.task_id);
  const task = await untilOver(hub, output, submitted);
  if (task.status !== 'completed') throw new Error(`${task.task_id} ${task.status}${whyOf(task)}`);
  output.value(task, JSON.stringify(task.result ?? null, undefined, 2));
}

/** Looks until a task is over; for people, with a bar. */
async function untilOver(
  hub: HubClient,
  output: Output,
  { task_id, position }: { task_id: string; position: number },
): Promise<WholeTask> {
  const { Progress } = await import('./progress.ts');
  const bar = new Progress(output);
  try {
    for (;;) {
      const { task } = await hub.get<{ task: WholeTask }>(`/tasks/${task_id}`, { min_position: String(position) });
      if (overStatuses.includes(task.status)) return task;
      bar.show(task.type, task.percent ?? 0, 100);
      await sleep(pollMs);
    }
  } finally {
    bar.stop();
  }
}

async function showTask(hub: HubClient, output: Output, id: string): Promise<void> {
  const { task } = await hub.get<{ task: WholeTask }>(`/tasks/${encodeURIComponent(id)}`);
  if (output.json) return output.value(task, '');
  const { status, percent, message, submitter, priority, submitted_at, content, requirements, choice, attempts } = task;
  const far = percent === null ? '' : `, ${percent} %${message ? `, ${message}` : ''}`;
  output.say(`task      ${task.task_id} (${task.type}, priority ${priority})`);
  output.say(`status    ${status}${far}${whyOf(task)}`);
  output.say(`from      ${submitter}, ${submitted_at}`);
  output.say(`requires  ${JSON.stringify(requirements)}`);
  if (task.missing) output.say(`waits for ${task.missing.join('; ') || 'room at a node, or its time'}`);
  if (content === 'shown') output.say(`payload   ${JSON.stringify(task.payload ?? null)}`);
  if (content === 'shown' && task.result !== undefined) output.say(`result    ${JSON.stringify(task.result)}`);
  if (content !== 'shown') output.say(`content   ${content}`);
  if (choice) {
    output.say(`\nof ${choice.considered} nodes that could do it:`);
    const rows = choice.candidates.map(({ node_id, score, why }) => ({
      node: node_id,
      score,
      why: JSON.stringify(why),
    }));
    output.table(['node', 'score', 'why'], rows);
  }
  if (attempts.length === 0) return;
  output.say('');
  output.table(
    ['lease', 'node', 'how', 'assigned', 'end'],
    attempts.map(({ lease, node_id, how, assigned_at, end }) => ({
      lease,
      node: node_id,
      how,
      assigned: assigned_at,
      end,
    })),
  );
}

async function listTasks(
  hub: HubClient,
  output: Output,
  filter: Readonly<Record<string, string>>,
  limit: number,
): Promise<void> {
  const all: Task[] = [];
  let cursor: string | undefined;
  do {
    const query = { ...filter, limit: String(Math.min(500, limit - all.length)), cursor };
    const page = await hub.get<{ tasks: Task[]; next_cursor: string | null }>('/tasks', query);
    all.push(...page.tasks);
    cursor = page.next_cursor ?? undefined;
  } while (cursor && all.length < limit);
  if (output.json) return output.table([], all);
  output.table(
    ['task', 'type', 'status', 'priority', 'node', 'done', 'from', 'submitted'],
    all.map(({ task_id, type, status, priority, node_id, percent, submitter, submitted_at }) => ({
      task: task_id,
      type,
      status,
      priority,
      node: node_id,
      done: percent === null ? undefined : `${percent} %`,
      from: submitter,
      submitted: submitted_at,
    })),
  );
}

async function change(
  hub: HubClient,
  output: Output,
  id: string,
  what: 'cancel' | 'retry',
  body?: object,
): Promise<void> {
  const changed = await hub.post<{ status: string }>(`/tasks/${encodeURIComponent(id)}/${what}`, body);
  output.value({ task_id: id, ...changed }, `${id} is ${changed.status}`);
}

function whyOf({ error }: Task): string {
  return error ? `: ${error.message} (${error.code})` : '';
}

async function payloadOf(text: string | undefined): Promise<unknown> {
  if (text === undefined) return undefined;
  const json = text.startsWith('@') ? await readFile(text.slice(1), 'utf8') : text;
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new CommanderError(2, 'usage', `error: the payload is no JSON: ${(error as Error).message}`); // JSON.parse throws errors
  }
}

function collected(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

function labelled(value: string, before: readonly string[]): string[] {
  if (!/^[^=]+=./s.test(value)) throw new InvalidArgumentError('Give name=value.');
  return [...before, value];
}

function whole(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('Give a whole number above 0.');
  return Number(text);
}
