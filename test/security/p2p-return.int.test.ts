/** What comes home from node to node is judged entry by entry: nothing that is forged, forked, torn or out of its time gets in, and each refusal is written down. */
import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { generateKey, type NodeKey } from '../../src/client/key-file.ts';
import { contentHash, entryHash, entryText, messageIdOf } from '../../src/p2p/entry.ts';
import type { Entry, MessageEntry, Returned, ReturnedEntry, Roster } from '../../src/protocol/p2p.ts';
import { MailNode } from '../services/mail-node.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { call, defects } from './visitor.ts';

/** A chain as a node keeps it, made by hand. */
class Hand {
  readonly chain: string = randomUUID();
  readonly #author: string;
  readonly #key: NodeKey;
  #last: { seq: number; hash: string } | undefined;

  constructor(author: string, key: NodeKey) {
    this.#author = author;
    this.#key = key;
  }

  async write(roster: Roster, to: string, content: unknown, more: Partial<MessageEntry> = {}): Promise<ReturnedEntry> {
    const text = JSON.stringify(content);
    const salt = randomBytes(16).toString('base64url');
    const entry: MessageEntry = {
      ...this.#link(roster),
      kind: 'message',
      to: { node: to },
      key: randomUUID(),
      content_hash: contentHash(salt, text),
      bytes: text.length,
      expires_at: new Date(Date.now() + 3_600_000).toISOString(),
      ...more,
    };
    return { ...(await this.sign(entry)), content: text, salt };
  }

