/** Which roster is the newest? One row. */
import { projection } from './define.ts';

export interface NewestRosterRow {
  /** Always `newest`. */
  name: string;
  roster_id: string;
  issued_at: string;
  expires_at: string;
  members_named: number;
  position: number;
}

export const newestRoster = projection<NewestRosterRow>({
  table: {
    name: 'federation_newest_roster',
    key: 'name',
    columns: {
      name: 'text',
      roster_id: 'text',
      issued_at: 'text',
      expires_at: 'text',
      members_named: 'integer',
      position: 'integer',
    },
  },
  version: 1,
  on: {
    'roster.issued': {
      key: () => 'newest',
      fold: (_row, { data: { members, ...data }, position }) => ({
        name: 'newest',
        ...data,
        members_named: members,
        position,
      }),
    },
  },
});
