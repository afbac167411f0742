/** A node that does tasks, over a raw socket: what it does with each is the test's to say. */
import type { NodeKey } from '../../src/client/key-file.ts';
import type { NodeProfile } from '../../src/events/node.ts';
import type { AssignedTask } from '../../src/protocol.ts';
import type { Answer, RawSocket } from '../security/raw-socket.ts';
import { type Hub, joinBySocket } from '../security/visitor.ts';

export class TaskNode {
  readonly nodeId: string;
  readonly key: NodeKey;
  readonly token: string;
  readonly socket: RawSocket;
  /** Assignments in the order in which they came, each once. */
  readonly tasks: AssignedTask[] = [];
  readonly #looking: NodeJS.Timeout;
  readonly #known = new Set<string>();
  #looked = 0;

  /** `act` is called with each assignment; without it they only pile up. */
  static async join(
    hub: Hub,
    nodeId: string,
    {
      act,
      profile,
      key,
    }: { act?: (task: AssignedTask, node: TaskNode) => unknown; profile?: NodeProfile; key?: NodeKey } = {},
  ): Promise<TaskNode> {
    const joined = await joinBySocket(hub, nodeId, { work: { capacity: 10 }, ...profile }, key);
    return new TaskNode(joined, act);
  }

  private constructor(
    { nodeId, key, token, socket }: Awaited<ReturnType<typeof joinBySocket>>,
    act: (task: AssignedTask, node: TaskNode) => unknown = () => {},
  ) {
    this.nodeId = nodeId;
    this.key = key;
    this.token = token;
    this.socket = socket;
    this.#looking = setInterval(() => {
      for (; this.#looked < socket.pushed.length; this.#looked++) {
        const { name, packet } = socket.pushed[this.#looked]!; // within its length
        if (name !== 'federation:task:assigned') continue;
        const task = packet.task as AssignedTask; // as protocol.ts has it
        const assignment = `${task.task_id} ${task.lease}`;
        if (this.#known.has(assignment)) continue;
        this.#known.add(assignment);
        this.tasks.push(task);
        act(task, this);
      }
    }, 2);
  }

  submit(submission: object): Promise<Answer> {
    return this.socket.ask('federation:task:submit', submission);
  }

  claim(wish: object = {}): Promise<Answer> {
    return this.socket.ask('federation:task:claim', wish);
  }

  start({ task_id, lease }: AssignedTask): Promise<Answer> {
    return this.socket.ask('federation:task:started', { task_id, lease });
  }

  complete({ task_id, lease }: AssignedTask, result?: unknown): Promise<Answer> {
    return this.socket.ask('federation:task:complete', { task_id, lease, ...(result !== undefined && { result }) });
  }

  fail({ task_id, lease }: AssignedTask, more: object = {}): Promise<Answer> {
    const error = { code: 'broken', message: 'it broke' };
    return this.socket.ask('federation:task:fail', { task_id, lease, error, ...more });
  }

  heartbeat(reading: object = {}): Promise<Answer> {
    return this.socket.ask('federation:heartbeat', { node_id: this.nodeId, ...reading });
  }

  /** Packets of this name about one task. */
  told(name: string, taskId: unknown): Record<string, unknown>[] {
    return this.socket.of(name).filter(({ task_id }) => task_id === taskId);
  }

  close(): void {
    clearInterval(this.#looking);
    this.socket.close();
  }
}
