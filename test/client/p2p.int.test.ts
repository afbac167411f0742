/** Nodes whose hub is silent, among members that do not mean well, and on their way home: the SDK's side alone, over real sockets. */
import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { io, type Socket } from 'socket.io-client';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { type NodeClock, processClock } from '../../src/client/clock.ts';
import { HubRefusal } from '../../src/client/connection.ts';
import { generateKey, type NodeKey } from '../../src/client/key-file.ts';
import { Mail } from '../../src/client/mail.ts';
import { P2pStore } from '../../src/client/p2p/store.ts';
import { type FallbackChange, P2p, type P2pOptions, type RefusedEntry } from '../../src/client/p2p.ts';
import { Sender } from '../../src/client/sender.ts';
import { contentHash, entryHash, entryText, envelopeText, messageIdOf } from '../../src/p2p/entry.ts';
import { handshakeText } from '../../src/p2p/handshake.ts';
import { signRoster } from '../../src/p2p/roster.ts';
import { seal } from '../../src/p2p/seal.ts';
import type { Entry, MessageEntry, Returned, ReturnedEntry, Roster, SignedEntry } from '../../src/protocol/p2p.ts';
import type { Envelope } from '../../src/protocol/p2p-peers.ts';
import type { ClientPacket, HubPacket } from '../../src/protocol.ts';

type Return = ClientPacket<'federation:p2p:return'>;
type Home = { results: Returned[]; through: number; missing: string[] };
type Send = ClientPacket<'federation:message'>;

/** A minute is three seconds. */
const fast: NodeClock = {
  ...processClock,
  monotonicMs: () => processClock.monotonicMs() * 20,
  after: (ms, fn) => processClock.after(ms / 20, fn),
};
const federation_id = 'fed';
const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const keys = { keys: [{ kid: 'k', kty: 'OKP', crv: 'Ed25519', x: publicKey.export({ format: 'jwk' }).x! }] };
const eventually = (check: () => unknown) => vi.waitFor(check, { timeout: 10_000, interval: 20 });

const opened: { close(): void }[] = [];
afterEach(() => {
  for (const one of opened.splice(0)) one.close();
});

/** A node, and what its program hears. */
class Someone {
  readonly p2p: P2p;
  readonly key: NodeKey;
  readonly name: string;
  readonly got: HubPacket<'federation:message'>[] = [];
  readonly states: HubPacket<'federation:message:state'>[] = [];
  readonly changes: FallbackChange[] = [];
  readonly refused: RefusedEntry[] = [];
  readonly troubles: Error[] = [];
  /** The hub, when it is there. */
  home: (packet: Return) => Home = () => ({ results: [], through: 0, missing: [] });
  document = '';
  asked = false;
  handles = true;
  knownFromHub = false;
  url: string | undefined;

  constructor(name: string, key: NodeKey, options: P2pOptions, clock: NodeClock) {
    this.name = name;
    this.key = key;
    const ask = async (packetName: string, packet: unknown) => {
      if (packetName !== 'federation:p2p:roster') return { ok: true, position: 0, ...this.home(packet as Return) };
      this.asked = true;
      return { ok: true, roster: this.document, keys, federation_id };
    };
    this.p2p = new P2p(
      { port: 0, allow: ['127.0.0.1'], silentMs: 20, ...options },
      {
        line: { nodeId: name, clock, ask: ask as never, trouble: (error) => void this.troubles.push(error) },
        key: async () => key,
        hand: (message, handled) => {
          this.got.push(message);
          if (this.handles) handled();
        },
        state: (packet) => void this.states.push(packet),
        knownFromHub: () => this.knownFromHub,
        turned: () => {},
        changed: (change) => void this.changes.push(change),
        refused: (entry) => void this.refused.push(entry),
      },
    );
    opened.push(this.p2p);
  }

  get contents(): unknown[] {
    return this.got.map(({ content }) => content);
  }

