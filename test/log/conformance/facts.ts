/** Events, streams and small readings of a log, as the suite needs them. */

import type { EventLog, NewEvent, Page, Recorded, Verdict } from '../../../src/events/log.ts';
import { createKernel } from '../../../src/kernel.ts';

export const kernel = createKernel({ logLevel: 'silent' });

/** The suite's way to the log that is open now. */
export type TheLog = () => EventLog;

export function fact(over: Partial<NewEvent> = {}): NewEvent {
  return {
    id: kernel.uuid(),
    type: 'node.registered',
    version: 1,
    time: '2030-01-02T03:04:05.678Z',
    data: '{"a":1}',
    meta: '{"actor":"hub"}',
    ...over,
  };
}

export function facts(count: number, over: Partial<NewEvent> = {}): NewEvent[] {
  return Array.from({ length: count }, () => fact(over));
}

/** A stream of its own for each test; kept unless the category says otherwise. */
export function stream(category = 'node'): string {
  return `${category}-${kernel.uuid()}`;
}

export async function written(verdict: Promise<Verdict>): Promise<{ position: number; revision: number }> {
  const settled = await verdict;
  if (settled.status !== 'written') throw new Error(`expected written, got ${JSON.stringify(settled)}`);
  return settled;
}

/** All events after a position, page by page, as whoever follows the log reads them. */
export async function readOn(log: EventLog, after: number, limit = 1_000, types?: readonly string[]): Promise<Page> {
  const events: Recorded[] = [];
  for (let through = after; ; ) {
    const page = await log.readAll(through, limit, types);
    if (page.events.length > limit) throw new Error(`a page of ${page.events.length}, asked for ${limit}`);
    events.push(...page.events);
    if (page.through <= through) return { events, through };
    through = page.through;
  }
}

export const ids = (events: readonly { id: string }[]): string[] => events.map((event) => event.id);
