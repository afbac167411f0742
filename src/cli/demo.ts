/** `fedhub demo`: a hub and five nodes, each a process with a key of its own; they join, do work, one is killed in the middle of it, comes back and finds its mail; then a second hub takes home what the first one shares. */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readConfig } from '../config.ts';
import { createKernel } from '../kernel.ts';
import { type RunningHub, startHub } from '../main.ts';
import { moduleFile } from '../thread.ts';
import { DemoHubs } from './demo-hubs.ts';
import { DemoMail } from './demo-mail.ts';
import { DemoWork } from './demo-work.ts';
import { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

const names = ['ada', 'barbara', 'claude', 'dorothy', 'edsger'];
const usualVictim = 'claude';
/** Scaled down from 15 s and 90 s, so that a death can be watched. */
const pace = { FEDERATION_HEARTBEAT_SECONDS: '1', FEDERATION_SILENCE_SECONDS: '6' };

interface Shown {
  readonly node_id: string;
  readonly status: string;
  readonly suspicion: { readonly phi: number } | null;
  readonly reading: { readonly resources?: { readonly cpu_percent?: number } } | null;
}

/** Runs the story; ends when it is told, after `seconds`, or at Ctrl-C. */
export async function demo(output: Output, seconds: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'fedhub-demo-'));
  const stopping = new AbortController();
  const stop = () => stopping.abort();
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  const late = setTimeout(stop, seconds * 1000);
  const nodes = new Map<string, ChildProcess>();
  let hub: RunningHub | undefined;
  let story: Story | undefined;
  try {
    const config = readConfig({ PORT: '0', FEDERATION_DATA_DIR: join(folder, 'data'), ...pace });
    hub = await startHub(config, createKernel({ logLevel: 'silent' }));
    output.value({ hub: hub.url }, `hub on ${hub.url}, log in ${folder}`);
    story = new Story(hub, folder, output, nodes, stopping.signal);
    await tell(story);
  } catch (error) {
    if (!stopping.signal.aborted) throw error;
  } finally {
    clearTimeout(late);
    process.removeListener('SIGINT', stop);
    process.removeListener('SIGTERM', stop);
    for (const node of nodes.values()) node.kill('SIGKILL');
    await story?.hubs.stop();
    await hub?.stop();
    await rm(folder, { recursive: true, force: true });
    output.say('the hubs are stopped and their files are gone');
  }
}

async function tell(story: Story): Promise<void> {
  for (const name of names) {
    story.start(name);
    await story.until(name, 'online');
  }
  const { work } = story;
  story.say('all five prove their keys and send a heartbeat each second');
  story.say('words to count and hashes to make are handed in; the hub gives each to the node with the most room');
  await work.countAndHash();
  await story.untilDone();
  story.say('a stubborn task fails twice before it is done');
  await work.tryThrice();
  await story.untilDone();
  await story.wait(2_000);
  story.say('five tasks sleep, and say how far they are');
  await work.sleep(names.length);
  await story.wait(3_000);
  const busy = work.busy();
  const victim = busy.includes(usualVictim) ? usualVictim : (busy[0] ?? usualVictim);
  story.say(`${victim} is killed in the middle of it, without a word (SIGKILL)`);
  story.kill(victim);
  await story.until(victim, 'offline');
  story.say('the hub holds it for lost, by the rhythm it had shown, and gives its task to another');
  await story.untilDone();
  story.say(`three messages are sent to ${victim}, which is not there: the hub keeps them, sealed`);
  await story.mail.send(victim, ['are you there?', 'your task went to another', 'call when you are back']);
  await story.wait(1_500);
  story.say(`${victim} starts again, with the same key`);
  story.start(victim);
  await story.until(victim, 'online');
  await story.untilRead();
  story.say(`${victim} got its mail the moment it was back, in order, and has read it`);
  await twoHubs(story);
  const { views } = await story.status();
  story.say(`that is all: ${views.head} events in the log, and every line above was read from it`);
}

async function twoHubs(story: Story): Promise<void> {
  story.say('the hub learns two recipes and keeps a diary; it shares the recipes, and nothing else');
  await story.hubs.know();
  story.say('a second hub starts, and joins the first as a node');
  await story.joinHubs();
  await story.untilShared();
  story.say('only what the rules let go went there; fingerprints of the rest did not leave either');
}

