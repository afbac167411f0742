import { cpus, loadavg } from 'node:os';
import { FederationNode } from 'federation-hub';

const node = new FederationNode({
  url: 'http://127.0.0.1:3997',
  nodeId: 'node-a',
  keyFile: '/tmp/grun/node-a.key', // made at the first start; keep it
  capabilities: ['chat'],
  reading: () => ({ resources: { cpu_percent: Math.min(100, (100 * loadavg()[0]) / cpus().length) } }),
});
node.on('node-joined', ({ node_id }) => console.log(`${node_id} joined`));
node.on('health-alert', (alert) => console.log(alert));
await node.connect();
console.log('in the federation');
