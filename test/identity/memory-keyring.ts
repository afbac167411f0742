/** A keyring that lives as long as the process: for tests of what is made with its keys. */

import type { DataKeyRecord, KeyRecord, KeyringStore } from '../../src/keyring/store.ts';
import { firstId, type VaultKeyRecord, type VaultKeys } from '../../src/keyring/vault-keys.ts';

function memoryVaultKeys(): VaultKeys {
  const records = new Map<string, VaultKeyRecord>();
  return {
    async begin(first) {
      if (!records.has(firstId)) records.set(firstId, first);
      return records.get(firstId);
    },
    find: async (id) => records.get(id),
    async keep(record) {
      const isInUse = records.get(firstId)?.master_id === record.master_id;
      if (isInUse) records.set(record.id, record);
      return isInUse;
    },
    async rewrap(before, after) {
      const isSame = records.get(before.id)?.wrapped === before.wrapped;
      if (isSame) records.set(before.id, after);
      return isSame;
    },
    page: async (after, limit, notWith) =>
      [...records.values()]
        .filter(({ id, master_id }) => id > after && id !== firstId && master_id !== notWith)
        .sort((one, other) => (one.id < other.id ? -1 : 1))
        .slice(0, limit),
    async masters() {
      const counts = new Map<string, number>();
      for (const { master_id } of records.values()) counts.set(master_id, (counts.get(master_id) ?? 0) + 1);
      return [...counts].map(([master_id, keys]) => ({ master_id, keys }));
    },
    destroy: async (ids) => ids.filter((id) => records.delete(id)).length,
  };
}

export function memoryKeyring(): KeyringStore {
  let keys: KeyRecord[] = [];
  const dataKeys = new Map<string, DataKeyRecord>();
  return {
    async ensure(make) {
      if (keys.length === 0) keys = await make();
      return keys;
    },
    keys: async () => keys,
    add: async (records) => void keys.push(...records),
    remove: async (ids) => {
      keys = keys.filter(({ id }) => !ids.includes(id));
    },
    dataKey: async (subject) => dataKeys.get(subject),
    dataKeyIds: async (subjects) => subjects.flatMap((subject) => dataKeys.get(subject)?.id ?? []),
    async keepDataKey(record) {
      if (!dataKeys.has(record.subject)) dataKeys.set(record.subject, record);
      return dataKeys.get(record.subject);
    },
    removeDataKeys: async (subject) => (dataKeys.delete(subject) ? 1 : 0),
    vault: memoryVaultKeys(),
    close: async () => {},
  };
}