  send(to: string, content: unknown, more: Partial<Send> = {}) {
    return this.p2p.send({ to: { node: to }, content, key: randomUUID(), ...more });
  }

  /** Has this roster, and loses the hub. */
  async lose(roster: Roster): Promise<void> {
    this.document = await signRoster(roster, { kid: 'k', privateKey });
    this.p2p.opened();
    await eventually(() => expect(this.asked).toBe(true));
    await new Promise((resolve) => setTimeout(resolve, 50)); // it checks it
    this.p2p.dropped();
  }
}

async function someone(name: string, options: P2pOptions = {}, key?: NodeKey, clock = fast): Promise<Someone> {
  const one = new Someone(name, key ?? (await generateKey()), options, clock);
  one.url = await one.p2p.open();
  return one;
}

type Named = { name: string; key: NodeKey; url?: string | undefined };
const rosterOf = (members: readonly Named[], position = 1): Roster => ({
  federation_id,
  roster_id: randomUUID(),
  issued_at: new Date().toISOString(),
  expires_at: new Date(Date.now() + 3_600_000).toISOString(),
  position,
  members: members.map(({ name, key, url }) => ({
    node_id: name,
    public_key: key.publicKey,
    role: 'member' as const,
    ...(url !== undefined && { p2p_url: url }),
  })),
});

async function lost(...nodes: Someone[]): Promise<Roster> {
  const roster = rosterOf(nodes);
  for (const one of nodes) await one.lose(roster);
  await eventually(() => expect(nodes.every(({ changes }) => changes.at(-1)?.active)).toBe(true));
  return roster;
}

/** Knocks at a node and proves a key, by hand. */
async function link(at: Someone, who: Named, roster: Roster): Promise<Socket> {
  const socket = io(at.url!, { path: '/p2p/', transports: ['websocket'], reconnection: false, forceNew: true });
  opened.push(socket);
  const hello = {
    version: 1,
    federation_id,
    node_id: who.name,
    to: at.name,
    nonce: randomBytes(32).toString('base64url'),
    roster_id: roster.roster_id,
    roster_position: roster.position,
  };
  const said = await socket.timeout(5_000).emitWithAck('p2p:hello', hello);
  const shake = { federationId: federation_id, dialer: who.name, listener: at.name, dialerNonce: hello.nonce };
  const all = { ...shake, listenerNonce: said.nonce, dialerRoster: roster.roster_id, listenerRoster: said.roster_id };
  const signature = Buffer.from(await who.key.sign(Buffer.from(handshakeText('dialer', all)))).toString('base64url');
  expect(await socket.timeout(5_000).emitWithAck('p2p:prove', { signature })).toEqual({ ok: true });
  return socket;
}

/** A message as its author hands it over, made by hand. */
async function envelopeOf(
  author: Named,
  to: Someone,
  roster: Roster,
  content: unknown,
  more: Partial<MessageEntry> = {},
) {
  const [salt, text] = [randomBytes(16).toString('base64url'), JSON.stringify(content)];
  const place = { federation_id, author: author.name, chain: randomUUID(), seq: 1, prev: null };
  const entry: MessageEntry = {
    ...place,
    time: new Date().toISOString(),
    roster_id: roster.roster_id,
    kind: 'message',
    to: { node: to.name },
    key: randomUUID(),
    content_hash: contentHash(salt, text),
    bytes: text.length,
    expires_at: new Date(Date.now() + 3_600_000).toISOString(),
    ...more,
  };
  const about = { recipient: to.name, publicKey: to.key.publicKey, entry: entryHash(entry) };
  const sealed = seal(JSON.stringify({ salt, content: text }), about);
  return inEnvelope(await signed(entry, author.key), author.key, to.name, sealed);
}

