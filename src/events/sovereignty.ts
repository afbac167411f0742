/** What a node shares and takes, as it says itself, in the stream `sovereignty-<subject>`. What is not said is not allowed. */
import { Type } from 'typebox';
import { kept } from './define.ts';
import { NodeRole } from './node.ts';

/** A node, or `@federation`: what belongs to operators. */
export const SovereigntySubject = Type.String({
  pattern: '^(?:@federation|[A-Za-z0-9][A-Za-z0-9._-]{0,63})$',
  description: 'A node, or @federation for what belongs to operators',
});

/** With whom. Of members that are there each must fit, by one of its words; without any, nobody fits. */
export const Parties = Type.Object({
  /** Everyone in the federation. */
  everyone: Type.Optional(Type.Literal(true)),
  nodes: Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { minItems: 1, maxItems: 256 })),
  roles: Type.Optional(Type.Array(NodeRole, { minItems: 1, maxItems: 3 })),
  owners: Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 128 }), { minItems: 1, maxItems: 64 })),
  /** The `region` among the labels of a node's profile. */
  regions: Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { minItems: 1, maxItems: 64 })),
});
export type Parties = Type.Static<typeof Parties>;

/** A category, with all below it when it ends in `/*`; `*`: every one. */
const CategoryPattern = Type.String({
  pattern: '^(?:\\*|[a-z0-9][a-z0-9_-]{0,31}(?:/[a-z0-9][a-z0-9_-]{0,31}){0,3}(?:/\\*)?)$',
  description: 'A category; with `/*` behind it all below it too; `*`: every one',
});

const rule = {
  /** Names the rule among those of its subject. */
  id: Type.String({ pattern: '^[a-z0-9][a-z0-9_-]{0,63}$' }),
  categories: Type.Array(CategoryPattern, { minItems: 1, maxItems: 64 }),
  with: Parties,
};

/** Lets documents out. */
export const ShareRule = Type.Object({
  ...rule,
  /** Only documents with one of these tags. */
  tags: Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { minItems: 1, maxItems: 32 })),
  /** The rule counts until then; ISO 8601. */
  until: Type.Optional(Type.String({ format: 'date-time' })),
  /** Seconds that a copy may be kept. */
  keep_seconds: Type.Optional(Type.Integer({ minimum: 1, maximum: 3_153_600_000 })),
  /** Whether who got it may hand it on. Unsaid: no. */
  pass_on: Type.Optional(Type.Boolean()),
  /** Whether who got it may write new versions of it. Unsaid: no. */
  edit: Type.Optional(Type.Boolean()),
});
export type ShareRule = Type.Static<typeof ShareRule>;

/** Lets documents in. `with`: whose they are. */
export const TakeRule = Type.Object({
  ...rule,
  until: Type.Optional(Type.String({ format: 'date-time' })),
  /** Documents of other federations too. Unsaid: no. */
  foreign: Type.Optional(Type.Boolean()),
});
export type TakeRule = Type.Static<typeof TakeRule>;

export const Sovereignty = Type.Object({
  shares: Type.Array(ShareRule, { maxItems: 64 }),
  takes: Type.Array(TakeRule, { maxItems: 64 }),
});
export type Sovereignty = Type.Static<typeof Sovereignty>;

export const sovereigntyEvents = {
  /** The whole policy, as it is from now on. */
  'sovereignty.declared': kept(
    Type.Object({ subject: SovereigntySubject, version: Type.Integer({ minimum: 1 }), ...Sovereignty.properties }),
  ),
} as const;
