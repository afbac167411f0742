/** Whatever comes in over a socket, before or after proof of a key: the hub lives, and says no in words of its list. */
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { codes } from '../../src/errors.ts';
import { clientPackets } from '../../src/protocol.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { hostileName, hostileTexts, hostileValue } from './hostile-values.ts';
import { type Answer, binary, RawSocket, text } from './raw-socket.ts';
import { call, defects, isCode, joinBySocket } from './visitor.ts';

let hub: TestHub;
const open: RawSocket[] = [];
let members = 0;

beforeAll(async () => {
  hub = await startTestHub();
});
afterAll(() => hub?.stop());
afterEach(async () => {
  for (const socket of open.splice(0)) socket.close();
  expect(hub.alive(), hub.stderr().slice(-2_000)).toBe(true);
  expect((await call(hub, 'GET', '/ready')).status).toBe(200);
  expect(defects(hub.stderr())).toEqual([]);
});

async function stranger(): Promise<RawSocket> {
  const socket = await RawSocket.open(hub.url);
  open.push(socket);
  return socket;
}

async function member(): Promise<RawSocket> {
  const { socket } = await joinBySocket(hub, `member-${++members}`);
  open.push(socket);
  return socket;
}

/** A refusal in words of the closed list; or what else it was. */
function refusalIn(answer: Answer): string {
  const { ok, error } = answer;
  if (ok) return 'ok';
  if (!isCode(error?.code)) return `not of the list: ${error?.code}`;
  return codes[error.code].status >= 500 ? `a failure: ${error.code}` : 'refused';
}

/** Sends all, a page at a time, and gives the answers that are no refusals; a connection that was cut is made again. */
async function wrongAnswers(packets: readonly string[], connect: () => Promise<RawSocket>): Promise<string[]> {
  const wrong: string[] = [];
  let socket = await connect();
  for (let at = 0; at < packets.length; at += 50) {
    const page = packets.slice(at, at + 50);
    const answers = await Promise.all(page.map((packet) => socket.askRaw((id) => `42${id}${packet}`)));
    answers.forEach((answer, index) => {
      const verdict = refusalIn(answer);
      if (verdict !== 'refused') wrong.push(`${verdict} to ${page[index]!.slice(0, 200)}`);
    });
    if (socket.ended) socket = await connect();
  }
  return wrong;
}

const known = Object.keys(clientPackets);
/** What these packets take as they should: nothing at all, or a place in the log. */
const takenByMembers = (packet: string) =>
  /^\["federation:(renew|leave|task:claim|p2p:roster)"(,(null|\{\}))?\]$/.test(packet) ||
  packet.startsWith('["federation:resume",{"position"');

describe('hostile packets', () => {
  const names = [...known, 'federation:message', 'unknown', 'error', '__proto__', 'toString', ''];
  const packets = names.flatMap((name) => [
    JSON.stringify([name]),
    ...hostileTexts.map((value) => `[${JSON.stringify(name)},${value}]`),
    `[${JSON.stringify(name)},{},{}]`,
    `[${JSON.stringify(name)},null,"ack",[]]`,
  ]);

  test('are refused to strangers, each with a code of the list', async () => {
    expect(await wrongAnswers(packets, stranger)).toEqual([]);
  });

  test('are refused to members, each with a code of the list', async () => {
    const wrong = await wrongAnswers(
      packets.filter((packet) => !takenByMembers(packet)),
      member,
    );
    expect(wrong).toEqual([]);
  });

  test('are refused by federation:error when they ask for no answer, and the connection goes on', async () => {
    const socket = await stranger();
    const small = packets.filter((packet) => packet.length < 1_000);
    for (const packet of small) socket.send(`42${packet}`);
    expect(await socket.until(() => socket.of('federation:error').length >= small.length)).toBe(true);
    expect(socket.of('federation:error').filter(({ code }) => !isCode(code))).toEqual([]);
    expect(refusalIn(await socket.ask('federation:heartbeat', {}))).toBe('refused');
  });

  test.each(['stranger', 'member'])('made by chance are survived, thousands of them, from a %s', async (who) => {
    const args = fc.array(hostileValue, { maxLength: 3 });
    const made = fc.sample(
      fc.tuple(hostileName, args).filter(([name]) => !reserved.has(String(name))),
      { numRuns: 3_000, seed: 20_240_601 },
    );
    const texts = made.map((packet) => JSON.stringify(packet.flat(1)));
    const wrong = await wrongAnswers(
      texts.filter((packet) => !takenByMembers(packet)),
      who === 'stranger' ? stranger : member,
    );
    expect(wrong).toEqual([]);
  });
});

/** Names that Socket.IO itself keeps: a packet with one cuts the connection of who sent it. */
const reserved = new Set(['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener']);