async function inEnvelope(entry: SignedEntry, key: NodeKey, recipient: string, sealed?: string): Promise<Envelope> {
  const about = { recipient, entry: entryHash(entry.entry), after: 0, ...(sealed !== undefined && { sealed }) };
  const signature = Buffer.from(await key.sign(Buffer.from(envelopeText(about)))).toString('base64url');
  return { ...entry, after: 0, ...(sealed !== undefined && { sealed }), envelope_signature: signature };
}

const deliver = (socket: Socket, ...envelopes: Envelope[]) => {
  const { author, chain } = envelopes[0]!.entry;
  return socket.timeout(5_000).emitWithAck('p2p:deliver', { author, chain, envelopes });
};

async function signed<E extends Entry>(entry: E, key: NodeKey) {
  return { entry, signature: Buffer.from(await key.sign(Buffer.from(entryText(entry)))).toString('base64url') };
}

describe('without the hub', () => {
  test('a message that the hub would refuse is refused at once, and spoils nothing for those after it', async () => {
    const [ada, bob] = [await someone('ada'), await someone('bob')];
    await lost(ada, bob);
    for (const more of [{ key: 'k'.repeat(256) }, { ttl_seconds: 10 ** 12 }, { correlation_id: '' }])
      await expect(ada.send('bob', 'odd', more)).rejects.toMatchObject({ code: 'invalid_input' });
    await ada.send('bob', 'sound');
    await eventually(() => expect(bob.contents).toEqual(['sound']));
  });

  test('a node that its roster does not name with its key waits for the hub', async () => {
    const [ada, zoe, bob] = [await someone('ada'), await someone('zoe'), await someone('bob')];
    const roster = rosterOf([ada, { ...zoe, name: 'zoe', key: await generateKey() }]);
    for (const one of [ada, zoe, bob]) await one.lose(roster);
    await eventually(() => expect(ada.changes.at(-1)?.active).toBe(true));
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect([zoe.changes, bob.changes]).toEqual([[], []]);
    expect([zoe, bob].map(({ p2p }) => p2p.takes({ to: { node: 'ada' }, content: 1 }))).toEqual([false, false]);
  });

  test('a question to a node is answered by that node, whoever else carried it and knows how', async () => {
    const line = { nodeId: 'ada', url: '', clock: processClock, token: () => undefined, trouble: () => {} } as never;
    const nothing = () => {};
    const mail = new Mail(line, new Sender(line), { listens: () => false } as never);
    let asked: Send | undefined;
    const send = async (packet: Send) => {
      asked = packet;
      return { messageId: randomUUID() };
    };
    mail.open({ had: () => false } as never, { takes: () => true, send, settled: async () => {} });
    const answer = mail.request('bob', 'what?', { timeoutMs: 5_000 });
    await eventually(() => expect(asked).toBeDefined());
    const from = (name: string) => ({
      message_id: randomUUID(),
      from: `node:${name}`,
      to: { node: 'ada' },
      content: `says ${name}`,
      correlation_id: asked!.correlation_id!,
      sent_at: new Date().toISOString(),
      expires_at: new Date().toISOString(),
    });
    mail.direct(from('eve'), nothing);
    mail.direct(from('bob'), nothing);
    expect((await answer).content).toBe('says bob');
    void mail.close();
  });

  test('only whom a message is for can say that it is refused', async () => {
    const [ada, bob] = [await someone('ada'), await someone('bob', { with: () => false })];
    const eve = { name: 'eve', key: await generateKey() };
    const roster = rosterOf([ada, bob, eve]);
    await ada.lose(roster);
    await eventually(() => expect(ada.changes.at(-1)?.active).toBe(true));
    const { messageId } = await ada.send('bob', 'for bob', { key: 'seen by who carries it' });
    expect(messageId).toBe(messageIdOf('ada', 'seen by who carries it'));
    const socket = await link(ada, eve, roster);
    const carried = new Promise<{ envelopes: { entry: Entry }[] }>((resolve) => {
      socket.on('p2p:carry', (packet, reply) => {
        reply({ ok: true, kept: 1 });
        resolve(packet);
      });
    });
    const [{ entry }] = (await carried).envelopes as [{ entry: Entry }];
    const about = { of: entryHash(entry), from: 'ada', message_id: messageId, reason: 'says eve' };
    const chain = randomUUID();
    const place = { federation_id, author: 'eve', chain, seq: 1, prev: null, time: new Date().toISOString() };
    const forged = await signed({ ...place, roster_id: roster.roster_id, kind: 'refusal', ...about }, eve.key);
    const packet = { author: 'eve', chain, envelopes: [await inEnvelope(forged, eve.key, 'ada')] };
    expect(await socket.timeout(5_000).emitWithAck('p2p:deliver', packet)).toMatchObject({ ok: true, have: 1 });
    expect([ada.states, ada.p2p.heardRefusal(messageId)]).toEqual([[], false]);
  });

  test('what the hub hands over while the same comes from a node is handled once', async () => {
    const own = await generateKey();
    let openIt = () => {};
    const gate = new Promise<void>((resolve) => {
      openIt = resolve;
    });
    let asked = false;
    const agree = async (other: Uint8Array) => {
      asked = true;
      await gate; // a key in hardware takes its time
      return own.agree!(other);
    };
    const [ada, bob] = [await someone('ada'), await someone('bob', {}, { ...own, agree })];
    await lost(ada, bob);
    await ada.send('bob', 'in doubt');
    await eventually(() => expect(asked).toBe(true));
    bob.knownFromHub = true;
    openIt();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(bob.got).toEqual([]);
  });

  test('who carries for a member that is none any more brings the others’ all the same', async () => {
    const apart = new Set(['cyd']);
    const far = { with: (name: string) => !apart.has(name) };
    const [eve, ada, bob] = [await someone('aaa', far), await someone('ada', far), await someone('bob', far)];
    const cyd = await someone('cyd');
    const all = [eve, ada, bob, cyd];
    const roster = rosterOf(all);
    for (const one of [eve, ada, bob]) await one.lose(roster);
    await eventually(() => expect(bob.changes.at(-1)?.active).toBe(true));
    await eve.send('cyd', 'from one that is banned');
    await ada.send('cyd', 'from one that is not');
    await new Promise((resolve) => setTimeout(resolve, 500)); // bob has them
    for (const one of [eve, ada]) one.p2p.close();
    await cyd.lose(rosterOf([ada, bob, cyd], 2));
    apart.clear();
    await eventually(() => expect(cyd.contents).toEqual(['from one that is not']));
  });

  test('a node that lies about what it brought keeps nothing from whom it is for, once that can be reached', async () => {
    const apart = new Set(['bob']);
    const ada = await someone('ada', { with: (name) => !apart.has(name) });
    const bob = await someone('bob');
    const eve = { name: 'eve', key: await generateKey() };
    const roster = rosterOf([ada, bob, eve]);
    for (const one of [ada, bob]) await one.lose(roster);
    await eventually(() => expect(ada.changes.at(-1)?.active).toBe(true));
    const socket = await link(ada, eve, roster);
    const lied = new Promise<void>((resolve) => {
      socket.on('p2p:carry', (_packet, reply) => {
        reply({ ok: true, have: 1_000 });
        resolve();
      });
    });
    await ada.send('bob', 1);
    await lied;
    apart.clear();
    await ada.send('bob', 2);
    await eventually(() => expect(bob.contents).toEqual([1, 2]));
  });
});

