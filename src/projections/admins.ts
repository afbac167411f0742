/** Who administers the federation? Counted here so that the last one cannot go. */
import { projection } from './define.ts';

export interface AdminRow {
  /** `node:<id>` or `operator:<prefix>`. */
  admin: string;
  since: string;
}

export const admins = projection<AdminRow>({
  table: { name: 'federation_admins', key: 'admin', columns: { admin: 'text', since: 'text' } },
  version: 1,
  on: {
    'admin.appointed': { key: ({ data }) => data.admin, fold: (_row, { data, time }) => ({ ...data, since: time }) },
    'admin.dismissed': { key: ({ data }) => data.admin, fold: () => null },
  },
});