describe('packets that are none', () => {
  test.each<readonly [what: string, packet: string]>([
    ['no name and no arguments', '42'],
    ['an acknowledgement and nothing else', '421'],
    ['an acknowledgement beyond counting', `42${'9'.repeat(400)}["federation:heartbeat",{}]`],
    ['a number for a name', '42[1,{}]'],
    ['a number for a name, with an acknowledgement', '427[1,{}]'],
    ['an object for a name', '42[{"toString":1},{}]'],
    ['null for a name', '42[null]'],
    ['an object for the list', '42{"0":"federation:heartbeat"}'],
    ['half of a list', '42["federation:heartbeat",{'],
    ...[...reserved].map((name) => [`the reserved name ${name}`, `42["${name}",{}]`] as const),
    ['the name error', '42["error",{"message":"x"}]'],
    ['an acknowledgement that nobody asked for', '431[{"ok":true}]'],
    ['an error of connecting', '44{"message":"x"}'],
    ['an error of connecting that is text', '44"x"'],
    ['a second connection', '40{"token":"x"}'],
    ['another namespace', '40/admin,{"token":"x"}'],
    ['a namespace named __proto__', '40/__proto__,{}'],
    ['a packet for a namespace that is not there', '42/admin,["federation:heartbeat",{}]'],
    ['a namespace that does not end', `40/${'n'.repeat(100_000)}`],
    ['attachments without end', '4599999999999-["federation:register",{}]'],
    ['attachments below nothing', '45-1-["federation:register",{}]'],
    ['attachments that are no number', '451e1-["federation:register",{}]'],
    ['an attachment that is not there', '451-["federation:register",{"_placeholder":true,"num":7}]'],
    ['an unknown kind', '49["federation:heartbeat",{}]'],
    ['an unknown kind of Engine.IO', '9'],
    ['an upgrade in mid-session', '5'],
    ['a ping of a server', '2'],
    ['nothing', ''],
    ['a goodbye', '41'],
  ])('are survived: %s', async (_what, packet) => {
    for (const connect of [stranger, member]) {
      const socket = await connect();
      socket.send(packet);
      socket.frame(binary, Buffer.from([1, 2, 3]));
      await socket.until(() => socket.ended, 30);
    }
    const next = await stranger();
    expect(refusalIn(await next.ask('unknown'))).toBe('refused');
  });

  test('are refused with a code when only the name is no text', async () => {
    const socket = await stranger();
    expect((await socket.askRaw((id) => `42${id}[1,{}]`)).error?.code).toBe('not_found');
    expect((await socket.askRaw((id) => `42${id}`)).error?.code).toBe('not_found');
  });
});

describe('binary attachments', () => {
  test('are refused wherever they hang, also where anything else may', async () => {
    const socket = await stranger();
    const bytes = Buffer.alloc(1_000, 0x61);
    const hung = (name: string, where: string) =>
      socket.askRaw((id) => `451-${id}["${name}",${where}]`, [bytes]).then(({ error }) => error?.code);
    const attachment = '{"_placeholder":true,"num":0}';
    expect(await hung('federation:challenge', attachment)).toBe('invalid_input');
    expect(await hung('federation:challenge', `{"node_id":${attachment},"purpose":"register"}`)).toBe('invalid_input');
    const { socket: joined } = await joinBySocket(hub, 'beta');
    open.push(joined);
    const { nonce } = await joined.ask('federation:challenge', { node_id: 'beta', purpose: 'register' });
    const packet = {
      protocol_version: 1,
      node_id: 'beta',
      public_key: 'A'.repeat(43),
      nonce,
      signature: 'A'.repeat(86),
    };
    const body = `${JSON.stringify(packet).slice(0, -1)},"sovereignty":{"secret":${attachment}}}`;
    const { error } = await joined.askRaw((id) => `451-${id}["federation:register",${body}]`, [bytes]);
    expect(error).toMatchObject({ code: 'invalid_input', message: expect.stringContaining('binary') });
  });

  test('deep as a stack do not overflow it', async () => {
    const socket = await stranger();
    const nest = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    socket.send(`451-["federation:challenge",{"_placeholder":true,"num":0},${nest}]`);
    socket.frame(binary, Buffer.from('x'));
    await socket.until(() => socket.ended, 500);
  });
});

describe('frames', () => {
  test('are never compressed, whatever the client offers', async () => {
    const socket = await stranger();
    expect(socket.head).toContain('101');
    expect(socket.head.toLowerCase()).not.toContain('sec-websocket-extensions');
    socket.frame(text, Buffer.from('42["unknown"]'), { rsv1: true });
    expect(await socket.until(() => socket.ended)).toBe(true);
    expect(socket.closeCode).toBe(1002);
  });

  test('larger than the door takes end their connection, and no other', async () => {
    const other = await stranger();
    const socket = await stranger();
    socket.send(`42["federation:challenge","${'x'.repeat(400_000)}"]`);
    expect(await socket.until(() => socket.ended)).toBe(true);
    expect(socket.closeCode).toBe(1009);
    expect(refusalIn(await other.ask('unknown'))).toBe('refused');
  });

  test('that add up to more than the door takes end their connection', async () => {
    const socket = await stranger();
    socket.frame(text, Buffer.from('42["federation:challenge","'), { final: false });
    for (let part = 0; part < 50 && !socket.ended; part++) socket.frame(0, Buffer.alloc(8_192, 0x78), { final: false });
    expect(await socket.until(() => socket.ended)).toBe(true);
    expect(socket.closeCode).toBe(1009);
  });

  test('that announce more than there is memory are refused by their head', async () => {
    const socket = await stranger();
    const head = Buffer.from([0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    socket.tcp.write(head);
    expect(await socket.until(() => socket.ended)).toBe(true);
  });

  test('in a hundred thousand tiny fragments are put together or refused', async () => {
    const socket = await stranger();
    socket.frame(text, Buffer.from('42["'), { final: false });
    const fragment = Buffer.from([0x00, 0x81, 0, 0, 0, 0, 0x61]); // one letter, masked with zeros
    socket.tcp.write(Buffer.concat(Array(100_000).fill(fragment)));
    socket.frame(0, Buffer.from('"]'));
    await socket.until(() => socket.ended || socket.of('federation:error').length > 0);
    expect(socket.ended || socket.of('federation:error')[0]?.code === 'not_found').toBe(true);
  });

  test('without a mask, or of unknown kind, end their connection', async () => {
    for (const [opcode, options] of [
      [text, { masked: false }],
      [3, {}],
    ] as const) {
      const socket = await stranger();
      socket.frame(opcode, Buffer.from('42["unknown"]'), options);
      expect(await socket.until(() => socket.ended)).toBe(true);
      expect(socket.closeCode).toBe(1002);
    }
  });
});
