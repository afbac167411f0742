/**
 * `npm run cluster`: three replicas over a PostgreSQL and a Redis of their own, from local programs, until Ctrl-C. Nothing of it is left.
 *
 * It runs in a process apart, which no Ctrl-C of the terminal reaches: else databases and replicas would all stop at once, and
 * the replicas could not say goodbye.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { type Cluster, startCluster } from '../test/setup/cluster.ts';
import { program } from '../test/setup/hub-process.ts';

interface Options {
  readonly replicas: number;
  readonly nodes: number;
  readonly port: number;
}

const { replicas, nodes, port } = new Command('npm run cluster --')
  .description('Replicas of a hub over one PostgreSQL and one Redis, from local programs.')
  .option('--replicas <n>', 'replicas to start', wholeNumber, 3)
  .option('--nodes <n>', 'demo nodes to start, spread over the replicas', wholeNumber, 0)
  .option('--port <port>', 'of the front; replicas follow on the next ones (0: any free ports)', wholeNumber, 0)
  .parse()
  .opts<Options>();

if (process.send) await run();
else watchOver();

/** Starts the cluster in a process apart, and has it stopped when this one is told to stop. */
function watchOver(): void {
  const apart = fork(import.meta.filename, process.argv.slice(2), { detached: true });
  let asked = false;
  const stop = () => {
    if (asked) apart.kill('SIGKILL'); // its servers end with it
    asked = true;
    if (apart.connected) apart.send('stop');
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  apart.on('exit', (code) => process.exit(code ?? 1));
}

async function run(): Promise<void> {
  const stopped = new Promise<void>((resolve) => {
    process.on('message', () => resolve());
    process.on('disconnect', resolve); // whoever watches over it is gone
  });
  if (!existsSync(program)) throw new Error(`${program} is not there: run \`npm run build\` first`);
  const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-cluster-nodes-'));
  const began = performance.now();
  const cluster = await startCluster({ replicas, port });
  const children = startNodes(cluster, folder);
  tell(cluster, performance.now() - began);
  await stopped;
  console.log('stopping …');
  for (const child of children) child.kill('SIGKILL');
  await cluster.stop();
  await rm(folder, { recursive: true, force: true });
  process.exit(0); // the servers of PostgreSQL leave handles
}

/** Demo nodes, each a process. They connect through the front, which spreads them, and come back to another replica when theirs is gone. */
function startNodes({ front }: Cluster, folder: string): ChildProcess[] {
  const node = path.join(path.dirname(program), 'demo-node.js');
  return Array.from({ length: nodes }, (_, at) => {
    const name = `node-${at + 1}`;
    const args = [front.url, name, path.join(folder, `${name}.json`)];
    return fork(node, args, { stdio: 'ignore', execArgv: [] });
  });
}

function tell({ replicas: started, front, postgres, redis, adminToken, federationId }: Cluster, tookMs: number): void {
  const lines = [
    `${started.length} replicas of the federation ${federationId}, up in ${(tookMs / 1000).toFixed(1)} s`,
    `  front       ${front.url}`,
    ...started.map(({ url }, at) => `  replica ${at + 1}   ${url}`),
    `  PostgreSQL  ${postgres.url}`,
    `  Redis       ${redis.url}`,
    ...(nodes > 0 ? [`  nodes       ${nodes}, spread over the replicas`] : []),
    `  try         curl ${front.url}/api/federation/status`,
    `  metrics     ${started.map(({ url }) => `${url}/metrics`).join(' ')}`,
    '',
    `  admin token  ${adminToken}`,
    '',
    'Ctrl-C stops all of it and removes its data.',
  ];
  console.log(lines.join('\n'));
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > 65_535) throw new InvalidArgumentError('give a whole number');
  return value;
}
