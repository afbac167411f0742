/** Facts of one durable subscription to the log, in the stream `subscription-<subscription id>`. */
import { Type } from 'typebox';
import { kept } from './define.ts';

export const SubscriptionId = Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$' });
const subscription_id = SubscriptionId;

/** Dotted, as types of events are: `*` stands for one word, a `>` at the end for one or more. */
const EventPattern = Type.String({
  maxLength: 128,
  pattern: '^(?:[a-z0-9-]+|\\*)(?:\\.(?:[a-z0-9-]+|\\*))*(?:\\.>)?$|^>$',
  description:
    'Types of events, words in small letters with dots between them; `*` stands for any one word, `>` at the end for one or more: `node.*`, `task.completed`, `>`',
});
export const EventPatterns = Type.Array(EventPattern, { minItems: 1, maxItems: 32, uniqueItems: true });

/** Members of the data of an event that must be just so: `{ "node_id": "a" }`. */
export const EventFilter = Type.Record(
  Type.String({ pattern: '^[a-z_]{1,64}$' }),
  Type.Union([Type.String({ maxLength: 256 }), Type.Number(), Type.Boolean()]),
  { maxProperties: 8 },
);
export type EventFilter = Type.Static<typeof EventFilter>;

/** How events get there: the subscriber asks for them, or they are sent to its address. */
export const Delivery = Type.Union([
  Type.Object({ kind: Type.Literal('cursor') }),
  Type.Object({ kind: Type.Literal('webhook'), url: Type.String({ maxLength: 2048, pattern: '^https?://' }) }),
]);
export type Delivery = Type.Static<typeof Delivery>;

export const subscriptionEvents = {
  'subscription.created': kept(
    Type.Object({
      subscription_id,
      /** `node:<id>` or `operator:<prefix>`: whose rights count at each delivery. */
      owner: Type.String(),
      label: Type.String({ maxLength: 128 }),
      patterns: EventPatterns,
      filter: Type.Optional(EventFilter),
      delivery: Delivery,
      /** What lies after it is delivered. */
      after: Type.Integer({ minimum: 0 }),
    }),
  ),
  /** Everything up to here was delivered or read. */
  'subscription.advanced': kept(Type.Object({ subscription_id, position: Type.Integer({ minimum: 0 }) })),
  /** Deliveries failed for too long, or its owner stopped it. */
  'subscription.paused': kept(
    Type.Object({ subscription_id, reason: Type.String({ maxLength: 512 }), failures: Type.Integer({ minimum: 0 }) }),
  ),
  'subscription.resumed': kept(Type.Object({ subscription_id })),
  'subscription.deleted': kept(Type.Object({ subscription_id })),
} as const;