describe('a third node', () => {
  test('changes neither the order nor what is sealed of what it carries, and keeps nothing back by it', async () => {
    const apart = new Set(['bob']);
    const ada = await someone('ada', { with: (name) => !apart.has(name) });
    const bob = await someone('bob');
    const eve = { name: 'eve', key: await generateKey() };
    const roster = rosterOf([ada, bob, eve]);
    for (const one of [ada, bob]) await one.lose(roster);
    await eventually(() => expect([ada, bob].every(({ changes }) => changes.at(-1)?.active)).toBe(true));
    const carried: Envelope[] = [];
    (await link(ada, eve, roster)).on('p2p:carry', ({ envelopes }, reply) => {
      carried.push(...envelopes);
      reply({ ok: true, kept: carried.at(-1)?.entry.seq ?? 0 });
    });
    for (const n of [1, 2]) await ada.send('bob', n);
    await eventually(() => expect(carried).toHaveLength(2));
    const socket = await link(bob, eve, roster);
    const [first, second] = carried as [Envelope, Envelope];
    const overtaken = { ...second, after: 0 };
    const spoiled = { ...first, sealed: `${first.sealed!.slice(0, -8)}AAAAAAAA` };
    const { sealed: _, ...emptied } = first;
    for (const changed of [overtaken, spoiled, emptied])
      expect(await deliver(socket, changed)).toEqual({ ok: true, have: 0, code: 'signature_invalid' });
    expect(bob.contents).toEqual([]);
    apart.clear();
    await eventually(() => expect(bob.contents).toEqual([1, 2]));
  });
});

