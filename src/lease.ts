/**
 * Leases: which replica holds a duty that one replica alone may do.
 *
 * A lease lasts three seconds by the clock of the database and is renewed each second, so that a dead replica's duties are
 * taken over within about four. Each takeover raises the epoch. Holding a lease is a belief and may be stale by the time it
 * is acted on; what must not happen twice is fenced by the epoch, in the transaction that does it.
 */
import pg from 'pg';
import type { Cancel, Kernel } from './kernel.ts';

export interface Lease {
  readonly name: string;
  /** Whether this replica holds it now, as far as it can know. False at the latest when the lease has run out. */
  held(): boolean;
  /** Number of the tenure; grows with each takeover. 0 before the first. */
  readonly epoch: number;
  /** Called with `held()` each time it changed. Answers how to stop listening. */
  onChange(listener: (held: boolean) => void): Cancel;
  /** Gives it up at once and stops trying. Twice is harmless. `forget`: nothing is left of it, and its epoch begins anew. */
  release(forget?: 'forget'): Promise<void>;
}

export interface Leases {
  /** Tries for the lease from now on, until it is released. */
  acquire(name: string): Lease;
  /** Names of those that are asked for here, and whether they are held now. */
  duties(): readonly { readonly name: string; readonly held: boolean }[];
  /** Forgets those whose names begin so and that nobody has held for a minute: holders that died left them. */
  tidy(prefix: string): Promise<void>;
  /** Gives up all. */
  close(): Promise<void>;
}

/** Leases beside what lies at `url`. Whoever has a folder (`sqlite:<folder>`) is alone with it, and holds all of them. */
export async function openLeases(url: string, kernel: Kernel): Promise<Leases> {
  return url.startsWith('sqlite:') ? soleLeases(1) : openPostgresLeases(url, kernel);
}

/** The leases of a process that has no equals: always held, under one epoch. */
export function soleLeases(epoch: number): Leases {
  const leases = new Set<Lease>();
  const acquire = (name: string): Lease => {
    const lease: Lease = {
      name,
      epoch,
      held: () => leases.has(lease),
      onChange: () => () => {}, // it changes by `release` alone, and who releases knows
      async release() {
        leases.delete(lease);
      },
    };
    leases.add(lease);
    return lease;
  };
  return { acquire, duties: () => dutiesOf(leases), tidy: async () => {}, close: async () => {} };
}

/** Names with a colon are of single things, and no duties. */
function dutiesOf(leases: ReadonlySet<Lease>): { name: string; held: boolean }[] {
  return [...leases]
    .filter(({ name }) => !name.includes(':'))
    .map((lease) => ({ name: lease.name, held: lease.held() }));
}

const leaseMs = 3_000;
const renewMs = 1_000;
/** A renewal that takes longer has failed. */
const callTimeoutMs = 1_500;

/** Leases in the table `federation_leases` of a PostgreSQL database. Throws when someone else has a table of that name there. */
export async function openPostgresLeases(url: string, kernel: Kernel): Promise<Leases> {
  await makeTable(url);
  const pool = new pg.Pool({
    connectionString: url,
    max: 2,
    connectionTimeoutMillis: callTimeoutMs,
    query_timeout: callTimeoutMs,
    application_name: 'federation-hub leases',
  });
  pool.on('error', (error) => kernel.log.debug({ err: error }, 'an idle connection of the leases was lost'));
  const leases = new Set<PostgresLease>();
  return {
    acquire(name) {
      const lease = new PostgresLease(pool, name, kernel, () => leases.delete(lease));
      leases.add(lease);
      return lease;
    },
    duties: () => dutiesOf(leases),
    async tidy(prefix) {
      await pool.query(tidySql, [prefix]);
    },
    async close() {
      await Promise.all([...leases].map((lease) => lease.release()));
      if (!pool.ended) await pool.end();
    },
  };
}

/** Several replicas that start at once do this one after the other. */
const startLock = 0x6665646c;
const mark = 'made by the federation hub';
const tableSql = `CREATE TABLE IF NOT EXISTS federation_leases (
  name text PRIMARY KEY, holder text NOT NULL, epoch bigint NOT NULL, expires_at timestamptz NOT NULL);
COMMENT ON TABLE federation_leases IS '${mark}'`;
const foreignSql = `SELECT 1 FROM pg_class WHERE oid = to_regclass('public.federation_leases')
  AND obj_description(oid, 'pg_class') IS DISTINCT FROM '${mark}'`;

