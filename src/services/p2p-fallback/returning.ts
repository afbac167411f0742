/**
 * What nodes said among themselves comes home: each entry is judged by the roster that it cites and by what is so today, gets its
 * place in its author's chain, and becomes an ordinary command whose id is made of its hash. Handed in twice, it is done once.
 */
import { Type } from 'typebox';
import type { About } from '../../commands/execute.ts';
import {
  type Claim,
  chain,
  chainStream,
  claim,
  come,
  isBroughtBadly,
  isOf,
  type Judging,
  judge,
  refuseStray,
  stray as strayEntries,
  strayStream,
  timed,
  type Verdict,
} from '../../commands/p2p.ts';
import { Fault, isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { checker } from '../../input.ts';
import { commandIdOf, contentHash, entryHash, isSigned } from '../../p2p/entry.ts';
import type { MessageEntry, ReceiptEntry, Returned, ReturnedEntry } from '../../protocol/p2p.ts';
import type { Became, MessagePersistence } from '../message-persistence.ts';
import type { Standings } from './standings.ts';

export interface Home {
  readonly results: Returned[];
  /** Of the chain that was named. */
  readonly through: number;
  readonly missing: string[];
  readonly position: number;
}

interface Judged {
  /** With the times that count here. */
  readonly handed: ReturnedEntry;
  readonly hash: string;
  /** It gets its place, and is not taken. */
  readonly refusal: Refusal | undefined;
}

/** Refusals that pass: the same entry may be taken a little later. */
const passing: ReadonlySet<string> = new Set(['queue_full', 'overloaded', 'conflict', 'views_unavailable']);

export class Returning {
  readonly #hub: Hub;
  readonly #messages: MessagePersistence;
  readonly #standings: Standings;

  constructor(hub: Hub, messages: MessagePersistence, standings: Standings) {
    this.#hub = hub;
    this.#messages = messages;
    this.#standings = standings;
  }

  /** `by`: the node that hands in; `name`: its chain. Throws a `Fault`; what was done by then is known again. */
  async take(
    by: string,
    { chain: name, entries, let_go = [] }: { chain: string; entries: ReturnedEntry[]; let_go?: string[] },
    about: About,
  ): Promise<Home> {
    const results: Returned[] = [];
    const missing = new Set<string>();
    const chains = new Map<string, Judged[]>();
    let position = 0;
    for (const handed of entries) {
      const hash = entryHash(handed.entry);
      const judging = await this.#judging(handed);
      const notIts = isOf(handed.entry, judging);
      const refusal = notIts ?? judge(handed.entry, judging);
      // A node may spoil places of its own chain, which goes on behind them; of another’s only what that one wrote has a place.
      const stray = by === handed.entry.author ? undefined : (notIts ?? isBroughtBadly(handed.entry, by, refusal));
      if (stray) {
        position = Math.max(position, await this.#refuse(by, handed, hash, stray, about));
        results.push(refusedAs(hash, stray.refused, stray.detail));
        continue;
      }
      const key = chainStream(handed.entry.author, handed.entry.chain);
      const others = chains.get(key) ?? [];
      const entry = refusal ? handed.entry : timed(handed.entry, judging);
      others.push({ handed: { ...handed, entry }, hash, refusal });
      chains.set(key, others);
    }
    for (const [stream, judged] of chains) {
      judged.sort((a, b) => a.handed.entry.seq - b.handed.entry.seq);
      const done = await this.#takeChain(stream, judged, by, new Set(let_go), about);
      results.push(...done.results);
      for (const hash of done.missing) missing.add(hash);
      position = Math.max(position, done.position);
    }
    const { through } = await this.#hub.executor.state(chainStream(by, name), chain);
    return { results, through, missing: [...missing], position };
  }

  async #judging({ entry, signature, content, salt }: ReturnedEntry): Promise<Judging> {
    const { kernel, federationId, doors, live } = this.#hub;
    const roster = await this.#standings.roster(entry.roster_id);
    const standing = roster && (await this.#standings.of(entry.author, roster));
    const said = entry.kind === 'message' && content !== undefined && salt !== undefined;
    const today = live.nodes.get(entry.author);
    const same = today !== undefined && roster !== undefined && today.registered_position < roster.position;
    const barred = today && doors.judge({ kind: 'node', nodeId: entry.author, sessionId: '', role: today.role });
    if (barred?.refused === 'guard_unavailable') throw new Fault('guard_unavailable', barred.detail); // it says nothing of the author
    return {
      now: kernel.now(),
      federationId,
      roster: roster && { issuedAt: Date.parse(roster.issued_at), expiresAt: Date.parse(roster.expires_at) },
      standing,
      today: same ? barred : refuse('node_removed', `${entry.author} is not a member any more`),
      signed: standing !== undefined && isSigned({ entry, signature }, standing.publicKey),
      contentFits: entry.kind !== 'message' || (said && contentHash(salt, content) === entry.content_hash),
    };
  }

  async #takeChain(
    stream: string,
    judged: readonly Judged[],
    by: string,
    letGo: ReadonlySet<string>,
    about: About,
  ): Promise<{ results: Returned[]; missing: string[]; position: number }> {
    const { author, chain: name } = judged[0]!.handed.entry; // a chain has one at least
    const claims = judged.map(({ handed: { entry }, hash, refusal }): Claim => {
      const gone = entry.kind !== 'message' && letGo.has(entry.of);
      const left = gone ? refuse('not_found', 'the message that it is of was not taken') : undefined;
      return { seq: entry.seq, entry: hash, prev: entry.prev, refusal: refusal ?? left };
    });
    const command = { nodeId: author, chain: name, by, claims };
    const claimed = await this.#hub.executor.execute(stream, chain, claim, command, about);
    if (isRefusal(claimed)) throw new Error(claimed.detail); // it refuses nothing as a whole
    const done = await this.#carryOut(judged, claimed.reply.verdicts, letGo, about);
    let position = Math.max(claimed.position, done.position);
    if (by === author && done.through > 0) {
      const told = { nodeId: author, chain: name, by, through: done.through };
      const came = await this.#hub.executor.execute(stream, chain, come, told, about);
      if (!isRefusal(came)) position = Math.max(position, came.position);
    }
    return { results: done.results, missing: done.missing, position };
  }

  /** In their order, until one must wait. What is a receipt goes together, as long as nothing but receipts comes. */
  async #carryOut(judged: readonly Judged[], verdicts: readonly Verdict[], letGo: ReadonlySet<string>, about: About) {
    const results: Returned[] = [];
    let missing: string[] = [];
    let [position, through] = [0, 0];
    let waits: string | undefined;
    for (let at = 0; at < judged.length; at++) {
      const verdict = verdicts[at]!; // one for each
      const { handed, hash } = judged[at]!;
      const { entry } = handed;
      if (waits !== undefined) {
        results.push({ entry: hash, status: 'waits', code: waits });
        continue;
      }
      if (verdict.status === 'refused') {
        results.push(refusedAs(hash, verdict.code, verdict.reason));
        if (verdict.code === 'chain_forked' || verdict.code === 'chain_gap') waits = verdict.code;
        else through = entry.seq;
        continue;
      }
      const known = verdict.known ? 'known' : 'taken';
      if (entry.kind === 'message') {
        const done = await this.#bring(entry, hash, handed.content ?? '', aboutEntry(about, hash));
        const givenUp = isRefusal(done) && done.refused === 'queue_full' && letGo.has(hash);
        if (isRefusal(done) && passing.has(done.refused) && !givenUp) {
          waits = done.refused;
          results.push({ entry: hash, status: 'waits', code: waits });
          continue;
        }
        if (isRefusal(done)) {
          const told = await this.#refuse(about.actor.slice('node:'.length), handed, hash, done, about);
          position = Math.max(position, told);
          results.push(refusedAs(hash, done.refused, done.detail));
        } else {
          position = Math.max(position, done.position);
          results.push({ entry: hash, status: done.reply.known ? 'known' : known });
        }
        through = entry.seq;
        continue;
      }
      const run = receiptsFrom(judged, verdicts, at);
      const done = await this.#receive(run, about);
      missing = done.missing;
      const stop = done.waitsAt ?? run.length;
      for (const [place, one] of run.slice(0, stop).entries()) {
        const became = done.became[place];
        if (!isRefusal(became)) results.push({ entry: one.hash, status: known });
        else {
          const told = await this.#refuse(one.entry.author, one, one.hash, became, about);
          position = Math.max(position, told);
          results.push(refusedAs(one.hash, became.refused, became.detail));
        }
      }
      if (stop > 0) through = run[stop - 1]!.entry.seq;
      position = Math.max(position, done.position);
      at += stop - 1;
      if (stop < run.length) {
        const why = done.became[stop];
        waits = isRefusal(why) ? why.refused : 'not_found';
        at++;
        results.push({ entry: run[stop]!.hash, status: 'waits', code: waits });
      }
    }
    return { results, missing, position, through };
  }

  async #bring(entry: MessageEntry, hash: string, text: string, about: About) {
    const content = contentOf(text);
    return isRefusal(content) ? content : this.#messages.bring(entry, hash, content.value, about);
  }

  async #receive(run: readonly { readonly entry: ReceiptEntry; readonly hash: string }[], about: About) {
    const author = run[0]!.entry.author;
    const receipts = run.map(({ entry, hash }): Became & { hash: string } => ({
      hash,
      entry: entry.of,
      messageId: entry.message_id,
      kind: entry.kind,
      at: entry.time,
      reason: entry.reason ?? 'declined',
    }));
    const hashes = new Map(receipts.map((receipt) => [receipt as Became, receipt.hash]));
    const became = await this.#messages.became(receipts, author, (one) => aboutEntry(about, hashes.get(one)!)); // each is in it
    const missing = run.filter((_, at) => became[at] === undefined).map(({ entry }) => entry.of);
    const first = became.findIndex((one) => one === undefined || (isRefusal(one) && passing.has(one.refused)));
    const positions = became.map((one) => (one && !isRefusal(one) ? one.position : 0));
    return { became, missing, waitsAt: first === -1 ? undefined : first, position: Math.max(0, ...positions) };
  }

  /** Writes down a refusal, once for who brought it. Answers where. */
  async #refuse(
    by: string,
    { entry }: Pick<ReturnedEntry, 'entry'>,
    hash: string,
    why: Refusal,
    about: About,
  ): Promise<number> {
    const { author, chain: name, seq } = entry;
    const told = { code: why.refused, reason: why.detail.slice(0, 512) };
    const data = { node_id: author, chain: name, by, seq, entry: hash, ...told };
    const known = { id: commandIdOf(`${hash} ${by} ${why.refused}`), bodyHash: hash };
    const command = { ...about, command: known };
    const done = await this.#hub.executor.execute(strayStream(by), strayEntries, refuseStray, data, command);
    return isRefusal(done) ? 0 : done.position;
  }
}

/** What a message says, within the limits of all that comes in. Refuses `invalid_input`. */
function contentOf(text: string): { readonly value: unknown } | Refusal {
  try {
    return checkContent({ value: JSON.parse(text) });
  } catch {
    return refuse('invalid_input', 'the content is no JSON');
  }
}

const checkContent = checker(Type.Object({ value: Type.Unknown() }));

/** What is said of messages, from a place on, as far as nothing else comes between. */
function receiptsFrom(judged: readonly Judged[], verdicts: readonly Verdict[], from: number) {
  const run: { entry: ReceiptEntry; hash: string }[] = [];
  for (let at = from; at < judged.length; at++) {
    const { handed, hash } = judged[at]!;
    const entry: MessageEntry | ReceiptEntry = handed.entry;
    if (entry.kind === 'message' || verdicts[at]!.status === 'refused') break;
    run.push({ entry, hash });
  }
  return run;
}

function aboutEntry({ command: _, ...about }: About, hash: string): About {
  return { ...about, command: { id: commandIdOf(hash), bodyHash: hash } };
}

function refusedAs(entry: string, code: string, reason: string): Returned {
  return { entry, status: 'refused', code, reason };
}
