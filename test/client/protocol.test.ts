/** What both sides of a socket agree on: closed packets, and one text to sign. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { Compile } from 'typebox/compile';
import { describe, expect, test } from 'vitest';
import { canonicalJson } from '../../src/canonical-json.ts';
import { type ClientPacket, clientPackets, profileOf, proofText } from '../../src/protocol.ts';

const registration: ClientPacket<'federation:register'> = {
  protocol_version: 1,
  node_id: 'alpha',
  public_key: 'A'.repeat(43),
  nonce: 'B'.repeat(72),
  signature: 'C'.repeat(86),
  display_name: 'Alpha',
  services: { search: { status: 'running', port: 80 } },
  network: { public_url: 'https://alpha.example', port: 443 },
  hardware: { cpu_cores: 2, gpu: 'none' },
  sovereignty: { region: 'eu', rules: [{ share: false }] },
};
const register = Compile(clientPackets['federation:register'].packet);
const heartbeat = Compile(clientPackets['federation:heartbeat'].packet);

describe('a packet', () => {
  test('fits when all it has is named and within its limits', () => {
    expect(register.Check(registration)).toBe(true);
    expect(
      heartbeat.Check({
        node_id: 'alpha',
        resources: { cpu_percent: 1 },
        models: [{ model_id: 'm' }],
        active_tasks: 0,
      }),
    ).toBe(true);
  });

  test('is refused with a member that no one named, at any depth', () => {
    const spoilt: object[] = [
      { ...registration, admin: true },
      { ...registration, role: 'admin' },
      { ...registration, network: { via: 'x' } },
      { ...registration, hardware: { cpu_cores: 2, disks: 1 } },
      { ...registration, services: { search: { status: 'running', owner: 'x' } } },
      JSON.parse(`{"__proto__":{"admin":true},${JSON.stringify(registration).slice(1)}`),
    ];
    for (const packet of spoilt) expect(register.Check(packet), JSON.stringify(packet)).toBe(false);
    expect(heartbeat.Check({ node_id: 'alpha', models: [{ model_id: 'm', extra: 1 }] })).toBe(false);
    expect(Compile(clientPackets['federation:leave'].packet).Check({ at: 'once' })).toBe(false);
  });

  test('is refused when a name in it is empty, too long or broken over lines', () => {
    for (const name of ['', 'x'.repeat(65), 'a\nb']) {
      expect(register.Check({ ...registration, services: { [name]: {} } }), name).toBe(false);
      expect(register.Check({ ...registration, sovereignty: { [name]: 1 } }), name).toBe(false);
      expect(heartbeat.Check({ node_id: 'alpha', services: { [name]: {} } }), name).toBe(false);
    }
  });

  test('is refused when it is none', () => {
    for (const none of [undefined, null, [], 'x', 5, () => {}, {}]) expect(register.Check(none)).toBe(false);
  });
});

describe('the text of a proof', () => {
  test('is what the documents say, to the byte', () => {
    const proof = {
      purpose: 'session',
      federationId: 'fed-1',
      nodeId: 'alpha',
      publicKey: 'KEY',
      nonce: 'NONCE',
      profile: {},
    } as const;
    const digest = createHash('sha256').update('{}').digest('hex');
    expect(proofText(proof)).toBe(`federation-hub proof v1\nsession\nfed-1\nalpha\nKEY\nNONCE\n${digest}`);
  });

  test('covers the profile, and nothing of the packet but the profile', () => {
    const { display_name, services, network, hardware, sovereignty } = registration;
    expect(profileOf({ ...registration, purpose: 'register' })).toEqual({
      display_name,
      services,
      network,
      hardware,
      sovereignty,
    });
  });
});

describe('canonical JSON', () => {
  test('is that of RFC 8785 for its own example', () => {
    const value = {
      numbers: [333333333.3333333, 1e30, 4.5, 2e-3, 1e-27],
      string: '€$\u000f\nA\'B"\\\\"/',
      literals: [null, true, false],
    };
    expect(canonicalJson(value)).toBe(
      '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
    );
  });

  test('sorts by UTF-16 code units', () => {
    const sorted = ['\r', '\u0080', '\u00f6', '\u20ac', '\u{1f600}', '\ufb33']; // the smiley starts with U+D83D
    const value = Object.fromEntries(sorted.toReversed().map((name) => [name, 1]));
    expect(Object.keys(JSON.parse(canonicalJson(value)))).toEqual(sorted);
  });

  test('is one text for one value, before and after the wire, in whatever order it was written', () => {
    const sent = fc.anything({
      values: [fc.string({ unit: 'binary' }), fc.double(), fc.boolean(), fc.constant(undefined), fc.constant(null)],
    });
    fc.assert(
      fc.property(fc.dictionary(fc.string(), sent), (value) => {
        const received: unknown = JSON.parse(JSON.stringify(value));
        const text = canonicalJson(value);
        expect(canonicalJson(received)).toBe(text);
        expect(canonicalJson(reversed(received))).toBe(text);
        expect(JSON.parse(text)).toEqual(received);
      }),
    );
  });
});

function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).reverse();
  return Object.fromEntries(members.map(([name, member]) => [name, reversed(member)]));
}
