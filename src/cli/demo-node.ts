/** One node of the demo, as a process that does real work: `demo-node <hub url> <node id> <key file>`. */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { FederationNode, type TaskContext, TaskFailure, type TaskHandlers } from '../client/node.ts';
import { createKernel } from '../kernel.ts';

const [url = '', nodeId = '', keyFile = ''] = process.argv.slice(2);

const kernel = createKernel({ logLevel: 'silent' });
let cpu = 20;
const node = new FederationNode({
  url,
  nodeId,
  keyFile,
  capabilities: ['demo'],
  reading: () => {
    cpu = Math.max(1, Math.min(99, cpu + Math.round((kernel.random() - 0.5) * 20)));
    return { resources: { cpu_percent: cpu }, services: { memory: { status: 'running' } } };
  },
});

const handlers: TaskHandlers = {
  words: ({ payload }) => {
    const words =
      text(payload)
        .toLowerCase()
        .match(/\p{L}+/gu) ?? [];
    return { words: words.length, different: new Set(words).size };
  },
  /** A hundred thousand hashes, each of the one before. */
  hash: ({ payload }) => {
    let hash: string | Buffer = text(payload);
    for (let round = 0; round < 100_000; round++) hash = createHash('sha256').update(hash).digest();
    return { sha256: Buffer.from(hash).toString('hex') };
  },
  sleep: async (_task, context) => {
    await sleeping(8_000, context);
    return { slept: 8 };
  },
  stubborn: ({ attempt }) => {
    if (attempt <= 2) throw new TaskFailure('no_luck', `attempt ${attempt} had no luck`);
    return { attempts: attempt };
  },
};

async function sleeping(ms: number, { progress, signal }: TaskContext): Promise<void> {
  const steps = 20;
  for (let step = 0; step < steps; step++) {
    progress((100 * step) / steps, `nap ${step + 1} of ${steps}`);
    await sleep(ms / steps, undefined, { signal });
  }
}

function text(payload: unknown): string {
  if (typeof payload !== 'string') throw new TaskFailure('no_text', 'the payload is no text', { retryable: false });
  return payload;
}

node.on('error', () => {}); // the SDK tries again by itself
process.on('disconnect', () => process.exit()); // the demo is gone
node.work(handlers, { capacity: 2 });
node.messages((message) => message.read());
await node.connect();
