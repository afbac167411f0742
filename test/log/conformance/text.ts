/** What is written comes back byte for byte, whatever it says. */
import { expect, it } from 'vitest';
import { fact, facts, ids, readOn, stream, type TheLog, written } from './facts.ts';

const texts: [name: string, json: string][] = [
  ['characters beyond the basic plane', JSON.stringify({ bee: '\u{1F41D}', math: '\u{1D538}' })],
  ['lone surrogates, escaped', JSON.stringify({ broken: '\ud83d', other: 'a\udc00b' })],
  ['U+0000, escaped', JSON.stringify({ nul: 'a\u0000b' })],
  ['combining characters, not normalised', JSON.stringify(['e\u0301', '\u00e9', '\u1100\u1161'])],
  ['right-to-left and zero-width marks', JSON.stringify('\u202eabc\u200d\ufeff')],
  ['whitespace between the tokens', ' {\t"b" : 1 ,\r\n "a":\n[ ] } '],
  ['the order of keys, and keys given twice', '{"b":1,"a":2,"b":3}'],
  ['numbers no double holds', '{"n":123456789012345678901234567890.000,"e":1e400,"z":-0.0}'],
  [
    'quotes, backslashes and what looks like SQL',
    JSON.stringify(`'; DROP TABLE federation_log; -- \\ $1 ? :a {a,b} "`),
  ],
  ['escapes written in long form', '"\\u0041\\/\\u00e9"'],
  ['a plain null', 'null'],
];

const names: [name: string, suffix: string][] = [
  ['quotes', `o'neil "x" \`y\``],
  ['percent and underscore', '100%_a'],
  ['backslash, dollar, braces and commas', '\\n$1{a,b},NULL'],
  ['spaces around', '  a  '],
  ['letters of many scripts', 'żółw-蜂-\u{1F41D}-e\u0301'],
  ['a line break', 'a\nb'],
  ['a thousand characters', 'x'.repeat(1_000)],
];

export function text(log: TheLog): void {
  for (const [name, json] of texts) {
    it(`keeps ${name}`, async () => {
      const kept = stream();
      const reading = stream('health');
      const before = await log().head();
      await written(log().append(kept, 'any', [fact({ data: json, meta: json })]));
      await written(log().append(reading, 'any', [fact({ data: json, meta: json })]));
      for (const at of [kept, reading]) {
        expect(await log().readStream(at, 0, 2)).toMatchObject([{ data: json, meta: json }]);
      }
      const { events } = await readOn(log(), before);
      expect(events.map((event) => event.data)).toEqual([json, json]);
    });
  }

  it('keeps an event of a megabyte, and many at once', async () => {
    const data = JSON.stringify('ä\u{1F41D}x'.repeat(150_000));
    expect(Buffer.byteLength(data)).toBeGreaterThan(1_000_000);
    const name = stream();
    await Promise.all(Array.from({ length: 8 }, () => written(log().append(name, 'any', [fact({ data })]))));
    const read = await log().readStream(name, 0, 10);
    expect(read).toHaveLength(8);
    expect(read.every((event) => event.data === data)).toBe(true);
  });

  it('keeps every field as it was given', async () => {
    const name = stream();
    const event = fact({ type: 'node.profile-changed', version: 7 });
    const { position } = await written(log().append(name, 'any', [event]));
    expect(await log().readStream(name, 0, 1)).toEqual([{ ...event, stream: name, position, revision: 0 }]);
    expect((await log().readAll(position - 1, 1)).events).toEqual([{ ...event, stream: name, position, revision: 0 }]);
  });

  it('orders by position when the clock goes back, and keeps the times', async () => {
    const name = stream();
    const before = await log().head();
    const times = ['2030-01-01T00:00:09.000Z', '2030-01-01T00:00:01.000Z', '2029-12-31T23:59:59.999Z'];
    for (const time of times) await written(log().append(name, 'any', [fact({ time })]));
    expect((await log().readStream(name, 0, 5)).map((event) => event.time)).toEqual(times);
    expect((await readOn(log(), before)).events.map((event) => event.time)).toEqual(times);
  });

  for (const [what, suffix] of names) {
    it(`takes a stream name with ${what}`, async () => {
      for (const category of ['node', 'heartbeat']) {
        const name = `${stream(category)}-${suffix}`;
        const events = facts(2);
        await written(log().append(name, 'any', events));
        const read = await log().readStream(name, 0, 5);
        expect(ids(read)).toEqual(ids(events));
        expect(read[0]!.stream).toBe(name);
      }
    });
  }

  it('takes names for different that look alike', async () => {
    const name = stream('node-a');
    const alike = [
      name,
      name.replace('a', 'A'),
      `${name} `,
      `${name}%`,
      `${name}_`,
      name.slice(0, -1),
      `${name}e\u0301`,
      `${name}é`,
    ];
    for (const one of alike) await written(log().append(one, 'noStream', [fact()]));
    for (const one of alike) expect(await log().readStream(one, 0, 5)).toHaveLength(1);
  });

  for (const name of ['', 'node-\u0000', 'node-\ud800']) {
    it(`refuses ${JSON.stringify(name)} as the name of a stream`, async () => {
      await expect(log().append(name, 'any', [fact()])).rejects.toThrow(TypeError);
    });
  }
}
