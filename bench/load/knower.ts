/** A node with a store of a hundred thousand memories, as the SDK keeps them: brings them to the hub, and finds with it what differs. */
import { built } from '../built.ts';
import { answerParent } from '../processes.ts';

export type Knower = {
  /** Joins, and writes so many memories that nobody else has. */
  join(url: string, count: number): Promise<string>;
  /** Brings everything to the hub. Answers memories a second. */
  push(): Promise<number>;
  /** Writes some memories anew, for the next sync to find. */
  change(count: number): Promise<void>;
  /** One sync both ways. */
  sync(): Promise<SyncTaken>;
};

export interface SyncTaken {
  readonly ms: number;
  readonly pulled: number;
  readonly pushed: number;
  /** Of frames of fingerprints alone, both ways. */
  readonly frameBytes: number;
}

type Node = import('../../src/client/node.ts').FederationNode;
type Knowledge = import('../../src/client/node.ts').Knowledge;

let node: Node;
let knowledge: Knowledge;
let written = 0;

const answers: Knower = {
  async join(url, count) {
    const { FederationNode, generateKey, MemoryKnowledgeStore } = await built('client/node');
    node = new FederationNode({ url, nodeId: 'knower', key: await generateKey() });
    knowledge = node.knowledge(new MemoryKnowledgeStore());
    while (written < count) await write(`m${written}`);
    await node.connect();
    return node.token!;
  },
  async push() {
    const began = performance.now();
    const { pushed } = await knowledge.sync({ direction: 'push' });
    return pushed / ((performance.now() - began) / 1_000);
  },
  async change(count) {
    const every = Math.floor(written / count);
    for (let at = 0; at < count; at++) await write(`m${at * every}`);
  },
  async sync() {
    const began = performance.now();
    const { pulled, pushed, frameBytes } = await knowledge.sync({ direction: 'both' });
    return { ms: performance.now() - began, pulled, pushed, frameBytes };
  },
};

const words = Array.from({ length: 5_000 }, (_, at) => `word${at.toString(36)}`);

/** Two hundred words of a vocabulary in which the n-th word is n times as rare as the first. */
function text(): string {
  return Array.from({ length: 200 }, () => words[Math.floor(words.length ** Math.random()) - 1]).join(' ');
}

async function write(memoryId: string): Promise<void> {
  await knowledge.put({ memoryId, category: `kind-${written++ % 20}`, title: `memory ${memoryId}`, content: text() });
}

answerParent(answers);
