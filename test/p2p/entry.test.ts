/** Entries, seals and rosters, as everyone makes them: the same for everyone, and good for nothing else. */
import { createHash, createPrivateKey } from 'node:crypto';
import { getPublicKeyAsync, signAsync } from '@noble/ed25519';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { commandId } from '../../src/commands/command-id.ts';
import {
  contentHash,
  entryHash,
  entryText,
  envelopeText,
  isEnvelopeSigned,
  isSigned,
  messageIdOf,
} from '../../src/p2p/entry.ts';
import { handshakeText, isProved } from '../../src/p2p/handshake.ts';
import { membersHash, readRoster, signRoster } from '../../src/p2p/roster.ts';
import { agreeWith, open, seal } from '../../src/p2p/seal.ts';
import type { Entry, Roster } from '../../src/protocol/p2p.ts';

const text64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url');
const secret = fc.uint8Array({ minLength: 32, maxLength: 32 });
const keyOf = async (seed: Uint8Array) => text64(await getPublicKeyAsync(seed));
const uuid = '00000000-0000-4000-8000-000000000001';

const entry: fc.Arbitrary<Entry> = fc.record({
  federation_id: fc.constant('f'),
  author: fc.constantFrom('ada', 'bob'),
  chain: fc.constant(uuid),
  seq: fc.integer({ min: 1, max: 9 }),
  prev: fc.constantFrom(null, 'P'.repeat(43)),
  time: fc.constant('2026-03-01T10:00:00.000Z'),
  roster_id: fc.constant(uuid),
  kind: fc.constant('message' as const),
  to: fc.constantFrom({ node: 'bob' }, { everyone: true as const }),
  key: fc.string({ minLength: 1, maxLength: 9 }),
  content_hash: fc.constant('C'.repeat(43)),
  bytes: fc.nat(9),
  expires_at: fc.constant('2026-03-02T10:00:00.000Z'),
});

describe('an entry', () => {
  it('is signed by its author alone, and no member of it can be changed', async () => {
    await fc.assert(
      fc.asyncProperty(entry, entry, secret, secret, async (one, other, seed, foreign) => {
        const signature = text64(await signAsync(Buffer.from(entryText(one)), seed));
        expect(isSigned({ entry: one, signature }, await keyOf(seed))).toBe(true);
        expect(isSigned({ entry: one, signature }, await keyOf(foreign))).toBe(text64(seed) === text64(foreign));
        const same = entryText(one) === entryText(other);
        expect(entryHash(one) === entryHash(other)).toBe(same);
        expect(isSigned({ entry: other, signature }, await keyOf(seed))).toBe(same);
      }),
      { numRuns: 30 },
    );
  });

  it('is the same text whatever the order of its members', () =>
    fc.assert(
      fc.property(entry, (one) => {
        const turned = Object.fromEntries(Object.entries(one).reverse()) as Entry;
        expect(entryText(turned)).toBe(entryText(one));
      }),
    ));

  it('names its message as the hub would have, under the same key', () =>
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), (key) => {
        expect(messageIdOf('ada', key)).toBe(commandId('node:ada', 'federation:message', key));
      }),
    ));

  it('hides what it says from whoever guesses: the same words have another hash under another salt', () => {
    expect(contentHash('a'.repeat(22), '"yes"')).not.toBe(contentHash('b'.repeat(22), '"yes"'));
  });
});

describe('an envelope', () => {
  it('is signed by its author for one recipient, with its entry, what is before it and what is sealed', async () => {
    const seed = new Uint8Array(32).fill(5);
    const key = await keyOf(seed);
    const about = { recipient: 'bob', entry: 'E'.repeat(43), after: 3, sealed: 'sealed' };
    const signature = text64(await signAsync(Buffer.from(envelopeText(about)), seed));
    expect(isEnvelopeSigned(about, key, signature)).toBe(true);
    expect(isEnvelopeSigned(about, await keyOf(new Uint8Array(32).fill(6)), signature)).toBe(false);
    for (const other of [{ recipient: 'cyd' }, { entry: 'F'.repeat(43) }, { after: 0 }, { sealed: 'other' }])
      expect(isEnvelopeSigned({ ...about, ...other }, key, signature)).toBe(false);
    expect(isEnvelopeSigned({ recipient: 'bob', entry: about.entry, after: 3 }, key, signature)).toBe(false);
  });

  it('is these lines', () => {
    const sealed = createHash('sha256').update('S').digest('base64url');
    const lines = ['federation-hub p2p envelope v1', 'bob', 'E', '3'];
    expect(envelopeText({ recipient: 'bob', entry: 'E', after: 3, sealed: 'S' })).toBe([...lines, sealed].join('\n'));
    expect(envelopeText({ recipient: 'bob', entry: 'E', after: 3 })).toBe([...lines, ''].join('\n'));
  });
});

