/** Pages of what one subscriber may see of the log after a position, for cursors and webhooks. */
import { isRefusal, type Refusal } from '../../errors.ts';
import type { EventType } from '../../events/catalog.ts';
import type { EventFilter } from '../../events/subscription.ts';
import type { Hub } from '../../hub.ts';
import type { Facts } from './facts.ts';
import { fits } from './patterns.ts';
import type { View } from './shown.ts';
import type { Standing } from './standing.ts';
import { viewFor } from './visible.ts';

/** Events read from the log at a time. */
const pageEvents = 200;

export interface HistoryWish {
  readonly types: ReadonlySet<EventType>;
  readonly filter: EventFilter | null;
  /** As `meta.actor` names who will see it, and what it may see. */
  readonly actor: string;
  readonly standing: Standing;
  readonly mostEvents: number;
  /** At least one event is given, whatever its size. */
  readonly mostBytes: number;
  /** How long may be looked for more. */
  readonly mostMs: number;
}

export interface History {
  readonly views: readonly View[];
  /** Nothing that may be seen was left out up to here. */
  readonly through: number;
  /** More may lie behind. */
  readonly more: boolean;
}

/** Throws a `Fault` when the log fails; answers why nothing may be seen any more. */
export async function readHistory(
  { log, kernel }: Pick<Hub, 'log' | 'kernel'>,
  facts: Facts,
  after: number,
  wish: HistoryWish,
): Promise<History | Refusal> {
  const views: View[] = [];
  const end = kernel.monotonicMs() + wish.mostMs;
  let bytes = 0;
  let through = after;
  for (;;) {
    const page = await log.readAll(through, pageEvents, [...wish.types]);
    const shown = await facts.show(page.events);
    const identity = wish.standing();
    if (isRefusal(identity)) return identity;
    for (const one of shown) {
      const name = viewFor(one.type, identity, one.isOf(wish.actor));
      const view = name && one.view(name);
      if (!view || !fits(wish.filter, view.event.data as object)) continue; // data of events are objects
      const size = Buffer.byteLength(view.json);
      if (views.length > 0 && bytes + size > wish.mostBytes) return { views, through: one.position - 1, more: true };
      views.push(view);
      bytes += size;
      if (views.length === wish.mostEvents) return { views, through: one.position, more: true };
    }
    if (page.through <= through) return { views, through, more: false };
    through = page.through;
    if (kernel.monotonicMs() > end) return { views, through, more: true };
  }
}
