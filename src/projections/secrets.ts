/** Which secrets are there, whose, in which versions, and who may have them? Without what they say. */
import type { SecretParties } from '../events/secret.ts';
import { projection } from './define.ts';

interface VersionRow {
  readonly version: number;
  readonly key_id: string;
  /** Place of the sealed value in the secret's stream. */
  readonly revision: number;
  readonly stored_at: string;
  /** As `meta.actor`. */
  readonly stored_by: string;
}

export interface SecretRow {
  secret_id: string;
  /** Whose it is; null: the operators'. */
  node_id: string | null;
  /** Number of the version that was stored last, destroyed or not. */
  newest: number;
  /** Those that are not destroyed, the oldest first. */
  versions: readonly VersionRow[];
  readers: SecretParties;
  writers: SecretParties;
  created_at: string;
  created_position: number;
  created_revision: number;
  updated_at: string;
  /** Since when readers and writers are these: who took a name later is not meant. */
  granted_position: number;
  used_at: string | null;
}

export const secrets = projection<SecretRow>({
  table: {
    name: 'federation_secrets',
    key: 'secret_id',
    columns: {
      secret_id: 'text',
      node_id: { type: 'text', nullable: true },
      newest: 'integer',
      versions: 'json',
      readers: 'json',
      writers: 'json',
      created_at: 'text',
      created_position: 'integer',
      created_revision: 'integer',
      updated_at: 'text',
      granted_position: 'integer',
      used_at: { type: 'text', nullable: true },
    },
    indexes: [['node_id']],
  },
  version: 1,
  on: {
    'secret.stored': {
      key: ({ data }) => data.secret_id,
      fold(row, { data, time, position, revision, meta }) {
        const { secret_version, key_id, access, secret_id, node_id } = data;
        const version = { version: secret_version, key_id, revision, stored_at: time, stored_by: meta.actor };
        if (!access) {
          return row && { ...row, newest: secret_version, versions: [...row.versions, version], updated_at: time };
        }
        return {
          secret_id,
          node_id,
          newest: secret_version,
          versions: [version],
          ...access,
          created_at: time,
          created_position: position,
          created_revision: revision,
          updated_at: time,
          granted_position: position,
          used_at: null,
        };
      },
    },
    'secret.access-changed': {
      key: ({ data }) => data.secret_id,
      fold: (row, { data: { readers, writers }, time, position }) =>
        row && { ...row, readers, writers, updated_at: time, granted_position: position },
    },
    'secret.version-destroyed': {
      key: ({ data }) => data.secret_id,
      fold: (row, { data, time }) =>
        row && {
          ...row,
          versions: row.versions.filter(({ version }) => version !== data.secret_version),
          updated_at: time,
        },
    },
    'secret.deleted': { key: ({ data }) => data.secret_id, fold: () => null },
    'secret.used': { key: ({ data }) => data.secret_id, fold: (row, { time }) => row && { ...row, used_at: time } },
  },
});
