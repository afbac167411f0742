/**
 * Who holds copies of what: facts that nobody decides on. What is asked for and what became of it follows from the views; said twice it is
 * the same, so these are appended whoever else writes.
 */
import type { DomainEvent, EventData } from '../events/catalog.ts';
import { type Holding, mostMoved } from '../events/knowledge.ts';

export const holdingsStream = (holder: string): string => `holdings-${holder}`;

export type WithdrawalCause = EventData<'knowledge.withdrawal-asked'>['cause'];
export type WithdrawalOutcome = EventData<'knowledge.withdrawn'>['outcome'];

/** Copies went to a holder. */
export function moved(holder: string, items: readonly Holding[], syncId: string | undefined): DomainEvent[] {
  const about = { holder, ...(syncId !== undefined && { sync_id: syncId }) };
  return inParts(items).map((part) => ({ type: 'knowledge.moved', data: { ...about, items: part } }));
}

/** A holder is asked to let go of its copies. */
export function asked(holder: string, memoryIds: readonly string[], cause: WithdrawalCause): DomainEvent[] {
  return inParts(memoryIds).map((memory_ids) => ({
    type: 'knowledge.withdrawal-asked',
    data: { holder, memory_ids, cause },
  }));
}

/** What became of it. `through`: of copies that went there by this position. */
export function withdrawn(
  holder: string,
  memoryIds: readonly string[],
  outcome: WithdrawalOutcome,
  through: number,
): DomainEvent[] {
  return inParts(memoryIds).map((memory_ids) => ({
    type: 'knowledge.withdrawn',
    data: { holder, memory_ids, outcome, through },
  }));
}

/** As many as one event names. */
function inParts<T>(all: readonly T[]): T[][] {
  const parts: T[][] = [];
  for (let at = 0; at < all.length; at += mostMoved) parts.push(all.slice(at, at + mostMoved));
  return parts;
}
