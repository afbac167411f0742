/** The log in PostgreSQL passes the suite of all backends. */

import { openPostgresLog } from '../../src/events/log-postgres.ts';
import { beginPostgresRestore } from '../../src/events/log-postgres-restore.ts';
import { createKernel } from '../../src/kernel.ts';
import { freshDatabase } from '../setup/postgres.ts';
import { conformance } from './conformance.ts';

const kernel = createKernel({ logLevel: 'silent' });

conformance(
  'the log in PostgreSQL',
  async (options) => {
    const database = await freshDatabase();
    const open = () => openPostgresLog({ url: database.url, kernel, ...options });
    let log = await open();
    return {
      log,
      async reopen() {
        await log.close();
        log = await open();
        return log;
      },
      async close() {
        await log.close();
        await database.drop();
      },
    };
  },
  async () => {
    const { url, drop } = await freshDatabase();
    return {
      begin: (about) => beginPostgresRestore(url, about),
      open: () => openPostgresLog({ url, kernel }),
      remove: drop,
    };
  },
);
