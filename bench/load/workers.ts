/** Nodes that do tasks, and nodes that hand them in: the SDK as its users run it, several nodes in one process. */
import { built } from '../built.ts';
import { percentile } from '../measure.ts';
import { answerParent } from '../processes.ts';

export type Workers = {
  /** So many nodes that do tasks of type `echo`, each so many at once. */
  work(url: string, nodes: number, capacity: number): Promise<void>;
  /** A node that hands tasks in. */
  join(url: string): Promise<void>;
  /** The node `server`, whose service `echo` is at an address. */
  offer(url: string, address: string): Promise<void>;
  /** Tasks that nobody can do. */
  strand(count: number): Promise<void>;
  /** So many at once, each handed in when the last one of it is done. Answers tasks that were completed per second. */
  closedLoop(concurrency: number, ms: number): Promise<number>;
  /** Hands in so many a second, done or not. Answers the 99th percentile of what a hand-in takes to be acknowledged, milliseconds. */
  submitP99(perSecond: number, ms: number): Promise<number>;
};

type Node = import('../../src/client/node.ts').FederationNode;

let submitter: Node | undefined;

const answers: Workers = {
  async work(url, count, capacity) {
    for (let at = 0; at < count; at++) {
      const node = await newNode(url, `worker-${at}`);
      node.work({ echo: async ({ payload }) => payload }, { capacity });
      await node.connect();
    }
  },
  async join(url) {
    submitter = await (await newNode(url, 'submitter')).connect();
  },
  async offer(url, address) {
    const profile = { network: { public_url: address }, services: { echo: { status: 'running' as const } } };
    await (await newNode(url, 'server', profile)).connect();
  },
  async strand(count) {
    const requirements = { capabilities: ['nobody has this'] };
    await loop(256, () => submitter!.submit({ type: 'echo', requirements }), count);
  },
  async closedLoop(concurrency, ms) {
    const began = performance.now();
    const done = await loop(
      concurrency,
      async () => (await submitter!.submit({ type: 'echo', payload })).done(),
      Number.POSITIVE_INFINITY,
      began + ms,
    );
    return done / ((performance.now() - began) / 1000);
  },
  async submitP99(perSecond, ms) {
    const began = performance.now();
    const taken: number[] = [];
    const under: Promise<unknown>[] = [];
    for (let sent = 0; performance.now() - began < ms; ) {
      const due = Math.floor(((performance.now() - began) / 1000) * perSecond);
      for (; sent < due; sent++) {
        const at = performance.now();
        under.push(
          submitter!.submit({ type: 'echo', payload }).then((handle) => {
            taken.push(performance.now() - at);
            return handle.done();
          }),
        );
      }
      await new Promise((later) => setTimeout(later, 1));
    }
    await Promise.all(under);
    return percentile(taken, 99);
  },
};

const payload = { text: 'a small piece of work', words: 5 };

answerParent(answers);

async function newNode(url: string, nodeId: string, profile: object = {}): Promise<Node> {
  const { FederationNode, generateKey } = await built('client/node');
  const node = new FederationNode({ url, nodeId, key: await generateKey(), ...profile });
  node.on('error', (error) => {
    throw error; // a hub that refuses quickly is not a fast hub
  });
  return node;
}

/** `concurrency` pieces of work at once, until so many are done or the moment comes. Answers how many were done. */
async function loop(
  concurrency: number,
  work: () => Promise<unknown>,
  count: number,
  until = Number.POSITIVE_INFINITY,
): Promise<number> {
  let begun = 0;
  let done = 0;
  const run = async () => {
    while (begun < count && performance.now() < until) {
      begun++;
      await work();
      done++;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, run));
  return done;
}
