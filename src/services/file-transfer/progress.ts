/** How far bytes are on their way, told to those who wait for them: at most twice a second a transfer, and never kept. */
import type { Hub } from '../../hub.ts';
import type { HubPacket } from '../../protocol.ts';
import type { WebsocketPool } from '../websocket-pool.ts';

type Packet = HubPacket<'federation:file:progress'>;

interface Word {
  readonly nodeId: string;
  readonly packet: Packet;
}

const everyMs = 500;
const topic = 'file-progress';
/** The answer of another replica is not waited for; it is no matter whether it comes. */
const answerMs = 1_000;

export class Progress {
  readonly #hub: Pick<Hub, 'kernel' | 'live'>;
  readonly #sockets: Pick<WebsocketPool, 'tell' | 'has' | 'cluster'>;
  readonly #stop: () => void;

  constructor(hub: Pick<Hub, 'kernel' | 'live'>, sockets: Pick<WebsocketPool, 'tell' | 'has' | 'cluster'>) {
    this.#hub = hub;
    this.#sockets = sockets;
    this.#stop = sockets.cluster.handle(topic, async (word) => {
      const { nodeId, packet } = word as Word; // as `#tell` says it
      return { told: sockets.tell(nodeId, 'federation:file:progress', packet) };
    });
  }

  close(): void {
    this.#stop();
  }

  /** Follows one transfer. `actors`: who is told, as far as they are nodes. What is returned is told how many bytes went; all of them are told at once. */
  of(about: Omit<Packet, 'bytes'>, actors: readonly string[]): (bytes: number) => void {
    const nodes = [...new Set(actors)].flatMap((actor) =>
      actor.startsWith('node:') ? actor.slice('node:'.length) : [],
    );
    let next = this.#hub.kernel.monotonicMs() + everyMs;
    return (bytes) => {
      const now = this.#hub.kernel.monotonicMs();
      if (now < next && bytes < about.size) return;
      next = now + everyMs;
      for (const nodeId of nodes) this.#tell({ nodeId, packet: { ...about, bytes } });
    };
  }

  #tell(word: Word): void {
    if (this.#sockets.has(word.nodeId)) {
      this.#sockets.tell(word.nodeId, 'federation:file:progress', word.packet);
      return;
    }
    const session = this.#hub.live.sessions.get(`${word.nodeId}/socket`);
    if (session?.status !== 'open' || session.replica === this.#hub.kernel.replica) return;
    void this.#sockets.cluster.ask(session.replica, topic, word, answerMs).catch(() => {}); // the next word says more
  }
}