  async receipt(roster: Roster, of: MessageEntry, kind: 'receipt' | 'refusal' = 'receipt'): Promise<ReturnedEntry> {
    const about = { of: entryHash(of), from: of.author, message_id: messageIdOf(of.author, of.key) };
    return this.sign({ ...this.#link(roster), kind, ...about });
  }

  async sign(entry: Entry, key = this.#key): Promise<ReturnedEntry> {
    this.#last = { seq: entry.seq, hash: entryHash(entry) };
    return { entry, signature: Buffer.from(await key.sign(Buffer.from(entryText(entry)))).toString('base64url') };
  }

  #link({ federation_id, roster_id }: Roster) {
    const [seq, prev] = [(this.#last?.seq ?? 0) + 1, this.#last?.hash ?? null];
    return {
      federation_id,
      author: this.#author,
      chain: this.chain,
      seq,
      prev,
      time: new Date().toISOString(),
      roster_id,
    };
  }
}

describe('what comes home', () => {
  let hub: TestHub;
  let roster: Roster;
  let ada: MailNode;
  let bob: MailNode;
  let eve: MailNode;

  const rosterNow = async () =>
    (await call(hub, 'GET', '/p2p/roster', { token: hub.adminToken })).body.roster as Roster;
  beforeAll(async () => {
    hub = await startTestHub();
    ada = await MailNode.join(hub, 'ada');
    bob = await MailNode.join(hub, 'bob');
    eve = await MailNode.join(hub, 'eve');
    await vi.waitFor(async () => expect((await rosterNow()).members).toHaveLength(3), 10_000);
    roster = await rosterNow();
  });
  afterAll(async () => {
    expect(defects(hub.stderr())).toEqual([]);
    await hub.stop();
  });

  const bring = async (by: MailNode, chain: string, ...entries: ReturnedEntry[]) => {
    const answer = await by.socket.ask('federation:p2p:return', { chain, entries });
    return answer as unknown as { results: Returned[]; through: number; missing: string[]; position: number };
  };
  const verdicts = ({ results }: { results: Returned[] }) => results.map(({ status, code }) => code ?? status);
  const of = ({ entry }: ReturnedEntry) => entry as MessageEntry;
  /** What bob has from ada, by the hub. */
  const got = () => bob.messages.map(({ content }) => content);

  test('comes once, in order, whoever brings it and however often', async () => {
    const hand = new Hand('ada', ada.key);
    const three = [
      await hand.write(roster, 'bob', 1),
      await hand.write(roster, 'bob', 2),
      await hand.write(roster, 'bob', 3),
    ];
    expect(await bring(bob, randomUUID(), three[0]!)).toMatchObject({ results: [{ status: 'taken' }] });
    expect(await bring(ada, hand.chain)).toMatchObject({ through: 0, results: [] });
    const first = await bring(ada, hand.chain, ...three);
    expect([verdicts(first), first.through]).toEqual([['known', 'taken', 'taken'], 3]);
    const again = await bring(ada, hand.chain, ...three);
    expect([verdicts(again), again.through]).toEqual([['known', 'known', 'known'], 3]);
    await vi.waitFor(() => expect(got()).toEqual([1, 2, 3]));
    const { body } = await call(hub, 'GET', `/messages?min_position=${first.position}`, { token: ada.token });
    expect((body.messages as { content: unknown }[]).map(({ content }) => content)).toEqual([3, 2, 1]);
  });

  test('is let go of as mail when its recipient says that it has it; a receipt of what is not known asks for it', async () => {
    const [hand, bobs] = [new Hand('ada', ada.key), new Hand('bob', bob.key)];
    const before = got().length;
    const message = await hand.write(roster, 'bob', 'handled by then');
    const receipt = await bobs.receipt(roster, of(message));
    const early = await bring(bob, bobs.chain, receipt);
    expect(early).toMatchObject({ missing: [entryHash(message.entry)], through: 0, results: [{ status: 'waits' }] });
    const both = await call(hub, 'POST', '/access/block/bob', {
      token: hub.adminToken,
      body: { reason: 'for a moment' },
    });
    expect(both.status).toBe(200); // so that the courier hands over nothing meanwhile
    expect(verdicts(await bring(ada, hand.chain, message))).toEqual(['taken']);
    await call(hub, 'POST', '/access/unblock/bob', { token: hub.adminToken });
    const late = await bring(bob, bobs.chain, receipt);
    expect([verdicts(late), late.through, late.missing]).toEqual([['known'], 1, []]);
    await ada.send({ node: 'bob' }, 'by the hub');
    await vi.waitFor(() => expect(got()).toContain('by the hub'));
    expect(got().slice(before)).not.toContain('never');
    const let_go = await bobs.receipt(roster, of(await new Hand('ada', ada.key).write(roster, 'bob', 'never brought')));
    const packet = { chain: bobs.chain, entries: [let_go], let_go: [(let_go.entry as { of: string }).of] };
    expect(await bob.socket.ask('federation:p2p:return', packet)).toMatchObject({ through: 2, missing: [] });
  });

  test('is refused with a reason of its own when it is forged, forked, torn, or not what it says', async () => {
    const hand = new Hand('ada', ada.key);
    const one = await hand.write(roster, 'bob', 'one');
    const two = await hand.write(roster, 'bob', 'two');
    const three = await hand.write(roster, 'bob', 'three');
    const forged = await hand.sign({ ...of(one), key: 'another' }, eve.key);
    expect(verdicts(await bring(eve, randomUUID(), { ...forged, content: '"one"', salt: one.salt! }))).toEqual([
      'signature_invalid',
    ]);
    expect(verdicts(await bring(ada, hand.chain, { ...one, content: '"changed"' }))).toEqual(['content_mismatch']);
    expect(verdicts(await bring(ada, hand.chain, three))).toEqual(['chain_gap']);
    const other = new Hand('ada', ada.key);
    const fork = { ...of(await other.write(roster, 'bob', 'fork')), chain: hand.chain };
    const forked = { ...(await other.sign(fork)), content: '"fork"', salt: randomBytes(16).toString('base64url') };
    expect(verdicts(await bring(ada, hand.chain, forked))).toEqual(['chain_forked']);
    const torn = { ...of(two), prev: entryHash(fork) };
    expect(
      verdicts(await bring(ada, hand.chain, { ...(await other.sign(torn)), content: '"two"', salt: two.salt! })),
    ).toEqual(['chain_forked']);
    // The refused one keeps its place: the chain goes on behind it.
    const rest = await bring(ada, hand.chain, two, three);
    expect([verdicts(rest), rest.through]).toEqual([['taken', 'taken'], 3]);
    await vi.waitFor(() => expect(got()).toEqual(expect.arrayContaining(['two', 'three'])));
    for (const refused of ['one', 'fork', 'changed']) expect(got()).not.toContain(refused);
    const { body } = await call(hub, 'GET', '/audit?action=p2p.refused&limit=50', { token: hub.adminToken });
    expect(
      (body.entries as { actor: string; target: string }[]).map(({ actor, target }) => `${actor} ${target}`),
    ).toEqual(expect.arrayContaining(['node:eve ada', 'node:ada ada']));
  });

  test('of another it takes messages alone, and whoever brings one without what it says does its author no harm', async () => {
    const hand = new Hand('ada', ada.key);
    const message = await hand.write(roster, 'bob', 'carried');
    const receipt = await hand.receipt(roster, of(message));
    const { content: _, ...bare } = message;
    expect(verdicts(await bring(eve, randomUUID(), bare))).toEqual(['content_mismatch']);
    expect(verdicts(await bring(eve, randomUUID(), receipt))).toEqual(['forbidden']);
    expect(verdicts(await bring(ada, hand.chain, message))).toEqual(['taken']);
  });

  test('is refused outside of the lifetime of its roster, under one that nobody issued, and from whom the roster does not name', async () => {
    const late = await new Hand('ada', ada.key).write(roster, 'bob', 'late', { time: '2099-01-01T00:00:00.000Z' });
    expect(verdicts(await bring(ada, of(late).chain, late))).toEqual(['roster_expired']);
    const unknown = await new Hand('ada', ada.key).write({ ...roster, roster_id: randomUUID() }, 'bob', 'unknown');
    expect(verdicts(await bring(ada, of(unknown).chain, unknown))).toEqual(['roster_unknown']);
    const foreign = await new Hand('ada', ada.key).write({ ...roster, federation_id: 'another' }, 'bob', 'foreign');
    expect(verdicts(await bring(ada, of(foreign).chain, foreign))).toEqual(['signature_invalid']);
    const fay = await MailNode.join(hub, 'fay');
    const young = await new Hand('fay', fay.key).write(roster, 'bob', 'before it joined');
    expect(verdicts(await bring(fay, of(young).chain, young))).toEqual(['not_in_roster']);
    const stranger = await new Hand('mallory', await generateKey()).write(roster, 'bob', 'who?');
    expect(verdicts(await bring(ada, randomUUID(), stranger))).toEqual(['not_in_roster']);
    expect(got()).not.toEqual(expect.arrayContaining([expect.stringMatching(/late|unknown|foreign|joined|who/)]));
  });

  test('is taken when the clock of its author is wrong, with the time of the hub, and lives as long as it was to', async () => {
    const ms = (time: string) => Date.parse(time) - Date.now();
    const [ahead, behind] = [new Hand('ada', ada.key), new Hand('bob', bob.key)];
    const at = (minutes: number) => new Date(Date.now() + minutes * 60_000).toISOString();
    const early = await ahead.write(roster, 'bob', 'by a clock that is ahead', { time: at(20), expires_at: at(50) });
    const receipt = await behind.sign({ ...(await behind.receipt(roster, of(early))).entry, time: at(20) });
    const late = await behind.write(roster, 'ada', 'by one that is behind', { time: at(-20), expires_at: at(10) });
    expect(verdicts(await bring(ada, ahead.chain, early))).toEqual(['taken']);
    const home = await bring(bob, behind.chain, receipt, late);
    expect(verdicts(home)).toEqual(['taken', 'taken']);
    const { body } = await call(hub, 'GET', `/messages?min_position=${home.position}`, { token: ada.token });
    const messages = body.messages as { content: unknown; said_at: string; expires_at: string }[];
    for (const said of ['by a clock that is ahead', 'by one that is behind']) {
      const { said_at, expires_at } = messages.find(({ content }) => content === said)!;
      expect(ms(said_at)).toBeLessThanOrEqual(0);
      expect(Date.parse(said_at)).toBeGreaterThanOrEqual(Date.parse(roster.issued_at));
      expect(Date.parse(expires_at) - Date.parse(said_at)).toBeGreaterThan(29 * 60_000);
      expect(ms(expires_at)).toBeLessThanOrEqual(30 * 60_000);
    }
  });

  test('is refused when its author is banned today, also when its recipient brings it', async () => {
    const said = await new Hand('eve', eve.key).write(roster, 'bob', 'before the ban');
    await call(hub, 'POST', '/governance/bans/eve', { token: hub.adminToken, body: { reason: 'rude' } });
    const { position, ...refused } = await bring(bob, randomUUID(), said);
    expect(verdicts(refused)).toEqual(['banned']);
    expect(verdicts(await bring(bob, randomUUID(), said))).toEqual(['banned']);
    const { body } = await call(hub, 'GET', `/audit?action=p2p.refused&target=eve&min_position=${position}`, {
      token: hub.adminToken,
    });
    expect(body.entries).toHaveLength(1); // it is written down once
  });

  test('an entry that is written under a key that the hub already has is that message, and a second one under it is refused', async () => {
    const { message_id } = await ada.send({ node: 'bob' }, 'in doubt', { key: 'k-1' });
    const hand = new Hand('ada', ada.key);
    const first = await hand.write(roster, 'bob', 'in doubt', { key: 'k-1' });
    expect(messageIdOf('ada', 'k-1')).toBe(message_id);
    expect(verdicts(await bring(ada, hand.chain, first))).toEqual(['known']);
    const [one, other] = [
      await hand.write(roster, 'bob', 1, { key: 'k-2' }),
      await hand.write(roster, 'bob', 2, { key: 'k-2' }),
    ];
    expect(verdicts(await bring(ada, hand.chain, one, other))).toEqual(['taken', 'idempotency_mismatch']);
    expect(got().filter((content) => content === 'in doubt')).toHaveLength(1);
  });

  test('an entry of its own that the hub cannot lay to a node keeps its place, and the chain goes on behind it', async () => {
    const hand = new Hand('ada', ada.key);
    const restored = await hand.write({ ...roster, roster_id: randomUUID() }, 'bob', 'by a roster that is gone');
    const other = new Hand('ada', await generateKey());
    const place = { seq: 2, prev: entryHash(restored.entry), chain: hand.chain };
    const rotated = await other.write(roster, 'bob', 'by a key that is not in it', place);
    const rest = await hand.sign({ ...of(rotated), seq: 3, prev: entryHash(rotated.entry), key: 'k-3' });
    const said = { ...rest, content: rotated.content!, salt: rotated.salt! };
    const home = await bring(ada, hand.chain, restored, rotated, said);
    expect([verdicts(home), home.through]).toEqual([['roster_unknown', 'signature_invalid', 'taken'], 3]);
  });

  test('is kept for as long as any message can be, and no longer', async () => {
    const expires_at = '2099-01-01T00:00:00.000Z';
    const long = await new Hand('ada', ada.key).write(roster, 'bob', 'for ever', { expires_at });
    expect(verdicts(await bring(ada, of(long).chain, long))).toEqual(['invalid_input']);
    const odd = await new Hand('ada', ada.key).write(roster, 'bob', 'no day', {
      expires_at: '2026-99-99T00:00:00.000Z',
    });
    expect(verdicts(await bring(ada, of(odd).chain, odd))).toEqual(['invalid_input']);
  });

  test('what an author says differently to the hub than to a node comes to light when that one hands it in', async () => {
    const [hand, two, bobs] = [new Hand('ada', ada.key), new Hand('ada', ada.key), new Hand('bob', bob.key)];
    const said = await hand.write(roster, 'bob', 'to the hub', { key: 'k-4' });
    const other = await two.write(roster, 'bob', 'to bob', { key: 'k-4', chain: hand.chain });
    expect(verdicts(await bring(ada, hand.chain, said))).toEqual(['taken']);
    const receipt = await bobs.receipt(roster, of(other));
    expect(await bring(bob, bobs.chain, receipt)).toMatchObject({ missing: [entryHash(other.entry)], through: 0 });
    expect(verdicts(await bring(bob, bobs.chain, other))).toEqual(['chain_forked']);
  });

  test('a receipt of a message that was not for who says it is refused, and asks for nothing', async () => {
    const hand = new Hand('ada', ada.key);
    const gus = await MailNode.join(hub, 'gus');
    await vi.waitFor(async () => expect(JSON.stringify((await rosterNow()).members)).toContain('"gus"'), 10_000);
    const newest = await rosterNow();
    const guss = new Hand('gus', gus.key);
    const message = await hand.write(newest, 'bob', 'for bob alone');
    expect(verdicts(await bring(ada, hand.chain, message))).toEqual(['taken']);
    const home = await bring(gus, guss.chain, await guss.receipt(newest, of(message)));
    expect([verdicts(home), home.missing, home.through]).toEqual([['not_found'], [], 1]);
  });

  test('no name of a node makes what it hands in a part of another’s chain', async () => {
    const hand = new Hand('ada', ada.key);
    const mallory = await MailNode.join(hub, `ada-${hand.chain}`);
    const message = await hand.write(roster, 'bob', 'not to be burned');
    const { content: _, ...bare } = message;
    expect(verdicts(await bring(mallory, randomUUID(), bare))).toEqual(['content_mismatch']);
    const home = await bring(ada, hand.chain, message);
    expect([verdicts(home), home.through]).toEqual([['taken'], 1]);
  });

  test('waits for room in a mailbox until its author gives it up; who is behind it does not wait then', async () => {
    const hal = await MailNode.join(hub, 'hal', { acks: false });
    await vi.waitFor(async () => expect(JSON.stringify((await rosterNow()).members)).toContain('"hal"'), 10_000);
    hal.close();
    for (let at = 0; at < 1_000; at += 50)
      await Promise.all(Array.from({ length: 50 }, (__, n) => ada.send({ node: 'hal' }, at + n)));
    const hand = new Hand('ada', ada.key);
    const [full, behind] = [await hand.write(roster, 'hal', 'no room'), await hand.write(roster, 'bob', 'behind it')];
    expect(await bring(ada, hand.chain, full, behind)).toMatchObject({
      results: [{ status: 'waits', code: 'queue_full' }, { status: 'waits' }],
      through: 0,
    });
    const packet = { chain: hand.chain, entries: [full, behind], let_go: [entryHash(full.entry)] };
    const home = (await ada.socket.ask('federation:p2p:return', packet)) as unknown as Parameters<typeof verdicts>[0];
    expect(verdicts(home)).toEqual(['queue_full', 'known']);
    expect(home).toMatchObject({ through: 2 });
  });
});