async function makeTable(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, application_name: 'federation-hub leases' });
  client.on('error', () => {}); // the query fails, and says why
  try {
    await client.connect();
    await client.query('BEGIN');
    await client.query('SELECT pg_advisory_xact_lock($1)', [startLock]);
    const { rowCount } = await client.query(foreignSql);
    if (rowCount) {
      const taken = 'public.federation_leases exists and was not made by the federation hub; it is left alone';
      throw new Error(`${taken}. Give the hub a database of its own`);
    }
    await client.query(tableSql);
    await client.query('COMMIT');
  } finally {
    await client.end();
  }
}

const takeSql = `INSERT INTO federation_leases AS lease (name, holder, epoch, expires_at)
  VALUES ($1, $2, 1, clock_timestamp() + interval '${leaseMs} milliseconds')
  ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = lease.epoch + 1, expires_at = excluded.expires_at
  WHERE lease.expires_at < clock_timestamp() RETURNING epoch::int`;
const renewSql = `UPDATE federation_leases SET expires_at = clock_timestamp() + interval '${leaseMs} milliseconds'
  WHERE name = $1 AND holder = $2 AND epoch = $3 AND expires_at > clock_timestamp() RETURNING epoch::int`;
const releaseSql = `UPDATE federation_leases SET expires_at = '-infinity' WHERE name = $1 AND holder = $2 AND epoch = $3`;
const forgetSql = `DELETE FROM federation_leases WHERE name = $1 AND holder = $2 AND epoch = $3`;
const tidySql = `DELETE FROM federation_leases
  WHERE starts_with(name, $1) AND expires_at < clock_timestamp() - interval '1 minute'`;

class PostgresLease implements Lease {
  readonly name: string;
  readonly #pool: pg.Pool;
  readonly #kernel: Kernel;
  readonly #holder: string;
  readonly #listeners = new Set<(held: boolean) => void>();
  readonly #stop: Cancel;
  readonly #onReleased: () => void;
  #epoch = 0;
  /** Monotonic; counted from before the renewal was sent, so it ends before the database's. */
  #until = Number.NEGATIVE_INFINITY;
  #told = false;
  #released = false;
  #running: Promise<void> | undefined;

  constructor(pool: pg.Pool, name: string, kernel: Kernel, onReleased: () => void) {
    this.#pool = pool;
    this.name = name;
    this.#kernel = kernel;
    this.#holder = `${kernel.replica}/${kernel.uuid()}`;
    this.#onReleased = onReleased;
    const tick = () => {
      this.#running ??= this.#try().finally(() => {
        this.#running = undefined;
      });
    };
    this.#stop = kernel.every(renewMs, tick);
    tick();
  }

  get epoch(): number {
    return this.#epoch;
  }

  held(): boolean {
    return !this.#released && this.#kernel.monotonicMs() < this.#until;
  }

  onChange(listener: (held: boolean) => void): Cancel {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async release(forget?: 'forget'): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    this.#stop();
    this.#tell();
    this.#onReleased();
    await this.#running;
    // When this fails, the lease runs out by itself.
    if (this.#epoch === 0) return;
    await this.#pool.query(forget ? forgetSql : releaseSql, [this.name, this.#holder, this.#epoch]).catch(() => {});
  }

  async #try(): Promise<void> {
    const asked = this.#kernel.monotonicMs();
    try {
      const { rows } = this.held()
        ? await this.#pool.query<{ epoch: number }>(renewSql, [this.name, this.#holder, this.#epoch])
        : await this.#pool.query<{ epoch: number }>(takeSql, [this.name, this.#holder]);
      this.#until = rows[0] ? asked + leaseMs : Number.NEGATIVE_INFINITY;
      if (rows[0]) this.#epoch = rows[0].epoch;
    } catch (error) {
      this.#kernel.log.warn({ err: error, lease: this.name }, 'the lease could not be asked for; trying again');
    }
    this.#tell();
  }

  #tell(): void {
    const held = this.held();
    if (held === this.#told) return;
    this.#told = held;
    for (const listener of this.#listeners) listener(held);
  }
}
