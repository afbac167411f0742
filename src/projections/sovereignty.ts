/** What does each node share and take, as it says now? */
import type { Sovereignty } from '../events/sovereignty.ts';
import { projection } from './define.ts';

export interface SovereigntyRow {
  /** A node, or `@federation`. */
  subject: string;
  policy_version: number;
  shares: Sovereignty['shares'];
  takes: Sovereignty['takes'];
  declared_at: string;
  declared_position: number;
}

export const sovereignty = projection<SovereigntyRow>({
  table: {
    name: 'federation_sovereignty',
    key: 'subject',
    columns: {
      subject: 'text',
      policy_version: 'integer',
      shares: 'json',
      takes: 'json',
      declared_at: 'text',
      declared_position: 'integer',
    },
  },
  version: 1,
  on: {
    'sovereignty.declared': {
      key: ({ data }) => data.subject,
      fold: (_row, { data: { subject, version, shares, takes }, time, position }) => ({
        subject,
        policy_version: version,
        shares,
        takes,
        declared_at: time,
        declared_position: position,
      }),
    },
    // Whoever takes its name says anew what it shares.
    'node.removed': { key: ({ data }) => data.node_id, fold: () => null },
  },
});
