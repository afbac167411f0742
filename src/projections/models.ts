/** Which models does each node have, as it says? */
import type { ModelClaim } from '../events/model.ts';
import { projection } from './define.ts';

export interface ModelsRow {
  node_id: string;
  models: ModelClaim[];
  declared_at: string;
}

export const models = projection<ModelsRow>({
  table: {
    name: 'federation_models',
    key: 'node_id',
    columns: { node_id: 'text', models: 'json', declared_at: 'text' },
  },
  version: 1,
  on: {
    'models.declared': {
      key: ({ data }) => data.node_id,
      fold: (_row, { data, time }) => ({ ...data, declared_at: time }),
    },
    'node.removed': { key: ({ data }) => data.node_id, fold: () => null },
  },
});
