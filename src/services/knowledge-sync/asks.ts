/** Asks holders for copies back over their sockets, each replica those that are here, again whenever they come back; and hears what became of it. */

import type { About } from '../../commands/execute.ts';
import { holdingsStream, type WithdrawalOutcome, withdrawn } from '../../commands/holdings.ts';
import { decode } from '../../events/decode.ts';
import type { Subscription } from '../../events/log.ts';
import type { Hub } from '../../hub.ts';
import { findHoldings } from '../../projections/holdings.ts';
import { speakerOf, type WebsocketPool } from '../websocket-pool.ts';
import type { Members } from './standing.ts';

/** Memories of one packet. */
const mostNamed = 256;

export class Asks {
  readonly #hub: Hub;
  readonly #sockets: WebsocketPool;
  readonly #members: Members;
  readonly #stops: (() => void)[];
  readonly #subscription: Subscription;
  /** Holders that came back and are still to be asked; each once. */
  readonly #back = new Set<string>();
  #asking: Promise<void> | undefined;

  /** @param head of the log: what came before is not told again. */
  constructor(hub: Hub, sockets: WebsocketPool, members: Members, head: number) {
    this.#hub = hub;
    this.#sockets = sockets;
    this.#members = members;
    this.#subscription = hub.log.subscribe(
      head,
      ({ events }) => {
        for (const recorded of events) {
          const event = decode(recorded);
          if (event.type !== 'knowledge.withdrawal-asked') continue;
          const { holder, memory_ids, cause } = event.data;
          if (sockets.has(holder)) sockets.tell(holder, 'federation:knowledge:withdraw', { memory_ids, cause });
        }
      },
      { types: ['knowledge.withdrawal-asked'] },
    );
    this.#stops = [
      sockets.onOpen((nodeId) => {
        this.#back.add(nodeId);
        this.#askAgain();
      }),
      sockets.handle('federation:knowledge:withdrawn', async (client, { memory_ids, outcome }) => {
        const { nodeId, about } = speakerOf(client);
        return { position: await this.answer(nodeId, memory_ids, outcome, about) };
      }),
    ];
  }

  /**
   * A holder says what became of copies that it was asked for; of others that it has it may say too that it let go of them. Said again it
   * changes nothing. Answers the position. Throws a `Fault`.
   */
  async answer(
    holder: string,
    memoryIds: readonly string[],
    outcome: WithdrawalOutcome,
    about: About,
  ): Promise<number> {
    const states = outcome === 'honoured' ? (['held', 'asked', 'declined'] as const) : (['asked'] as const);
    // It may have been asked a moment ago; and another copy may go there while this is looked up, which is not the one that it speaks of.
    const head = await this.#hub.log.head();
    const { value: rows, position } = await this.#hub.views.read(head, (db) =>
      findHoldings(db, { holder, memoryIds, states }, '', memoryIds.length),
    );
    const since = this.#members.party(holder)?.since ?? Number.POSITIVE_INFINITY;
    const named = rows.filter(({ moved_position }) => moved_position > since).map(({ memory_id }) => memory_id);
    if (named.length === 0) return position;
    return this.#hub.executor.note(holdingsStream(holder), withdrawn(holder, named, outcome, head), about);
  }

  async close(): Promise<void> {
    for (const stop of this.#stops) stop();
    this.#back.clear();
    await this.#subscription.close();
    await this.#asking;
  }

  /** One after the other: a replica that starts gets all its nodes at once. */
  #askAgain(): void {
    this.#asking ??= this.#askAll().finally(() => {
      this.#asking = undefined;
      if (this.#back.size > 0) this.#askAgain();
    });
  }

  async #askAll(): Promise<void> {
    for (const nodeId of this.#back) {
      this.#back.delete(nodeId);
      await this.#ask(nodeId).catch((error: unknown) =>
        this.#hub.kernel.log.warn(
          { err: error, nodeId },
          'a node was not asked again for copies; it is when it comes back',
        ),
      );
    }
  }

  async #ask(nodeId: string): Promise<void> {
    const since = this.#members.party(nodeId)?.since ?? Number.POSITIVE_INFINITY;
    for (let after = ''; this.#sockets.has(nodeId); ) {
      const filter = { holder: nodeId, states: ['asked'] as const };
      const page = await findHoldings(this.#hub.views.db, filter, after, mostNamed);
      const causes = new Map<string, string[]>();
      for (const { memory_id, cause, moved_position } of page) {
        if (moved_position <= since) continue; // it was one of the same name that had it
        const of = cause ?? 'policy';
        causes.set(of, [...(causes.get(of) ?? []), memory_id]);
      }
      for (const [cause, memory_ids] of causes)
        this.#sockets.tell(nodeId, 'federation:knowledge:withdraw', { memory_ids, cause });
      if (page.length < mostNamed) return;
      after = page.at(-1)!.holding; // it is full
    }
  }
}
