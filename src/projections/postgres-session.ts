/** How the views talk to PostgreSQL: numbers as numbers, transactions that leave no broken connection behind. */
import pg from 'pg';

const int8 = 20;
const numeric = 1700;

/** int8 and numeric come as numbers, by client and not for the whole process: what the hub counts stays below 2^53. */
export const numberTypes: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    oid === int8 || oid === numeric
      ? Number
      : pg.types.getTypeParser(oid, format)) as pg.CustomTypesConfig['getTypeParser'], // pg's own signature, overloaded by format
};

/** Runs `work` in a transaction on one connection. A connection that cannot even roll back is thrown away. */
export async function inTransaction<T>(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let broken = false;
  try {
    await client.query('BEGIN');
    const value = await work(client);
    await client.query('COMMIT');
    return value;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {
      broken = true;
    });
    throw error;
  } finally {
    client.release(broken);
  }
}

/** A lock was not to be had in the time allowed. */
export function isLockTimeout(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === '55P03';
}
