/** What is this federation, and who may join it? One row. */
import type { GovernanceMode } from '../events/federation.ts';
import { projection } from './define.ts';

export interface FederationRow {
  federation_id: string;
  mode: GovernanceMode;
  founded_at: string;
  mode_since: string;
}

/** The key of the one row is the word itself: there is one federation in a log. */
const only = () => 'federation';

export const federation = projection<FederationRow & { id: string }>({
  table: {
    name: 'federation_governance',
    key: 'id',
    columns: { id: 'text', federation_id: 'text', mode: 'text', founded_at: 'text', mode_since: 'text' },
  },
  version: 1,
  on: {
    'federation.founded': {
      key: only,
      fold: (_row, { data, time }) => ({
        id: only(),
        federation_id: data.federation_id,
        mode: data.mode,
        founded_at: time,
        mode_since: time,
      }),
    },
    'governance.mode-changed': {
      key: only,
      fold: (row, { data, time }) => row && { ...row, mode: data.mode, mode_since: time },
    },
  },
});
