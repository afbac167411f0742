/**
 * Who hears what, from the maps in memory, by channel and by node. Whoever joined a channel under a name that another node took since
 * is not that node: its membership counts no more, whether or not it is taken out yet.
 */
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { Members } from './mailroom.ts';

type Positions = Map<string, number>;

export class Memberships implements Members {
  readonly #nodes: Hub['live']['nodes'];
  readonly #ofChannel = new Map<string, Positions>();
  readonly #ofNode = new Map<string, Positions>();
  readonly #stop: Cancel;

  constructor({ live }: { readonly live: Pick<Hub['live'], 'nodes' | 'channels'> }) {
    this.#nodes = live.nodes;
    this.#stop = live.channels.onChange((member, row) => {
      const [channel = '', nodeId = ''] = member.split('/');
      if (row) this.#add(row);
      else {
        drop(this.#ofChannel, channel, nodeId);
        drop(this.#ofNode, nodeId, channel);
      }
    });
    for (const row of live.channels.values()) this.#add(row);
  }

  close(): void {
    this.#stop();
  }

  since(nodeId: string): number | undefined {
    return this.#nodes.get(nodeId)?.registered_position;
  }

  /** Whether a node hears a channel. */
  hears(channel: string, nodeId: string): boolean {
    return this.#counts(nodeId, this.#ofChannel.get(channel)?.get(nodeId));
  }

  *channel(name: string): Generator<readonly [nodeId: string, since: number]> {
    for (const member of this.#ofChannel.get(name) ?? []) if (this.#counts(...member)) yield member;
  }

  /** Channels that a node hears, and since which position. */
  channelsOf(nodeId: string): ReadonlyMap<string, number> {
    return new Map([...(this.#ofNode.get(nodeId) ?? [])].filter(([, joined]) => this.#counts(nodeId, joined)));
  }

  *role(name: string): Generator<readonly [nodeId: string, since: number]> {
    for (const { node_id, role, registered_position } of this.#nodes.values())
      if (role === name) yield [node_id, registered_position];
  }

  *all(): Generator<readonly [nodeId: string, since: number]> {
    for (const { node_id, registered_position } of this.#nodes.values()) yield [node_id, registered_position];
  }

  #counts(nodeId: string, joined: number | undefined): boolean {
    const since = this.since(nodeId);
    return joined !== undefined && since !== undefined && joined > since;
  }

  #add({ channel, node_id, joined_position }: { channel: string; node_id: string; joined_position: number }): void {
    put(this.#ofChannel, channel, node_id, joined_position);
    put(this.#ofNode, node_id, channel, joined_position);
  }
}

function put(index: Map<string, Positions>, key: string, member: string, position: number): void {
  index.set(key, (index.get(key) ?? new Map<string, number>()).set(member, position));
}

function drop(index: Map<string, Positions>, key: string, member: string): void {
  const members = index.get(key);
  if (members?.delete(member) && members.size === 0) index.delete(key);
}