describe('what is sealed', () => {
  it('opens for its recipient, in its entry, unchanged, and nowhere else', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string(), secret, secret, fc.nat(), async (text, seed, foreign, at) => {
        const about = { recipient: 'bob', publicKey: await keyOf(seed), entry: 'E'.repeat(43) };
        const sealed = seal(text, about);
        expect(await open(sealed, about, agreeWith(seed))).toBe(text);
        await expect(open(sealed, { ...about, entry: 'F'.repeat(43) }, agreeWith(seed))).rejects.toThrow();
        await expect(open(sealed, { ...about, recipient: 'cyd' }, agreeWith(seed))).rejects.toThrow();
        if (text64(seed) !== text64(foreign)) await expect(open(sealed, about, agreeWith(foreign))).rejects.toThrow();
        const bytes = Buffer.from(sealed, 'base64url');
        bytes[at % bytes.length]! ^= 0x40;
        await expect(open(text64(bytes), about, agreeWith(seed))).rejects.toThrow();
      }),
      { numRuns: 20 },
    );
  });

  it('is no small thing to be cut short', async () => {
    const about = { recipient: 'bob', publicKey: await keyOf(new Uint8Array(32).fill(7)), entry: 'E'.repeat(43) };
    for (const cut of ['', 'AAAA', seal('x', about).slice(0, 60)])
      await expect(open(cut, about, agreeWith(new Uint8Array(32).fill(7)))).rejects.toThrow();
  });
});

describe('a roster', () => {
  const roster: Roster = {
    federation_id: 'f',
    roster_id: uuid,
    issued_at: '2026-03-01T10:00:00.000Z',
    expires_at: '2026-03-02T10:00:00.000Z',
    position: 7,
    members: [{ node_id: 'ada', public_key: 'A'.repeat(43), role: 'member' }],
  };
  const hubKey = async (fill: number, kid: string) => {
    const seed = new Uint8Array(32).fill(fill);
    const x = await keyOf(seed);
    const jwk = { kty: 'OKP', crv: 'Ed25519', x, d: text64(seed) };
    return {
      kid,
      privateKey: createPrivateKey({ key: jwk, format: 'jwk' }),
      jwk: { kty: 'OKP', crv: 'Ed25519', x, kid },
    };
  };

  it('is read when a key of the hub signed it, for this federation', async () => {
    const key = await hubKey(1, 'k1');
    const document = await signRoster(roster, key);
    expect(await readRoster(document, { keys: [key.jwk] }, 'f')).toEqual(roster);
    await expect(readRoster(document, { keys: [key.jwk] }, 'g')).rejects.toThrow('is of f');
    await expect(readRoster(document, { keys: [] }, 'f')).rejects.toThrow('not known');
    const other = await hubKey(2, 'k1');
    await expect(readRoster(document, { keys: [other.jwk] }, 'f')).rejects.toThrow();
    const [head, , signature] = document.split('.');
    const forged = Buffer.from(JSON.stringify({ ...roster, members: [] })).toString('base64url');
    await expect(readRoster([head, forged, signature].join('.'), { keys: [key.jwk] }, 'f')).rejects.toThrow();
  });

  it('says the same when it names the same members', () => {
    expect(membersHash(roster)).toBe(membersHash({ members: [...roster.members] }));
    expect(membersHash(roster)).not.toBe(membersHash({ members: [{ ...roster.members[0]!, p2p_url: 'http://a' }] }));
  });
});

describe('the handshake', () => {
  it('proves one side, once, for one other node, under these rosters', async () => {
    const seed = new Uint8Array(32).fill(3);
    const key = await keyOf(seed);
    const shake = {
      federationId: 'f',
      dialer: 'ada',
      listener: 'bob',
      dialerNonce: 'n1',
      listenerNonce: 'n2',
      dialerRoster: 'r1',
      listenerRoster: 'r2',
    };
    const signature = text64(await signAsync(Buffer.from(handshakeText('dialer', shake)), seed));
    expect(isProved('dialer', shake, key, signature)).toBe(true);
    expect(isProved('listener', shake, key, signature)).toBe(false);
    for (const name of Object.keys(shake))
      expect(isProved('dialer', { ...shake, [name]: 'x' }, key, signature)).toBe(false);
  });
});
