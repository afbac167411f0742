/** Work for a cluster that is being hurt: tasks handed in over HTTP, tried again until acknowledged, and nodes that do them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FederationNode } from '../../src/client/node.ts';
import type { Cluster } from '../setup/cluster.ts';

/** What the hub said that it has. */
interface Acknowledged {
  readonly id: string;
  readonly position: number;
}

const submitters = 6;
/** Each hands in a task, at most, so often. */
const paceMs = 120;
const answerMs = 10_000;

export class Load {
  /** By number of the task. */
  readonly tasks = new Map<number, Acknowledged>();
  readonly announcements: Acknowledged[] = [];
  /** Answers that were neither an acknowledgement nor a reason to try again. */
  readonly wrong: string[] = [];
  /** When each task was begun first, by `performance.now()`. */
  readonly begun = new Map<number, number>();
  /** How often each was begun. */
  readonly runs = new Map<number, number>();
  readonly #cluster: Cluster;
  readonly #folder: string;
  readonly #nodes: FederationNode[] = [];
  #handingIn: Promise<unknown> = Promise.resolve();
  #next = 0;
  #tries = 0;
  #stopped = false;

  private constructor(cluster: Cluster, folder: string) {
    this.#cluster = cluster;
    this.#folder = folder;
  }

  /** Starts nodes, which connect through the front, and begins to hand in. */
  static async start(cluster: Cluster, nodes: number): Promise<Load> {
    const load = new Load(cluster, await mkdtemp(path.join(tmpdir(), 'fedhub-load-')));
    for (let at = 0; at < nodes; at++) load.#nodes.push(load.#node(`worker-${at}`));
    await Promise.all(load.#nodes.map((node) => node.connect({ timeoutMs: 30_000 })));
    load.#handingIn = Promise.all(Array.from({ length: submitters }, () => load.#handIn()));
    return load;
  }

  /** The number that the next task will have. */
  get next(): number {
    return this.#next;
  }

  /** When a task with this number or a later one was first begun; undefined when none was yet. */
  begunSince(number: number): number | undefined {
    const times = [...this.begun].filter(([task]) => task >= number).map(([, at]) => at);
    return times.length > 0 ? Math.min(...times) : undefined;
  }

  /** Hands in no more. Returns when everything was acknowledged. */
  async settle(): Promise<void> {
    this.#stopped = true;
    await this.#handingIn;
  }

  async close(): Promise<void> {
    await this.settle();
    for (const node of this.#nodes) node.close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  #node(nodeId: string): FederationNode {
    const keyFile = path.join(this.#folder, `${nodeId}.json`);
    const node = new FederationNode({ url: this.#cluster.front.url, nodeId, keyFile });
    const count = async ({ payload }: { payload?: unknown }) => {
      const { number } = payload as { number: number }; // as #handIn gives it
      const run = (this.runs.get(number) ?? 0) + 1;
      this.runs.set(number, run);
      if (run === 1) this.begun.set(number, performance.now());
      await sleep(number % 10 === 5 ? 2_500 : 20); // long enough for what happens to meet some of them
      if (run === 1 && failsOnce(number)) throw new Error('the first attempt fails');
      return { number };
    };
    node.work({ count }, { capacity: 10 });
    return node;
  }

  async #handIn(): Promise<void> {
    while (!this.#stopped) {
      const number = this.#next++;
      const body = { type: 'count', payload: { number }, max_attempts: 50, backoff: fixed };
      const { task_id, position } = await this.#insist('/tasks', `task-${number}`, body);
      this.tasks.set(number, { id: String(task_id), position: Number(position) });
      if (number % 10 === 0) {
        const said = await this.#insist('/governance/announce', `said-${number}`, { message: `task ${number}` });
        this.announcements.push({ id: String(said.announcement_id), position: Number(said.position) });
      }
      await sleep(paceMs);
    }
  }

  /** Asks one replica after another, under the same key, until one says that it is done. */
  async #insist(route: string, key: string, body: object): Promise<Record<string, unknown>> {
    const { replicas, adminToken } = this.#cluster;
    const headers = {
      'content-type': 'application/json',
      authorization: `Bearer ${adminToken}`,
      'idempotency-key': key,
    };
    for (;;) {
      const { url } = replicas[this.#tries++ % replicas.length]!;
      try {
        const signal = AbortSignal.timeout(answerMs);
        const asked = { method: 'POST', headers, body: JSON.stringify(body), signal };
        const response = await fetch(`${url}/api/federation${route}`, asked);
        const answer = (await response.json()) as Record<string, unknown>;
        if (response.ok) return answer;
        if (response.status < 500) this.wrong.push(`${response.status} ${JSON.stringify(answer)}`);
      } catch {
        // It is gone, or went while it answered.
      }
      await sleep(100);
    }
  }
}

/** These fail at the first attempt, and owe their second to a job. */
export const failsOnce = (number: number): boolean => number % 7 === 3;
const fixed = { kind: 'fixed', delay_ms: 1_000, max_ms: 1_000 } as const;
