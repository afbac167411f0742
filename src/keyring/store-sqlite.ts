/** The keyring in `keyring.db` in the data folder: a file of mode 0600, used from a thread of its own. */
import { join } from 'node:path';
import { Thread } from '../thread.ts';
import type { SqliteKeyring } from './sqlite-thread.ts';
import type { KeyringStore } from './store.ts';

/** The store is opened, and its thread started, by the first call. */
export function sqliteKeyring(folder: string): KeyringStore {
  const thread = new Thread<SqliteKeyring>('keyring/sqlite-thread', {
    file: join(folder, 'keyring.db'),
  });
  return {
    async ensure(make) {
      if (!(await thread.call('open'))) await thread.call('create', await make());
      return thread.call('keys');
    },
    keys: () => thread.call('keys'),
    add: (records) => thread.call('add', records),
    remove: (ids) => thread.call('remove', ids),
    dataKey: (subject) => thread.call('dataKey', subject),
    dataKeyIds: (subjects) => thread.call('dataKeyIds', subjects),
    keepDataKey: (record) => thread.call('keepDataKey', record),
    removeDataKeys: (subject) => thread.call('removeDataKeys', subject),
    vault: {
      begin: (first) => thread.call('vaultBegin', first),
      find: (id) => thread.call('vaultFind', id),
      keep: (record) => thread.call('vaultKeep', record),
      rewrap: (before, after) => thread.call('vaultRewrap', before, after),
      page: (after, limit, notWith = '') => thread.call('vaultPage', after, limit, notWith),
      masters: () => thread.call('vaultMasters'),
      destroy: (ids) => thread.call('vaultDestroy', ids),
    },
    async close() {
      if (!thread.dead) await thread.call('close');
      await thread.end();
    },
  };
}
