/** One node of the demo, as a process: `demo-node <hub url> <node id> <key file>`. */
import { FederationNode } from '../client/node.ts';
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
node.on('error', () => {}); // the SDK tries again by itself
process.on('disconnect', () => process.exit()); // the demo is gone
await node.connect();
