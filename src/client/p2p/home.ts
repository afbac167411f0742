/**
 * When the hub is back: hands in what this node wrote without it, page after page, until all of it is home. Where the chain does not go on
 * from what the hub has, as in a folder that was copied or restored, what is not home goes into another chain.
 */
import { mostEntries, mostReturned, mostReturnedBytes, type Returned, type ReturnedEntry } from '../../protocol/p2p.ts';
import type { NodeClock } from '../clock.ts';
import { HubRefusal, HubUnreachable } from '../connection.ts';
import { isPassing } from '../retry.ts';
import type { Line } from '../sender.ts';
import type { Chain } from './chain.ts';
import type { Own, P2pStore } from './store.ts';

export interface HomeParts {
  readonly clock: NodeClock;
  readonly store: P2pStore;
  readonly chain: Chain;
  readonly ask: Line['ask'];
  /** The hub will not have an entry of this node. */
  refused(own: Own, result: Returned): void;
  /** Another chain was begun: what is known of how far others have the one before counts no more. */
  begunAnew(): void;
  trouble(error: Error): void;
}

const waitMs = { first: 250, most: 30_000 };
const answerMs = 30_000;
/** How long a full mailbox holds up what is behind its message. */
const roomMs = 60_000;

export class Home {
  readonly #parts: HomeParts;
  /** Entries whose refusal was told. */
  readonly #told = new Set<string>();
  /** Since when mailboxes had no room, monotonic milliseconds, by address; and the messages for which none is waited for any longer. */
  readonly #full = new Map<string, number>();
  readonly #givenUp = new Set<string>();
  /** So much of the chain is home. */
  #through = 0;
  /** The chain that was begun because another forked. */
  #anew: string | undefined;

  constructor(parts: HomeParts) {
    this.#parts = parts;
  }

