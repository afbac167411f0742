/** Facts of the models of one node, in the stream `models-<node id>`. They count for as long as the node is heard. */
import { Type } from 'typebox';
import { kept } from './define.ts';
import { NodeId } from './node.ts';

const Word = Type.String({ minLength: 1, maxLength: 64, pattern: '^\\P{Cc}*$' });

export const ModelId = Type.String({
  minLength: 1,
  maxLength: 128,
  pattern: '^\\P{Cc}*$',
  description: 'Name of a model, as its server knows it: `llama3.3:70b`',
});

/** What a node says of one of its models. What is left out is not known. */
export const ModelClaim = Type.Object({
  model_id: ModelId,
  /** What it is for: `chat`, `embedding`, `vision` … */
  type: Type.Optional(Word),
  /** As its files say: `Q4_K_M`, `fp16` … */
  quantisation: Type.Optional(Word),
  size_bytes: Type.Optional(Type.Integer({ minimum: 0 })),
  /** Tokens. */
  context_length: Type.Optional(Type.Integer({ minimum: 1 })),
  capabilities: Type.Optional(Type.Array(Word, { maxItems: 32, uniqueItems: true })),
  /** Requests that it serves at once. */
  capacity: Type.Optional(Type.Integer({ minimum: 1, maximum: 100_000 })),
  tokens_per_second: Type.Optional(Type.Number({ minimum: 0 })),
  /** It is in memory, ready to answer. Newer heartbeats say so too. */
  loaded: Type.Optional(Type.Boolean()),
});
export type ModelClaim = Type.Static<typeof ModelClaim>;

export const ModelClaims = Type.Array(ModelClaim, { maxItems: 256 });

export const modelEvents = {
  /** All models of the node, as it is from now on. */
  'models.declared': kept(Type.Object({ node_id: NodeId, models: ModelClaims })),
} as const;
