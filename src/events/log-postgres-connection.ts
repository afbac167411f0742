/** Connections of the log to PostgreSQL: one that writes, a few that read, one that listens; and what their failures mean. */
import pg from 'pg';
import { Fault } from '../errors.ts';
import type { Cancel, Kernel } from '../kernel.ts';
import { Rejected } from './group-commit.ts';

/** Closes connections that are given back broken and makes new ones, `most` at a time. */
export function connect(url: string, kernel: Kernel, most: number, timeoutMs: number): pg.Pool {
  const pool = new pg.Pool({
    ...clientConfig(url, timeoutMs),
    max: most,
    idleTimeoutMillis: 0,
    // what waits for the server is given up by the server first, so that nothing it still does comes as a surprise
    statement_timeout: Math.ceil(timeoutMs * 0.8),
    lock_timeout: Math.ceil(timeoutMs * 0.5),
    query_timeout: timeoutMs,
  });
  pool.on('error', (error) => kernel.log.warn(reasonOf(error), 'an idle connection to the log was lost'));
  return pool;
}

function clientConfig(url: string, timeoutMs: number): pg.ClientConfig {
  return {
    connectionString: url,
    connectionTimeoutMillis: timeoutMs,
    keepAlive: true,
    application_name: 'fedhub log',
    // plans are made when the log is empty and must serve it when it is not
    options: '-c default_transaction_isolation=read\\ committed -c enable_seqscan=off -c enable_sort=off -c jit=off',
    types: { getTypeParser: (oid, format) => (oid === int8 ? Number : pg.types.getTypeParser(oid, format)) },
  };
}

/** Positions fit a number: at 100,000 events a second, 2^53 lasts for 2,800 years. */
const int8 = 20;

export interface Listener {
  close(): Promise<void>;
}

/** What a listener calls. */
export interface Ears {
  /** With the payload of each notification. */
  heard(payload: string): void;
  /** Whenever it starts to listen, because until then it may have missed some. */
  missed(): void;
}

/** Listens to a channel. A lost connection is made again, after 0.1 s up to 5 s. */
export function listen(url: string, kernel: Kernel, channel: string, timeoutMs: number, ears: Ears): Listener {
  let client: pg.Client | undefined;
  let cancel: Cancel = () => {};
  let failures = 0;
  let closed = false;

  function start(): void {
    const fresh = new pg.Client({
      ...clientConfig(url, timeoutMs),
      application_name: 'fedhub log listener',
      query_timeout: timeoutMs,
    });
    client = fresh;
    let lost = false;
    const lose = (error?: Error) => {
      if (lost) return;
      lost = true;
      void fresh.end().catch(() => {}); // it is gone already; what is left of it goes too
      if (closed) return;
      kernel.log.warn(reasonOf(error), 'the connection that listens to the log was lost; it is made again');
      cancel = kernel.after(Math.min(5_000, 100 * 2 ** Math.min(failures++, 6)) * (0.5 + kernel.random() / 2), start);
    };
    fresh.on('error', lose);
    fresh.on('end', () => lose());
    fresh.on('notification', ({ payload = '' }) => ears.heard(payload));
    fresh
      .connect()
      .then(() => fresh.query(`LISTEN ${channel}`))
      .then(() => {
        failures = 0;
        ears.missed();
      }, lose);
  }

  start();
  return {
    async close() {
      closed = true;
      cancel();
      await client?.end().catch(() => {}); // it may be gone already
    },
  };
}

/**
 * Throws what a failed flush means: `Rejected` for something in what was written, `log_full` for a server without space,
 * and the error itself where it is not known whether the flush was written.
 */
export function rethrowWrite(error: unknown): never {
  if (!(error instanceof pg.DatabaseError) || error.code === undefined) throw error;
  if (ofData.test(error.code)) throw new Rejected(error.message, { cause: error });
  // a panic may come after the commit was written; any other refusal for space comes before
  if (error.code === diskFull && error.severity !== 'PANIC') {
    throw new Fault('log_full', 'the disk of the event log is full; nothing was written', error);
  }
  throw error;
}

/** Data exceptions, integrity violations, and limits of a row or an index entry. */
const ofData = /^(22|23|54)/;
const diskFull = '53100';

/** What is logged of it: the error itself may carry the whole client, with how it was connected. */
function reasonOf(error: Error | undefined): { reason: string } {
  return { reason: error?.message ?? 'the server closed it' };
}

/** Reading changes nothing, so that what failed with its connection may be done again. */
export function mayReadAgain(error: unknown): boolean {
  return !(error instanceof pg.DatabaseError) || /^(08|40|55P03|57P0)/.test(error.code ?? '');
}
