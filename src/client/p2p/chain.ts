/** The chain of a node: each entry names the one before it, is signed, and is on disk before anything is done about it. */
import { randomUUID } from 'node:crypto';
import { entryHash, entryText } from '../../p2p/entry.ts';
import { type Entry, type MessageEntry, mostEntries, type ReceiptEntry } from '../../protocol/p2p.ts';
import { isoNow } from '../clock.ts';
import { HubRefusal } from '../connection.ts';
import type { NodeKey } from '../key-file.ts';
import type { RosterKeeper } from './roster.ts';
import type { Own, P2pStore } from './store.ts';

type Link = 'federation_id' | 'author' | 'chain' | 'seq' | 'prev' | 'time' | 'roster_id';
/** What is to be written, without its place. */
export type Said = Omit<MessageEntry, Link> | Omit<ReceiptEntry, Link>;

export interface ChainParts {
  readonly nodeId: string;
  readonly store: P2pStore;
  readonly roster: RosterKeeper;
  key(): Promise<NodeKey>;
}

export class Chain {
  readonly #parts: ChainParts;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(parts: ChainParts) {
    this.#parts = parts;
  }

  /** Writes an entry. Throws `HubRefusal`: `queue_full`, and `not_ready` before the first roster. */
  append(
    said: Said,
    { target, content = null, salt = null }: { target: string; content?: string | null; salt?: string | null },
  ): Promise<Own> {
    return this.inTurn(async () => {
      const { nodeId, store, roster, key } = this.#parts;
      const newest = roster.newest;
      if (!newest) throw new HubRefusal('not_ready', 'there is no roster to go by');
      const last = store.last();
      const seq = (last?.seq ?? 0) + 1;
      if (seq > mostEntries || !store.hasRoom(Buffer.byteLength(content ?? '')))
        throw new HubRefusal('queue_full', 'what this node keeps until the hub is back is full');
      const { federation_id, roster_id } = newest;
      const link = { federation_id, author: nodeId, chain: store.chain, seq, prev: last?.hash ?? null };
      const entry: Entry = { ...link, time: isoNow(), roster_id, ...said };
      const signature = await (await key()).sign(Buffer.from(entryText(entry)));
      const signed = { entry, signature: Buffer.from(signature).toString('base64url') };
      const own = { seq, hash: entryHash(entry), ...signed, content, salt };
      store.append(own, target);
      return own;
    });
  }

  /** What comes after a place goes into another chain, in its order, said when it was said. Answers the name of that chain. */
  beginAnew(place: number): Promise<string> {
    return this.inTurn(async () => {
      const { store, key } = this.#parts;
      const chain = randomUUID();
      const moved: Own[] = [];
      for (const own of store.after(place, mostEntries)) {
        const entry: Entry = { ...own.entry, chain, seq: own.seq - place, prev: moved.at(-1)?.hash ?? null };
        const signature = Buffer.from(await (await key()).sign(Buffer.from(entryText(entry)))).toString('base64url');
        moved.push({ ...own, seq: entry.seq, hash: entryHash(entry), entry, signature });
      }
      store.beginAnew(chain, place, moved);
      return chain;
    });
  }

  /** Does something while nothing is written. */
  inTurn<T>(work: () => Promise<T> | T): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }
}