class Story {
  readonly hubs: DemoHubs;
  readonly work: DemoWork;
  readonly mail: DemoMail;
  readonly #client: HubClient;
  readonly #url: string;
  readonly #folder: string;
  readonly #output: Output;
  readonly #nodes: Map<string, ChildProcess>;
  readonly #signal: AbortSignal;
  readonly #seen = new Map<string, string>();
  #drawn = 0;

  constructor(hub: RunningHub, folder: string, output: Output, nodes: Map<string, ChildProcess>, signal: AbortSignal) {
    this.#url = hub.url;
    this.#client = new HubClient(hub.url, hub.adminToken);
    this.work = new DemoWork(this.#client, output);
    this.mail = new DemoMail(this.#client);
    this.hubs = new DemoHubs(hub.url, this.#client);
    this.#folder = folder;
    this.#output = output;
    this.#nodes = nodes;
    this.#signal = signal;
  }

  start(name: string): void {
    const module = moduleFile('cli/demo-node');
    this.#nodes.set(name, fork(module, [this.#url, name, join(this.#folder, `${name}.json`)], { stdio: 'ignore' }));
  }

  kill(name: string): void {
    this.#nodes.get(name)?.kill('SIGKILL');
  }

  say(line: string): void {
    this.#erase();
    this.#output.value({ at: performance.now(), say: line }, `· ${line}`);
  }

  status(): Promise<{ views: { head: number } }> {
    return this.#client.get('/status');
  }

  /** Looks until a node has a status. */
  async until(name: string, status: string): Promise<void> {
    while (this.#seen.get(name) !== status) await this.#look();
  }

  /** Looks until all work is over. */
  async untilDone(): Promise<void> {
    do await this.#look();
    while (!this.work.allOver());
  }

  joinHubs(): Promise<string> {
    return this.hubs.join(join(this.#folder, 'second'));
  }

  /** Looks until the second hub has what is shared. */
  async untilShared(): Promise<void> {
    do await this.#look();
    while (!this.hubs.allThere());
  }

  /** Looks until all mail was read. */
  async untilRead(): Promise<void> {
    do await this.#look();
    while (!this.mail.allRead());
  }

  async wait(ms: number): Promise<void> {
    const end = performance.now() + ms;
    while (performance.now() < end) await this.#look();
  }

  async #look(): Promise<void> {
    this.#signal.throwIfAborted();
    const { nodes } = await this.#client.get<{ nodes: Shown[] }>('/nodes');
    for (const { node_id, status } of nodes) {
      const before = this.#seen.get(node_id);
      if (before === status) continue;
      this.#seen.set(node_id, status);
      this.#erase();
      this.#output.value({ node_id, status, before }, `  ${node_id} ${before ? `was ${before}, ` : ''}is ${status}`);
    }
    const say = (value: object, line: string) => {
      this.#erase();
      this.#output.value(value, line);
    };
    await this.work.look(say);
    await this.mail.look(say);
    await this.hubs.look(say);
    this.#draw(nodes);
    await sleep(250, undefined, { signal: this.#signal });
  }

  /** The table below the lines, on a terminal only. */
  #draw(nodes: readonly Shown[]): void {
    if (this.#output.json || !process.stdout.isTTY) return;
    this.#erase();
    const lines = nodes.map(({ node_id, status, suspicion, reading }) => {
      const phi = Math.min(suspicion?.phi ?? 0, 20);
      const cpu = reading?.resources?.cpu_percent;
      return `    ${node_id.padEnd(9)} ${status.padEnd(8)} doubt ${'▮'.repeat(phi).padEnd(20, '·')} cpu ${(cpu === undefined ? '-' : `${cpu} %`).padEnd(5)} ${this.work.at(node_id)}`;
    });
    process.stdout.write(`${lines.join('\n')}\n`);
    this.#drawn = lines.length;
  }

  #erase(): void {
    if (this.#drawn > 0) process.stdout.write(`\x1b[${this.#drawn}A\x1b[J`);
    this.#drawn = 0;
  }
}
