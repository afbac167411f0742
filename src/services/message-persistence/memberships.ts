/** Which channels each node hears, from the map in memory: looked up by node at each question. */
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';

export class Memberships {
  readonly #channels = new Map<string, Map<string, number>>();
  readonly #stop: Cancel;

  constructor({ live }: Pick<Hub, 'live'>) {
    this.#stop = live.channels.onChange((member, row) => {
      const [channel = '', nodeId = ''] = member.split('/');
      if (row) this.#add(channel, nodeId, row.joined_position);
      else this.#remove(channel, nodeId);
    });
    for (const { channel, node_id, joined_position } of live.channels.values())
      this.#add(channel, node_id, joined_position);
  }

  /** Channels of a node, or of one that had its name before, and since which position it hears them. */
  of(nodeId: string): ReadonlyMap<string, number> {
    return this.#channels.get(nodeId) ?? none;
  }

  close(): void {
    this.#stop();
  }

  #add(channel: string, nodeId: string, position: number): void {
    const own = this.#channels.get(nodeId) ?? new Map<string, number>();
    this.#channels.set(nodeId, own.set(channel, position));
  }

  #remove(channel: string, nodeId: string): void {
    const own = this.#channels.get(nodeId);
    if (own?.delete(channel) && own.size === 0) this.#channels.delete(nodeId);
  }
}

const none: ReadonlyMap<string, number> = new Map();
