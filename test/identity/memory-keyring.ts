/** A keyring that lives as long as the process: for tests of what is made with its keys. */
import type { DataKeyRecord, KeyRecord, KeyringStore } from '../../src/keyring/store.ts';

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
    close: async () => {},
  };
}