describe('a member that floods', () => {
  test('is looked at so many times and then refused, while others are not; when it rests, it is heard again', async () => {
    let ms = 0;
    const bob = await someone('bob', {}, undefined, { ...fast, monotonicMs: () => ms });
    const [eve, ada] = [
      { name: 'eve', key: await generateKey() },
      { name: 'ada', key: await generateKey() },
    ];
    const roster = rosterOf([ada, bob, eve]);
    await bob.lose(roster);
    await eventually(() => expect(bob.changes.at(-1)?.active).toBe(true));
    const flood = await link(bob, eve, roster);
    const junk = await envelopeOf(eve, bob, roster, 'junk');
    const spoiled = { ...junk, signature: 'A'.repeat(86) };
    const packet = (author: string, count: number) => ({
      author,
      chain: junk.entry.chain,
      envelopes: Array.from({ length: count }, () => spoiled),
    });
    const bring = (author: string, count = 32) =>
      flood.timeout(5_000).emitWithAck('p2p:deliver', packet(author, count));
    const refused = { ok: false, error: { code: 'rate_limited' } };
    for (const author of ['eve', 'ada']) {
      for (let at = 0; at < 31; at++) expect(await bring(author)).toMatchObject({ ok: true, have: 0 });
      expect(await bring(author)).toMatchObject(refused);
    }
    const again = await link(bob, eve, roster); // it counts whatever the connection
    expect(await deliver(again, ...Array.from({ length: 32 }, () => spoiled))).toMatchObject(refused);
    const honest = await link(bob, ada, roster);
    expect(await deliver(honest, await envelopeOf(ada, bob, roster, 'heard'))).toMatchObject({ ok: true, have: 1 });
    ms += 1_000;
    expect(await deliver(again, junk)).toMatchObject({ ok: true, have: 1 });
    expect(bob.contents).toEqual(['heard', 'junk']);
  });
});

