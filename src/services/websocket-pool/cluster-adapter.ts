/**
 * What carries words between replicas: the cluster adapters of Socket.IO, over Redis or PostgreSQL.
 *
 * Both adapters were written for a store that is there. Here each gets a thin connection that swallows what fails: the store may
 * go and come back, and meanwhile words are lost, which their askers notice by themselves.
 */
import type { Redis } from 'ioredis';
import type pg from 'pg';
import type { Hub } from '../../hub.ts';
import type { Kernel } from '../../kernel.ts';
import type { PoolServer } from './pool.ts';

export interface Carrier {
  close(): Promise<void>;
}

const longestReconnectMs = 2_000;
/** A store that refuses a blocking read at once is not asked again at once. */
const afterErrorMs = 1_000;
const table = 'federation_socket_attachments';

/** Gives `io` the adapter that fits; undefined where there can be no other replica. Waits for PostgreSQL, and not for Redis. */
export async function carryWords(hub: Hub, io: PoolServer): Promise<Carrier | undefined> {
  const { config } = hub;
  if (config.logUrl.startsWith('sqlite:')) return undefined;
  if (config.redisUrl !== undefined) return overRedis(hub, io, config.redisUrl);
  const url = [config.logUrl, config.viewsUrl].find((each) => /^postgres(ql)?:/.test(each));
  return url === undefined ? undefined : overPostgres(hub, io, url);
}

async function overRedis({ kernel, federationId }: Hub, io: PoolServer, url: string): Promise<Carrier> {
  const [{ Redis }, { createAdapter }] = await Promise.all([
    import('ioredis'),
    import('@socket.io/redis-streams-adapter'),
  ]);
  const open: Redis[] = [];
  const connect = (offlineQueue: boolean) => {
    const client = new Redis(url, {
      enableOfflineQueue: offlineQueue,
      maxRetriesPerRequest: null,
      connectTimeout: longestReconnectMs,
      retryStrategy: (times) => Math.min(times * 100, longestReconnectMs) * (0.5 + kernel.random() / 2),
    });
    client.on('error', () => {}); // reconnected by itself
    open.push(client);
    return client;
  };
  const name = `fedhub:{${federationId}}:sockets`;
  io.adapter(
    createAdapter(
      writer(connect(false), () => reader(connect(true), kernel)),
      { streamName: name, channelPrefix: name },
    ),
  );
  return {
    async close() {
      for (const client of open) client.disconnect();
    },
  };
}

/** What the adapter writes by. What cannot be sent now is not sent; a promise that nobody looks at must not fail. */
function writer(redis: Redis, duplicate: () => object): object {
  const swallow = (sending: Promise<unknown>) => sending.catch(() => 0);
  return {
    options: {},
    duplicate,
    publish: (channel: string, payload: Buffer) => swallow(redis.publish(channel, payload)),
    xadd: (...args: Parameters<Redis['xadd']>) => swallow(redis.xadd(...args)),
    send_command: (name: string, args: string[], done: (error: Error | null, reply?: unknown) => void) =>
      void redis.call(name, ...args).then((reply) => done(null, reply), done),
  };
}

/** What the adapter reads by. It reads again at once after a failure, and subscribes without looking whether that worked. */
function reader(redis: Redis, kernel: Kernel): object {
  return {
    on: (name: string, listener: (...args: unknown[]) => void) => redis.on(name as 'message', listener),
    disconnect: () => redis.disconnect(),
    subscribe: (channels: string[]) => redis.subscribe(...channels).catch(() => 0),
    xread: (...args: unknown[]) =>
      redis.call('XREAD', ...(args as string[])).catch(async (error: unknown) => {
        await kernel.sleep(afterErrorMs);
        throw error;
      }),
  };
}

async function overPostgres({ kernel }: Hub, io: PoolServer, url: string): Promise<Carrier> {
  const [{ default: postgres }, { createAdapter }] = await Promise.all([
    import('pg'),
    import('@socket.io/postgres-adapter'),
  ]);
  const config = {
    connectionString: url,
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
    application_name: 'fedhub sockets',
  };
  const pool = new postgres.Pool({ ...config, max: 4, query_timeout: 5_000 });
  pool.on('error', () => {}); // an idle connection was lost; the next query makes another
  await makeTable(pool);
  const listeners = new Set<pg.Client>();
  const adapted = {
    query: pool.query.bind(pool),
    /** The listener's connection is apart from the pool, which would miss it each time it is lost. */
    async connect() {
      const client = new postgres.Client(config);
      client.on('error', () => {}); // its end is told as well, and then it is made again
      client.once('end', () => listeners.delete(client));
      await client.connect();
      listeners.add(client);
      return Object.assign(client, { release: () => void client.end().catch(() => {}) });
    },
  };
  const errorHandler = (error: Error) => kernel.log.debug({ err: error }, 'a word to another replica was lost');
  io.adapter(createAdapter(adapted as unknown as pg.Pool, { tableName: table, channelPrefix: 'fedhub', errorHandler })); // query and connect are all it uses
  return {
    async close() {
      await Promise.allSettled([pool.end(), ...[...listeners].map((client) => client.end())]);
    },
  };
}

/** Words too long for NOTIFY lie here for half a minute. Of replicas that start together, one makes it. */
async function makeTable(pool: pg.Pool): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query(`SELECT pg_advisory_xact_lock(hashtext('${table}'))`);
    await client.query(
      `CREATE UNLOGGED TABLE IF NOT EXISTS ${table} (id bigserial PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now(), payload bytea)`,
    );
    await client.query('COMMIT');
  } finally {
    client.release();
  }
}
