/** Asks a node to sync, at whichever replica its socket is. Nothing rests on it: a node that does not hear it syncs when it likes. */
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Cancel } from '../../kernel.ts';
import type { HubPacket } from '../../protocol.ts';
import type { WebsocketPool } from '../websocket-pool.ts';

const topic = 'knowledge:offer';
const answerMs = 2_000;

interface Word {
  readonly nodeId: string;
  readonly offer: HubPacket<'federation:knowledge:offer'>;
}

export class Offers {
  readonly #sockets: WebsocketPool;
  readonly #stop: Cancel;

  constructor(sockets: WebsocketPool) {
    this.#sockets = sockets;
    this.#stop = sockets.cluster.handle(topic, (word) => {
      const { nodeId, offer } = word as Word; // as `offer` below says it
      return this.#tell(nodeId, offer) ? Promise.resolve({}) : undefined;
    });
  }

  /** Refuses `target_unreachable` when the node has no socket. */
  async offer(nodeId: string, offer: Word['offer']): Promise<Refusal | undefined> {
    if (this.#tell(nodeId, offer)) return undefined;
    const answer = await this.#sockets.cluster.ask(undefined, topic, { nodeId, offer } satisfies Word, answerMs);
    return isRefusal(answer) ? refuse('target_unreachable', `${nodeId} has no connection now`) : undefined;
  }

  close(): void {
    this.#stop();
  }

  #tell(nodeId: string, offer: Word['offer']): boolean {
    return this.#sockets.tell(nodeId, 'federation:knowledge:offer', offer);
  }
}
