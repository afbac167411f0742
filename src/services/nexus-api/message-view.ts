/** Messages as the HTTP API shows them: what was said, and what became of it at each who was to get it. */
import { type Static, Type } from 'typebox';
import { NodeId } from '../../events/node.ts';
import { Message } from '../../protocol/messages.ts';
import type { Found } from '../message-persistence.ts';

export const DeliveryState = Type.Enum(['queued', 'delivered', 'read', 'expired', 'refused']);
type DeliveryState = Static<typeof DeliveryState>;

const Recipient = Type.Object({
  node_id: NodeId,
  state: DeliveryState,
  at: Type.Optional(Type.String({ description: 'When it was read, refused, expired, or got from another node' })),
  code: Type.Optional(Type.String()),
  reason: Type.Optional(Type.String()),
});
type Recipient = Static<typeof Recipient>;

/** Recipients that are named; of more their states are counted. */
export const mostRecipients = 1_000;

export const MessageView = Type.Object({
  ...Message.properties,
  expired: Type.Optional(Type.Literal(true, { description: 'Its time is over, and the content is null' })),
  recipients: Type.Array(Recipient, { description: `At most ${mostRecipients}` }),
  states: Type.Record(Type.String(), Type.Integer(), { description: 'How many of all recipients are in each state' }),
  without: Type.Optional(Type.Array(NodeId, { description: 'Whom it was not for: their mailboxes were full' })),
});

/** What became of a message at each who was to get it, as far as they are members now. */
export function recipientsOf({ row, receipts, waits }: Found): Recipient[] {
  const told = new Map<string, Recipient>();
  for (const { state, nodes, time: at, code, reason } of receipts) {
    const shown = state === 'received' ? 'delivered' : state;
    for (const node_id of nodes)
      told.set(node_id, {
        node_id,
        state: shown,
        at,
        ...(code !== null && { code }),
        ...(reason !== null && { reason }),
      });
  }
  const without = new Set(row.without);
  return [...new Set([...waits.keys(), ...told.keys()])]
    .filter((nodeId) => !without.has(nodeId))
    .map((node_id) => told.get(node_id) ?? { node_id, state: waits.get(node_id) ? 'queued' : 'delivered' });
}

export function countStates(recipients: readonly Recipient[]): Partial<Record<DeliveryState, number>> {
  const counts: Partial<Record<DeliveryState, number>> = {};
  for (const { state } of recipients) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}