describe('the time of a message', () => {
  const at = (seconds: number) => new Date(Date.now() + seconds * 1_000).toISOString();

  test('counts from when it comes, though the clock of its author is behind; what is five minutes late is over', async () => {
    const bob = await someone('bob', { with: () => true });
    const ada = { name: 'ada', key: await generateKey() };
    const roster = rosterOf([ada, bob]);
    await bob.lose(roster);
    await eventually(() => expect(bob.changes.at(-1)?.active).toBe(true));
    const socket = await link(bob, ada, roster);
    const behind = { time: at(-40), expires_at: at(-10) };
    for (const [content, more] of [
      ['late', { time: at(-330), expires_at: at(-301) }],
      ['of no day', { time: '2026-99-99T00:00:00.000Z' }],
      ['short', behind],
    ] as const)
      expect(await deliver(socket, await envelopeOf(ada, bob, roster, content, more))).toEqual({ ok: true, have: 1 });
    expect(bob.contents).toEqual(['short']);
    const left = Date.parse(bob.got[0]!.expires_at!) - Date.now();
    expect(left).toBeGreaterThan(20_000);
    expect(left).toBeLessThanOrEqual(30_000);
  });

  test('is over at its author first: what was not handed over by then is not handed over any more', async () => {
    const apart = new Set(['bob']);
    const ada = await someone('ada', { with: (name) => !apart.has(name) });
    const bob = await someone('bob');
    await lost(ada, bob);
    await ada.send('bob', 'short', { ttl_seconds: 1 });
    const over = Date.now() + 1_000;
    await ada.send('bob', 'long');
    await eventually(() => expect(Date.now()).toBeGreaterThan(over));
    apart.clear();
    await eventually(() => expect(bob.contents).toEqual(['long']));
  });
});

describe('what a node keeps', () => {
  test('a message that was being refused when the process ended comes again, and is not told as handled', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-p2p-kept-'));
    const own = await generateKey();
    let stands = false;
    const sign = (bytes: Uint8Array) => (stands ? new Promise<never>(() => {}) : own.sign(bytes));
    const [ada, bob] = [await someone('ada'), await someone('bob', { folder }, { ...own, sign })];
    bob.handles = false;
    await lost(ada, bob);
    await ada.send('bob', 'unwanted');
    await eventually(() => expect(bob.contents).toEqual(['unwanted']));
    stands = true;
    void bob.p2p.refuse(bob.got[0]!.message_id, 'no');
    await new Promise((resolve) => setTimeout(resolve, 50));
    bob.p2p.close(); // its store is never closed, as of one that is killed
    const again = await someone('bob', { folder }, own);
    await eventually(() => expect(again.contents).toEqual(['unwanted']));
    await rm(folder, { recursive: true, force: true });
  });

  const cameFrom = (author: string, at: number) => {
    const entry = { author, chain: randomUUID(), seq: 1 } as never;
    return {
      hash: `${author} ${at}`,
      entry,
      signature: '',
      content: '1',
      salt: '',
      messageId: `${author} ${at}`,
      at: 0,
    };
  };

  test('has room for others when one member sends as much as it can', async () => {
    const store = await P2pStore.open(undefined);
    let taken = 0;
    while (taken < 20_000 && store.take(cameFrom('eve', taken))) taken++;
    expect(taken).toBeGreaterThan(1_000);
    expect(store.take(cameFrom('ada', 0))).toBe(true);
    expect(store.hasRoom(1_000_000)).toBe(true);
    store.close();
  });

  test('knows the chains of a member up to a number, whatever it makes', async () => {
    const store = await P2pStore.open(undefined);
    const chains = Array.from({ length: 200 }, () => randomUUID());
    store.setHeard('ada', chains[0]!, 7);
    for (const chain of chains) store.setHeard('eve', chain, 1);
    expect(chains.filter((chain) => store.heard('eve', chain) > 0).length).toBeLessThanOrEqual(32);
    expect([store.heard('eve', chains.at(-1)!), store.heard('ada', chains[0]!)]).toEqual([1, 7]);
    store.close();
  });
});

