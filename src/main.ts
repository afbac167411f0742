/** Puts one replica of the hub together: opens the stores, founds or finds the federation, starts the services, listens last. */
import { appoint } from './admins.ts';
import { backendOf, openLog, openViews } from './backends.ts';
import { Executor } from './commands/execute.ts';
import { federation as federationAggregate, federationStream, found } from './commands/governance.ts';
import { createToken, operatorToken, operatorTokenStream } from './commands/operator-token.ts';
import type { Config } from './config.ts';
import { lockDataFolder } from './data-lock.ts';
import { Doors } from './doors.ts';
import { openEgress } from './egress.ts';
import { isRefusal } from './errors.ts';
import { checkCatalog } from './events/catalog.ts';
import type { Hub } from './hub.ts';
import { type Jobs, openJobs } from './jobs.ts';
import type { Kernel } from './kernel.ts';
import { postgresKeyring } from './keyring/store-postgres.ts';
import { sqliteKeyring } from './keyring/store-sqlite.ts';
import { openKeyring } from './keyring.ts';
import { openLeases } from './lease.ts';
import { Lifecycle, type ServiceStatus } from './lifecycle.ts';
import { Metrics } from './metrics.ts';
import { makeOperatorToken } from './operator-token.ts';
import { accessLists } from './projections/access-lists.ts';
import { admins } from './projections/admins.ts';
import { alerts } from './projections/alerts.ts';
import { bans } from './projections/bans.ts';
import { channels } from './projections/channels.ts';
import { degradation } from './projections/degradation.ts';
import { entities } from './projections/entities.ts';
import { federation } from './projections/federation.ts';
import { invites } from './projections/invites.ts';
import { joins } from './projections/joins.ts';
import { keys } from './projections/keys.ts';
import { nodeLimits } from './projections/limits.ts';
import { mailboxes } from './projections/mailboxes.ts';
import { models } from './projections/models.ts';
import { newestRoster } from './projections/newest-roster.ts';
import { nodes } from './projections/nodes.ts';
import { openTasks } from './projections/open-tasks.ts';
import { operatorTokens } from './projections/operator-tokens.ts';
import { peers } from './projections/peers.ts';
import { secrets } from './projections/secrets.ts';
import { sessions } from './projections/sessions.ts';
import { sovereignty } from './projections/sovereignty.ts';
import { subscriptions } from './projections/subscriptions.ts';
import { Readiness } from './readiness.ts';
import { Retention } from './retention.ts';
import { openSearch } from './search.ts';
import { isPutAside } from './shedding.ts';
import { observeFlushes } from './tracing/flushes.ts';
import { openTracing } from './tracing.ts';
import { version } from './version.ts';

export interface RunningHub {
  /** Where it listens. */
  readonly url: string;
  readonly federationId: string;
  /** The one admin token, on the start that founded the federation; it is shown once. */
  readonly adminToken: string | undefined;
  services(): readonly ServiceStatus[];
  /** Resolves when a part failed without which it is none: then it should be stopped. */
  readonly failed: Promise<Error>;
  /** Drains and stops. Twice is harmless. */
  stop(): Promise<void>;
}

