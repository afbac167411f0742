/** One scenario in a process of its own, so that none runs in the garbage of another. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import type { Figure } from './measure.ts';
import { answerParent } from './processes.ts';
import { scenarios } from './scenarios.ts';

export type ScenarioProcess = {
  /** `postgres`: a server on which databases may be made. */
  run(name: string, rounds: number, postgres: string): Promise<readonly Figure[]>;
};

const answers: ScenarioProcess = {
  async run(name, rounds, postgres) {
    const folder = await mkdtemp(join(tmpdir(), 'fedhub-bench-'));
    const databases: string[] = [];
    const database = async () => {
      const fresh = `fedhub_bench_${randomBytes(6).toString('hex')}`;
      databases.push(fresh);
      await administer(postgres, `CREATE DATABASE ${fresh} TEMPLATE template0 ENCODING 'UTF8'`);
      const url = new URL(postgres);
      url.pathname = `/${fresh}`;
      return url.href;
    };
    try {
      return await scenarios[name]!({ rounds, folder, database });
    } finally {
      for (const made of databases) await administer(postgres, `DROP DATABASE IF EXISTS ${made} WITH (FORCE)`);
      await rm(folder, { recursive: true, force: true });
    }
  },
};

answerParent(answers);

async function administer(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
