/** Which operator tokens are there, and what may they do? Hashes only. */
import { projection } from './define.ts';

export interface OperatorTokenRow {
  prefix: string;
  hash: string;
  label: string;
  scopes: string[];
  created_at: string;
}

export const operatorTokens = projection<OperatorTokenRow>({
  table: {
    name: 'federation_operator_tokens',
    key: 'prefix',
    columns: { prefix: 'text', hash: 'text', label: 'text', scopes: 'json', created_at: 'text' },
  },
  version: 1,
  on: {
    'operator-token.created': {
      key: ({ data }) => data.prefix,
      fold: (_row, { data, time }) => ({
        prefix: data.prefix,
        hash: data.hash,
        label: data.label,
        scopes: data.scopes,
        created_at: time,
      }),
    },
  },
});
