/** The log in a SQLite file: the conformance suite, and what is its own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSqliteLog } from '../../src/events/log-sqlite.ts';
import { kernel } from './conformance/facts.ts';
import { conformance } from './conformance.ts';

conformance('the log on SQLite', async (options) => {
  const folder = mkdtempSync(join(tmpdir(), 'fedhub-log-'));
  const open = () => openSqliteLog({ folder, kernel, ...options });
  let log = await open();
  return {
    log,
    reopen: async () => {
      await log.close();
      log = await open();
      return log;
    },
    close: async () => {
      await log.close();
      rmSync(folder, { recursive: true });
    },
  };
});