/** Starts a replica. Throws, with everything stopped again, when it cannot. */
export async function startHub(config: Config, kernel: Kernel): Promise<RunningHub> {
  const stops: (() => unknown)[] = [];
  const stop = once(async () => {
    for (const step of stops.reverse()) {
      try {
        await step();
      } catch (error) {
        kernel.log.error({ err: error }, 'a part did not stop cleanly');
      }
    }
  });
  try {
    return await assemble(config, kernel, stops, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function assemble(
  config: Config,
  kernel: Kernel,
  stops: (() => unknown)[],
  stop: () => Promise<void>,
): Promise<RunningHub> {
  const startedAt = kernel.now();
  checkCatalog();
  const loading = import('./services/manifest.ts'); // takes a while, in which the stores' threads come up
  loading.catch(() => {}); // awaited below, unless something else fails first
  const logBackend = backendOf(config.logUrl);
  for (const folder of foldersOf(config)) {
    const lock = lockDataFolder(folder);
    stops.push(() => lock.release());
  }
  const metrics = new Metrics(kernel);
  const tracing = await openTracing(config.tracing, kernel, version, metrics.spans);
  stops.push(() => tracing.stop());
  const observer = tracing.on ? { ...metrics.appends, wrote: observeFlushes(tracing, kernel) } : metrics.appends;
  const log = await openLog(config.logUrl, kernel, { observer });
  stops.push(() => log.close());
  // The views' thread takes longest to be there; everything else happens meanwhile.
  const { viewsUrl, logUrl, logLevel } = config;
  const opening = openViews({ url: viewsUrl, logUrl, log, kernel, logLevel, tracing });
  stops.push(async () => (await opening.catch(() => undefined))?.close());
  const leasing = openLeases(logUrl, kernel);
  stops.push(async () => (await leasing.catch(() => undefined))?.close());
  const keyring = await openKeyring(
    logBackend.kind === 'sqlite' ? sqliteKeyring(logBackend.folder) : postgresKeyring(logBackend.url),
    kernel,
  );
  stops.push(() => keyring.close());
  const executor = await Executor.start(log, kernel, tracing);
  stops.push(() => executor.close());
  const founding = await foundOnce(executor, config, kernel);
  const leases = await leasing;
  const viewLeases = viewsUrl === logUrl ? leases : await openLeases(viewsUrl, kernel); // of what is done once for each place of views
  stops.push(() => viewLeases.close());
  const views = await opening;
  const live = await views.live(inMemory, log);
  stops.push(() => live.close());
  const readiness = new Readiness(kernel, log);
  stops.push(() => readiness.close());
  const doors = new Doors(config, kernel);
  const slowly = () => isPutAside('message-persistence', doors.load.find()?.level);
  const search = openSearch({ url: config.viewsUrl, log, keyring, leases: viewLeases, kernel, slowly });
  stops.push(() => search.close());
  const egress = openEgress(config.egressAllow);
  stops.push(() => egress.close());
  const jobs = jobsOf(config, founding.federationId, kernel);
  stops.push(async () => (await jobs.opened?.catch(() => undefined))?.close());
  stops.push(() => doors.close(1_000));
  const hub: Hub = {
    config,
    kernel,
    log,
    executor,
    views,
    live: live.maps,
    keyring,
    leases,
    duties: () => [...new Set([leases, viewLeases])].flatMap((each) => each.duties()),
    search,
    egress,
    metrics,
    tracing,
    jobs: () => jobs.open(),
    doors,
    readiness,
    federationId: founding.federationId,
    version,
    startedAt,
    services: () => lifecycle.status(),
  };
  let fail: (error: Error) => void = () => {};
  const failed = new Promise<Error>((resolve) => {
    fail = resolve;
  });
  const lifecycle: Lifecycle = new Lifecycle(hub, (await loading).manifest, fail);
  const retention = new Retention(hub, leases.acquire('retention'));
  stops.push(() => retention.close());
  await lifecycle.start();
  stops.push(() => lifecycle.stop());
  stops.push(() => readiness.drain());
  const port = await doors.listen(config.port, config.host);
  readiness.ready();
  const host = config.host.includes(':') ? `[${config.host}]` : config.host;
  const url = `${config.tls ? 'https' : 'http'}://${host}:${port}`;
  kernel.log.info(
    { url, federation: founding.federationId, readyMs: Math.round(kernel.now() - startedAt) },
    'listening',
  );
  return { url, ...founding, services: () => lifecycle.status(), failed, stop };
}

/** The small views that every replica keeps in memory. */
const inMemory = {
  federation,
  nodes,
  keys,
  sessions,
  alerts,
  joins,
  invites,
  bans,
  admins,
  access: accessLists,
  entities,
  limits: nodeLimits,
  degradation,
  operatorTokens,
  openTasks,
  models,
  subscriptions,
  channels,
  mailboxes,
  sovereignty,
  peers,
  secrets,
  newestRoster,
};

/** Founds the federation in an empty log, with one admin token; else finds it. Of several replicas, one founds. */
async function foundOnce(
  executor: Executor,
  config: Config,
  kernel: Kernel,
): Promise<{ federationId: string; adminToken: string | undefined }> {
  const { federationId: known } = await executor.state(federationStream, federationAggregate);
  if (known !== undefined) {
    if (config.federationId !== undefined && config.federationId !== known) {
      throw new Error(`the log belongs to the federation ${known}, not to ${config.federationId} (FEDERATION_ID)`);
    }
    return { federationId: known, adminToken: undefined };
  }
  // The token first: a crash in between leaves a token that nobody saw, not a federation that nobody governs.
  const { token, prefix, hash } = makeOperatorToken(kernel);
  const about = { actor: 'hub' };
  const created = await executor.execute(
    operatorTokenStream(prefix),
    operatorToken,
    createToken,
    { prefix, hash, label: 'first admin', scopes: ['admin'] },
    about,
  );
  if (isRefusal(created)) throw new Error(created.detail);
  const wanted = { federationId: config.federationId ?? kernel.uuid(), mode: config.mode };
  const founded = await executor.execute(federationStream, federationAggregate, found, wanted, about);
  if (isRefusal(founded)) throw new Error(founded.detail);
  // Of several replicas that found at once, only the token that will be shown counts as an administrator.
  if (founded.reply.founded) await appoint({ executor }, `operator:${prefix}`, about);
  return { federationId: founded.reply.federationId, adminToken: founded.reply.founded ? token : undefined };
}

/** The jobs, opened when they are first asked for: their library is slow to load. An opening that failed is tried again at the next call. */
function jobsOf({ redisUrl, viewsUrl, logUrl }: Config, federationId: string, kernel: Kernel) {
  const postgresUrl = [viewsUrl, logUrl].find((url) => backendOf(url).kind === 'postgres');
  const opening: { opened: Promise<Jobs> | undefined; open(): Promise<Jobs> } = {
    opened: undefined,
    open() {
      opening.opened ??= openJobs({ redisUrl, postgresUrl, federationId, kernel }).catch((error: unknown) => {
        opening.opened = undefined;
        throw error;
      });
      return opening.opened;
    },
  };
  return opening;
}

/** The folders that belong to this process alone. */
function foldersOf({ logUrl, viewsUrl }: Config): Set<string> {
  const folders = new Set<string>();
  for (const backend of [backendOf(logUrl), backendOf(viewsUrl)]) {
    if (backend.kind === 'sqlite') folders.add(backend.folder);
  }
  return folders;
}

function once(run: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  return () => {
    running ??= run();
    return running;
  };
}
