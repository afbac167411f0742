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
import { type Acknowledged, expectDense, expectWhole, readFrom, startWriter } from './writer-process.ts';

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

/** Each writer opens the log that the one before it was torn from. */
async function killAgainAndAgain(url: string, open: () => Promise<EventLog>): Promise<void> {
  const acknowledged: Acknowledged[] = [];
  for (let kill = 0; kill < kills; kill++) {
    const writer = startWriter(url, `w${kill}`);
    if (kill % 10 === 0) await kernel.sleep(kernel.random() * 800);
    else await writer.ready.then(() => kernel.sleep(kernel.random() * longestMs));
    writer.kill();
    expect(await writer.ended, 'it was writing until it was killed').toBe(null);
    acknowledged.push(...writer.acknowledged);
  }
  const log = await open();
  const events = await readFrom(log, 0);
  await log.close();
  expectWhole(events, acknowledged);
  expectDense(events);
  expect(acknowledged.length, 'appends acknowledged in all').toBeGreaterThan(kills);
}
