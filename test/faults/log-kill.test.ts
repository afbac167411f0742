/** `kill -9` of a writing process at random moments, on each backend: what was acknowledged is there, and nothing is half there. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import type { EventLog } from '../../src/events/log.ts';
import { openPostgresLog } from '../../src/events/log-postgres.ts';
import { openSqliteLog } from '../../src/events/log-sqlite.ts';
import { createKernel } from '../../src/kernel.ts';
import { freshDatabase } from '../setup/postgres.ts';
import { expectDense, expectWhole, readFrom, startWriter } from './writer-process.ts';

const kills = 50;
/** The longest that a writer writes before it is killed; some are killed while they open the log. */
const longestMs = 150;
const kernel = createKernel({ logLevel: 'silent' });

describe(`a writer killed at ${kills} random moments loses nothing that was acknowledged`, () => {
  it('on SQLite, whose file opens again each time and is whole', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'fedhub-kill-'));
    try {
      await killAgainAndAgain(`sqlite:${folder}`, () => openSqliteLog({ folder, kernel, segmentSize: 5_000 }));
      const db = new Sqlite(join(folder, 'log.db'));
      expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
      db.close();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('on PostgreSQL, whose log goes on with the next writer', async () => {
    const database = await freshDatabase();
    try {
      await killAgainAndAgain(database.url, () => openPostgresLog({ url: database.url, kernel, segmentSize: 5_000 }));
    } finally {
      await database.drop();
    }
  });
});

async function killAgainAndAgain(url: string, open: () => Promise<EventLog>): Promise<void> {
  let seen = 0;
  let acknowledged = 0;
  for (let kill = 0; kill < kills; kill++) {
    const writer = startWriter(url, `w${kill}`);
    if (kill % 10 === 0) await kernel.sleep(kernel.random() * 1_500);
    else await writer.ready.then(() => kernel.sleep(kernel.random() * longestMs));
    writer.kill();
    expect(await writer.ended, 'it was writing until it was killed').toBe(null);
    const log = await open();
    const events = await readFrom(log, seen);
    expectWhole(events, writer.acknowledged);
    expectDense(events, seen);
    await log.close();
    seen += events.length;
    acknowledged += writer.acknowledged.length;
  }
  expect(acknowledged, 'appends acknowledged in all').toBeGreaterThan(kills);
}
