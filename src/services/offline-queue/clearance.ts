/** What of its mail a node may have now: rights may have changed since it was sent, and its time may be over. */
import { expire, message, messageStream, refuseMessage } from '../../commands/message.ts';
import { Fault, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { Letter, Mailroom } from './mailroom.ts';

export class Clearance {
  readonly #hub: Hub;
  readonly #room: Mailroom;

  constructor(hub: Hub, room: Mailroom) {
    this.#hub = hub;
    this.#room = room;
  }

  /**
   * Those of the letters that the node may have, in their order. Of the others it is written down by then that it did not get them: it may
   * acknowledge what comes behind them. Throws a `Fault` while that cannot be judged, or written.
   */
  async of(nodeId: string, letters: readonly Letter[]): Promise<Letter[]> {
    const now = this.#hub.kernel.now();
    const cleared: Letter[] = [];
    const written: Promise<void>[] = [];
    for (const letter of letters) {
      const over = letter.kind === 'message' && letter.expiresAt <= now;
      const refusal = over ? undefined : this.#barred(nodeId, letter);
      if (over) written.push(this.#expire(letter));
      else if (refusal && letter.kind === 'file') this.#room.forget(nodeId, letter.position);
      else if (refusal) written.push(this.#refuse(nodeId, letter, { code: refusal.refused, reason: refusal.detail }));
      else cleared.push(letter);
    }
    await Promise.all(written);
    return cleared;
  }

  /** What lies there cannot be read: the node does not get it, and what is behind it goes on. */
  async setAside(nodeId: string, letter: Letter): Promise<void> {
    await this.#refuse(nodeId, letter, { code: 'unreadable', reason: 'what was kept of it cannot be read any more' });
  }

  /** The node is a member no more: who wrote to it alone is told so, as far as the log can be written. */
  async giveBack(nodeId: string, letters: readonly Letter[]): Promise<void> {
    const own = letters.filter(({ kind, box }) => kind === 'message' && box === `node:${nodeId}`);
    const why = { code: 'not_found', reason: 'the node was removed' };
    const done = await Promise.allSettled(own.map((letter) => this.#refuse(nodeId, letter, why)));
    const failed = done.find((each) => each.status === 'rejected');
    if (failed) this.#hub.kernel.log.warn({ err: failed.reason, nodeId }, 'senders were not told of a removed node');
  }

  /** What its sender may not say now, and what is not this node's any more, is not handed over. */
  #barred(nodeId: string, { kind, from, to }: Letter): Refusal | undefined {
    const { doors, live } = this.#hub;
    if (kind !== 'message' && kind !== 'file') return undefined;
    if (to && 'role' in to && live.nodes.get(nodeId)?.role !== to.role)
      return refuse('forbidden', `this node has not the role ${to.role} any more`);
    if (to && 'entity' in to && live.entities.get(to.entity)?.node_id !== nodeId)
      return refuse('not_found', `the entity ${to.entity} does not belong to this node any more`);
    if (!from.startsWith('node:')) return undefined;
    const sender = { kind: 'node', nodeId: from.slice('node:'.length), sessionId: '', role: 'member' } as const;
    const refused = doors.judge(sender);
    if (refused?.refused === 'guard_unavailable') throw new Fault('guard_unavailable', refused.detail);
    return refused && refuse(refused.refused, 'the sender may not send messages any more');
  }

  async #expire(letter: Letter): Promise<void> {
    const command = { sentPosition: letter.position, unreached: this.#room.holders(letter) };
    await this.#hub.executor.execute(messageStream(letter.name), message, expire, command, { actor: 'hub' });
  }

  async #refuse(nodeId: string, letter: Letter, why: { code: string; reason: string }): Promise<void> {
    const command = { nodeId, sentPosition: letter.position, ...why };
    await this.#hub.executor.execute(messageStream(letter.name), message, refuseMessage, command, { actor: 'hub' });
  }
}
