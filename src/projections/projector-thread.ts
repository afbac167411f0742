/** The projector's thread: opens the log and the views itself, so that projecting costs the main thread nothing but a note a batch. */
import { createKernel } from '../kernel.ts';
import { openPostgresLeases, soleLeases } from '../lease.ts';
import { serve, threadData } from '../thread.ts';
import type { Together } from '../tracing.ts';
import { allProjections } from './catalog.ts';
import { Projector, type ProjectorState, type Rebuilt } from './projector.ts';
import { openSource } from './source.ts';
import { SqliteViewStore } from './views-sqlite.ts';

export interface ProjectorThreadData {
  /** Of the views: `sqlite:<folder>` or `postgres://…`. */
  readonly url: string;
  readonly logUrl: string;
  readonly logLevel: string;
  readonly replica: string;
  /** Somebody wants to know which traces a page was for. */
  readonly traced: boolean;
}

export type ProjectorNote =
  | { readonly moved: ProjectorState }
  | { readonly rebuilt: Rebuilt }
  | { readonly traced: Together };

export type ProjectorApi = {
  state(): ProjectorState;
  wake(): void;
  hurry(): void;
  announced(rebuildId: string): void;
  close(): Promise<void>;
};

const data = threadData<ProjectorThreadData>();
const kernel = createKernel({ logLevel: data.logLevel }, { replica: data.replica });
const source = await openSource(data.logUrl, kernel);
const { store, leases } = await openStore();

const note = serve<ProjectorNote>({
  state: () => projector.state(),
  wake: () => projector.wake(),
  hurry: () => projector.hurry(),
  announced: (rebuildId: string) => projector.announced(rebuildId),
  async close() {
    await projector.close();
    await leases.close();
    await store.close();
    await source.close();
  },
} satisfies ProjectorApi);

const projector = new Projector({
  source,
  store,
  leases,
  kernel,
  views: allProjections,
  onMoved: () => note({ moved: projector.state() }),
  onRebuilt: (rebuilt) => note({ rebuilt }),
  ...(data.traced && { onTraced: (traced: Together) => note({ traced }) }),
});

async function openStore() {
  if (data.url.startsWith('sqlite:')) {
    const store = new SqliteViewStore(data.url.slice('sqlite:'.length), allProjections);
    return { store, leases: soleLeases(store.nextEpoch()) };
  }
  const { openPostgresViewStore } = await import('./views-postgres.ts'); // on SQLite the thread is sooner there without
  const store = await openPostgresViewStore({ url: data.url, views: allProjections });
  return { store, leases: await openPostgresLeases(data.url, kernel) };
}