describe('on its way home', () => {
  /** A hub that takes everything, but for what the test says. */
  function hubOf(odd: (one: ReturnedEntry, packet: Return) => Partial<Returned> | undefined) {
    const asked: Return[] = [];
    let through = 0;
    const home = (packet: Return): Home => {
      asked.push(packet);
      let waits = false;
      const results = packet.entries.map((one): Returned => {
        const result: Returned = { entry: entryHash(one.entry), status: 'taken', ...odd(one, packet) };
        waits ||= result.status === 'waits';
        if (!waits) through = Math.max(through, one.entry.seq);
        return waits ? { ...result, status: 'waits' } : result;
      });
      return { results, through, missing: [] };
    };
    return { home, asked, through: () => through };
  }

  test('a mailbox that stays full holds up its own messages for a while, and no others for ever', async () => {
    const [ada, bob, cyd] = [await someone('ada'), await someone('bob'), await someone('cyd')];
    const roster = rosterOf([ada, bob, cyd]);
    await ada.lose(roster);
    await eventually(() => expect(ada.changes.at(-1)?.active).toBe(true));
    const { messageId } = await ada.send('bob', 'no room');
    await ada.send('cyd', 'room');
    const hub = hubOf(({ entry }, { let_go = [] }) => {
      if (entry.kind !== 'message' || !('node' in entry.to) || entry.to.node !== 'bob') return undefined;
      return { status: let_go.includes(entryHash(entry)) ? 'refused' : 'waits', code: 'queue_full', reason: 'full' };
    });
    ada.home = hub.home;
    ada.p2p.opened();
    await eventually(() => expect(hub.through()).toBe(2));
    await eventually(() => expect(ada.refused).toMatchObject([{ messageId, code: 'queue_full' }]));
  });

  test('a message to someone else does not wait for what is on its way home', async () => {
    const [ada, bob] = [await someone('ada'), await someone('bob')];
    await ada.lose(rosterOf([ada, bob]));
    await eventually(() => expect(ada.changes.at(-1)?.active).toBe(true));
    await ada.send('bob', 1);
    ada.home = () => {
      throw new HubRefusal('overloaded', 'not now');
    };
    ada.p2p.opened();
    const settled = async (to: Send['to'], ms: number) => {
      const began = processClock.monotonicMs();
      await ada.p2p.settled({ to, content: null }, ms);
      return processClock.monotonicMs() - began;
    };
    expect(await settled({ node: 'cyd' }, 20_000)).toBeLessThan(500);
    expect(await settled({ node: 'bob' }, 20_000)).toBeGreaterThan(900);
  });

  test('a receipt that the hub has no message for, though it knows the message, is let go of', async () => {
    const [ada, bob] = [await someone('ada'), await someone('bob')];
    await lost(ada, bob);
    await ada.send('bob', 'short');
    await eventually(() => expect(bob.contents).toEqual(['short']));
    const asked: Return[] = [];
    let through = 0;
    bob.home = (packet) => {
      asked.push(packet);
      const [first] = packet.entries;
      if (!first) return { results: [], through, missing: [] };
      const entry = entryHash(first.entry);
      if (first.entry.kind === 'message') return { results: [{ entry, status: 'known' }], through, missing: [] };
      const gone = packet.let_go?.includes(first.entry.of);
      if (gone) through = first.entry.seq;
      return {
        results: [{ entry, status: 'waits', code: 'not_found' }],
        through,
        missing: gone ? [] : [first.entry.of],
      };
    };
    bob.p2p.opened();
    await eventually(() => expect(through).toBe(1));
    expect(asked.length).toBeLessThan(10);
  });

  test('of a chain that does not go on from what the hub has, each message that is lost is told', async () => {
    const [ada, bob] = [await someone('ada'), await someone('bob')];
    await ada.lose(rosterOf([ada, bob]));
    await eventually(() => expect(ada.changes.at(-1)?.active).toBe(true));
    const sent = [await ada.send('bob', 1), await ada.send('bob', 2)];
    ada.home = ({ entries }) => ({
      results: entries.map(({ entry }, at) =>
        at === 0
          ? { entry: entryHash(entry), status: 'refused', code: 'chain_forked', reason: 'another has its place' }
          : { entry: entryHash(entry), status: 'waits', code: 'chain_forked' },
      ),
      through: 0,
      missing: [],
    });
    ada.p2p.opened();
    await eventually(() =>
      expect(ada.refused.map(({ messageId, code }) => [messageId, code])).toEqual(
        sent.map(({ messageId }) => [messageId, 'chain_forked']),
      ),
    );
  });
});