  /** Resolves with true when all is home, with false when `goesOn` said no meanwhile. */
  async bring(goesOn: () => boolean): Promise<boolean> {
    let failures = 0;
    while (goesOn()) {
      try {
        if (await this.#bring(goesOn)) return true;
        failures = 0;
      } catch (error) {
        if (!goesOn()) return false;
        if (!(error instanceof HubUnreachable) && !isPassing(error)) this.#parts.trouble(error as Error); // what is thrown is one
        const asked = error instanceof HubRefusal ? (error.retryAfterMs ?? 0) : 0;
        const ms = Math.max(asked, Math.min(waitMs.most, waitMs.first * 2 ** Math.min(failures++, 10)));
        await new Promise<void>((resolve) => void this.#parts.clock.after(ms, resolve));
      }
    }
    return false;
  }

  /** Whether something to this very address is on its way yet. `target`: a node, or `*` for all. */
  holds(target: string): boolean {
    return this.#parts.store.lastTo(target) > this.#through;
  }

  /** Answers whether all is home. */
  async #bring(goesOn: () => boolean): Promise<boolean> {
    const { store, chain, ask } = this.#parts;
    if (!store.last()) return true;
    const name = store.chain;
    const letGo = new Set<string>();
    const brought = new Set<string>();
    let { through } = await ask('federation:p2p:return', { chain: name, entries: [] }, answerMs);
    const both = Math.min(store.last()!.seq, through); // there is a last
    if (both > 0 && !(await this.#isHome(name, both))) await this.#beginAnew(name, both);
    while (goesOn()) {
      this.#through = through;
      const page = pageOf(store.after(through, mostReturned));
      if (page.length === 0) {
        const done = await chain.inTurn(() => this.#finish(through));
        if (done) return true;
        continue; // something was written meanwhile
      }
      const concerns = page.map(({ entry, hash }) => (entry.kind === 'message' ? hash : entry.of));
      const let_go = [...new Set(concerns)].filter((hash) => letGo.has(hash) || this.#givenUp.has(hash));
      const packet = { chain: name, entries: page.map(returnedOf), ...(let_go.length > 0 && { let_go }) };
      const answer = await ask('federation:p2p:return', packet, answerMs);
      if (isFork(answer.results[0]) && name !== this.#anew) await this.#beginAnew(name, page[0]!.seq); // it was asked about something
      const told = answer.results.filter((result) => !isFork(result)); // by a fork nothing is lost
      this.#tell(page, told);
      if (answer.missing.length > 0) await this.#bringOthers(name, answer.missing, letGo, brought);
      else if (answer.through <= through) this.#stuck(page, answer.results);
      through = Math.max(through, answer.through);
    }
    return false;
  }

  /** Whether the hub has, or would take, the very entry that is here at a place. */
  async #isHome(name: string, seq: number): Promise<boolean> {
    const { store, ask } = this.#parts;
    const entries = store.after(seq - 1, 1).map(returnedOf);
    const { results } = await ask('federation:p2p:return', { chain: name, entries }, answerMs);
    return !isFork(results[0]);
  }

  /** The hub has another entry at `fork`, and maybe before it: from the first such place on, all goes into another chain. Throws at the end. */
  async #beginAnew(name: string, fork: number): Promise<never> {
    let home = 0;
    for (let other = fork; other - home > 1; ) {
      const middle = Math.floor((home + other) / 2);
      if (await this.#isHome(name, middle)) home = middle;
      else other = middle;
    }
    this.#anew = await this.#parts.chain.beginAnew(home);
    this.#through = 0;
    this.#parts.begunAnew();
    throw new Error(
      'the hub has another continuation of this node’s chain; was its folder copied, or restored? What is not home goes into another chain',
    );
  }

  #finish(through: number): boolean {
    const { store } = this.#parts;
    if ((store.last()?.seq ?? 0) > through) return false;
    store.finish();
    this.#through = 0;
    for (const known of [this.#told, this.#full, this.#givenUp]) known.clear();
    return true;
  }

  /**
   * Receipts are of messages whose authors did not bring them yet: this node has them too. What it has not is let go of, and what the hub
   * says that it does not have though it was brought.
   */
  async #bringOthers(
    chain: string,
    missing: readonly string[],
    letGo: Set<string>,
    brought: Set<string>,
  ): Promise<void> {
    const { store, ask } = this.#parts;
    const found = store.find(missing);
    const taken = new Set<string>();
    let waits = false;
    for (let at = 0; at < found.length; ) {
      const page = pageOf(found.slice(at));
      at += page.length;
      const { results } = await ask('federation:p2p:return', { chain, entries: page }, answerMs);
      for (const { entry, status } of results) if (status !== 'refused') taken.add(entry);
      waits ||= results.some(({ status }) => status === 'waits');
    }
    if (waits) throw new HubUnreachable('the hub has no room for a message yet');
    for (const hash of missing) {
      if (!taken.has(hash) || brought.has(hash)) letGo.add(hash);
      brought.add(hash);
    }
  }

  /** Nothing moved. What waits for room is tried again for a while; a chain that forks though it was begun anew is given up. */
  #stuck(page: readonly Own[], results: readonly Returned[]): void {
    const { store } = this.#parts;
    const [first] = results;
    if (first?.code === 'queue_full' && this.#isGivenUp(page)) return;
    if (first?.code === undefined || !isFork(first))
      throw new HubUnreachable(`the hub does not take the next entry yet: ${first?.code}`);
    const lost = store.after(page[0]!.seq - 1, mostEntries); // it was asked about something
    const { code, reason } = first;
    this.#tell(
      lost,
      lost.map(({ hash }) => ({ entry: hash, status: 'refused' as const, code, ...(reason && { reason }) })),
    );
    this.#finish(Number.POSITIVE_INFINITY);
    throw new Error(`the chain of this node does not go on from what the hub has, and is given up: ${first.reason}`);
  }

  /** Whether the mailbox was full for long enough; then the hub is told with the next page not to wait for it. */
  #isGivenUp(page: readonly Own[]): boolean {
    const now = this.#parts.clock.monotonicMs();
    const [to] = page.map(addressOf);
    const since = this.#full.get(to!) ?? now; // there is a first
    this.#full.set(to!, since);
    if (now - since < roomMs) return false;
    for (const own of page) if (addressOf(own) === to) this.#givenUp.add(own.hash);
    return true;
  }

  #tell(page: readonly Own[], results: readonly Returned[]): void {
    const byHash = new Map(page.map((own) => [own.hash, own]));
    for (const result of results) {
      const own = byHash.get(result.entry);
      if (result.status !== 'refused' || !own || this.#told.has(own.hash)) continue;
      this.#told.add(own.hash);
      this.#parts.refused(own, result);
    }
  }
}

/** As many as one packet holds; one at least. Content is text within text there. */
function pageOf<E extends { readonly content?: string | null }>(entries: readonly E[]): E[] {
  let bytes = 0;
  const page: E[] = [];
  for (const entry of entries.slice(0, mostReturned)) {
    bytes += entry.content ? Buffer.byteLength(JSON.stringify(entry.content)) : 0;
    if (bytes > mostReturnedBytes && page.length > 0) break;
    page.push(entry);
  }
  return page;
}

/** The chain does not go on there from what the hub has. */
function isFork(result: Returned | undefined): boolean {
  return result?.code === 'chain_forked' || result?.code === 'chain_gap';
}

function addressOf({ entry }: Own): string {
  return entry.kind === 'message' ? JSON.stringify(entry.to) : '';
}

function returnedOf({ entry, signature, content, salt }: Own): ReturnedEntry {
  return { entry, signature, ...(content !== null && { content }), ...(salt !== null && { salt }) };
}
