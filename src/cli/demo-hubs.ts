/** The second hub of the demo: it joins the first as a node, and takes home what the first one shares. */
import { readConfig } from '../config.ts';
import { createKernel } from '../kernel.ts';
import { type RunningHub, startHub } from '../main.ts';
import { HubClient } from './hub-client.ts';

const recipes = [
  {
    memory_id: 'bread',
    category: 'recipes/bread',
    title: 'Bread',
    content: 'flour, water, salt, and a night of patience',
  },
  { memory_id: 'soup', category: 'recipes/soup', title: 'Soup', content: 'whatever there is, and bay leaves' },
];
const secret = { memory_id: 'diary', category: 'notes', title: 'Diary', content: 'nobody else is to read this' };

interface Found {
  readonly memories: readonly { readonly memory_id: string; readonly title?: string }[];
}

export class DemoHubs {
  readonly #first: HubClient;
  readonly #firstUrl: string;
  #second: RunningHub | undefined;
  #client: HubClient | undefined;
  readonly #arrived = new Set<string>();

  constructor(url: string, client: HubClient) {
    this.#firstUrl = url;
    this.#first = client;
  }

  /** What the first hub knows, and that it shares recipes, which may be handed on, and nothing else. */
  async know(): Promise<void> {
    const shares = [{ id: 'recipes', categories: ['recipes/*'], with: { everyone: true }, pass_on: true }];
    await this.#first.put('/knowledge/sovereignty/@federation', { shares, takes: [] });
    for (const memory of [...recipes, secret]) await this.#first.post('/memory/store', memory);
  }

  /** Starts the second hub with its files in a folder, and has it join the first. Answers where it is. */
  async join(folder: string): Promise<string> {
    const settings = { PORT: '0', FEDERATION_DATA_DIR: folder, FEDERATION_EGRESS_ALLOW: '127.0.0.0/8' };
    this.#second = await startHub(readConfig(settings), createKernel({ logLevel: 'silent' }));
    this.#client = new HubClient(this.#second.url, this.#second.adminToken);
    const peer = { peer_id: 'first', url: this.#firstUrl, node_id: 'second-hub', direction: 'pull', every_seconds: 1 };
    await this.#client.post('/knowledge/peers', peer);
    return this.#second.url;
  }

  /** All that is shared is there. */
  allThere(): boolean {
    return this.#arrived.size === recipes.length;
  }

  /** Says what came since the last look. */
  async look(say: (value: object, line: string) => void): Promise<void> {
    if (!this.#client || this.allThere()) return;
    const { memories } = await this.#client.get<Found>('/memory/search');
    for (const { memory_id, title } of memories) {
      if (this.#arrived.has(memory_id)) continue;
      this.#arrived.add(memory_id);
      say({ second_hub: memory_id, title }, `  the second hub has “${title}”, which it calls ${memory_id}`);
    }
  }

  async stop(): Promise<void> {
    await this.#second?.stop();
  }
}
