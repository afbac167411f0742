/** Facts of secrets, in the stream `secret-<secret id>`, of their uses, in `secretuse-<secret id>`, and of the vault's master key, in `vault`. */
import { Type } from 'typebox';
import { kept } from './define.ts';
import { EntityId } from './entity.ts';
import { NodeId, NodeRole } from './node.ts';

/** What belongs to operators is named as of this owner. */
export const ofOperators = '@federation';

/** `<owner>:<name>`: names are those of their owner, so that none tells whether another has one of that name. */
export const SecretId = Type.String({
  pattern: '^(?:@federation|[A-Za-z0-9][A-Za-z0-9._-]{0,63}):[A-Za-z0-9][A-Za-z0-9._-]{0,127}$',
  description: '`<node>:<name>`, or `@federation:<name>` for a secret of the operators',
});

/** Counts up from 1 for as long as the secret is there. */
export const SecretVersion = Type.Integer({ minimum: 1 });

/** Who besides the owner; each word is enough. */
export const SecretParties = Type.Object({
  nodes: Type.Optional(Type.Array(NodeId, { minItems: 1, maxItems: 64, uniqueItems: true })),
  /** Through the node that they belong to. */
  entities: Type.Optional(Type.Array(EntityId, { minItems: 1, maxItems: 64, uniqueItems: true })),
  /** Nodes of these roles, also those that come to it later. */
  roles: Type.Optional(Type.Array(NodeRole, { minItems: 1, maxItems: 3, uniqueItems: true })),
  /** Operators that govern. */
  operators: Type.Optional(Type.Literal(true)),
});
export type SecretParties = Type.Static<typeof SecretParties>;

const secret_id = SecretId;
const secret_version = SecretVersion;
const access = { readers: SecretParties, writers: SecretParties };

export const secretEvents = {
  /** A version, which is the newest from now on. The value is sealed with a key of its own, which lies outside the log. */
  'secret.stored': kept(
    Type.Object({
      secret_id,
      secret_version,
      /** Whose it is; null: the operators'. */
      node_id: Type.Union([NodeId, Type.Null()]),
      key_id: Type.String(),
      /** AES-256-GCM: `nonce ‖ ciphertext ‖ tag` in base64url. */
      sealed: Type.String(),
      /** With the first version. */
      access: Type.Optional(Type.Object(access)),
    }),
  ),
  /** All of the access, as it is from now on. */
  'secret.access-changed': kept(Type.Object({ secret_id, ...access })),
  /** The key of a version is destroyed. */
  'secret.version-destroyed': kept(
    Type.Object({ secret_id, secret_version, cause: Type.Union([Type.Literal('asked'), Type.Literal('too_many')]) }),
  ),
  /** The keys of all its versions are destroyed. */
  'secret.deleted': kept(
    Type.Object({ secret_id, cause: Type.Union([Type.Literal('asked'), Type.Literal('node_removed')]) }),
  ),
  /** Written before the value is given. */
  'secret.used': kept(
    Type.Object({
      secret_id,
      secret_version,
      /** As `meta.actor`. */
      by: Type.String(),
      /** What let them: `owner`, `node`, `entity:<id>`, `role:<role>`, `operators`. */
      through: Type.String(),
    }),
  ),
  /** All keys are to be wrapped anew. Ids of master keys, never the keys. */
  'vault.rotation-asked': kept(Type.Object({ from: Type.String(), to: Type.Optional(Type.String()) })),
  /** No key is wrapped with the old master key any more. */
  'vault.master-rotated': kept(Type.Object({ from: Type.String(), to: Type.String(), keys: Type.Integer() })),
} as const;
