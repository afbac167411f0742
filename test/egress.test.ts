/** Where the hub calls, and where it does not, whatever a URL or a name server says. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { type Egress, EgressRefused, failureOf, openEgress, type Resolve } from '../src/egress.ts';

const loopback = ['127.0.0.0/8'];
const open: { close(): unknown }[] = [];

afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

function egress(allow: readonly string[], resolve?: Resolve): Egress {
  const opened = resolve ? openEgress(allow, resolve) : openEgress(allow);
  open.push(opened);
  return opened;
}

async function target(handler: RequestListener): Promise<{ port: number; server: Server }> {
  const server = createServer(handler).listen(0, '127.0.0.1');
  await once(server, 'listening');
  open.push({
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  });
  return { server, port: (server.address() as AddressInfo).port };
}

const get = { method: 'GET', headers: {}, timeoutMs: 2_000 };
const failure = (call: Promise<unknown>) => call.then(() => 'answered', failureOf);
const hello = (_request: IncomingMessage, response: ServerResponse) => void response.end('hello');

/** Every way that was tried elsewhere to write an address that is not public. */
const inside = [
  'http://127.0.0.1/',
  'http://127.1/',
  'http://2130706433/',
  'http://0x7f000001/',
  'http://0x7f.1/',
  'http://0177.0.0.1/',
  'http://127.0.0.1./',
  'http://①②⑦.0.0.1/',
  'http://localhost/',
  'http://LOCALHOST./',
  'http://a.localhost/',
  'http://0.0.0.0/',
  'http://0/',
  'http://10.1.2.3/',
  'http://172.31.255.254/',
  'http://192.168.0.1/',
  'http://169.254.169.254/latest/meta-data',
  'http://100.64.0.1/',
  'http://192.0.2.7/',
  'http://198.18.0.1/',
  'http://198.51.100.1/',
  'http://203.0.113.9/',
  'http://224.0.0.1/',
  'http://240.0.0.1/',
  'http://255.255.255.255/',
  'http://[::1]/',
  'http://[::]/',
  'http://[::ffff:127.0.0.1]/',
  'http://[::ffff:7f00:1]/',
  'http://[::ffff:8.8.8.8]/',
  'http://[::7f00:1]/',
  'http://[64:ff9b::7f00:1]/',
  'http://[64:ff9b:1::1]/',
  'http://[2002:7f00:1::]/',
  'http://[2001:0:7f00:1::]/',
  'http://[2001:20::1]/',
  'http://[2001:db8::1]/',
  'http://[3fff::1]/',
  'http://[fe80::1]/',
  'http://[fec0::1]/',
  'http://[fc00::1]/',
  'http://[ff02::1]/',
  'http://[5f00::1]/',
  'http://[4000::1]/',
];

describe('outgoing calls', () => {
  it.each(inside)('do not go to %s', async (url) => {
    const outgoing = egress([]);
    expect(outgoing.check(url)).toMatchObject({ refused: 'egress_refused' });
    expect(await failure(outgoing.request(url, get))).toBe('refused');
  });

  it.each(['http://user@example.com/', 'http://:secret@example.com/', 'http://example.com@127.0.0.1/'])(
    'do not carry the credentials of %s',
    (url) => {
      const refused = egress(loopback).check(url);
      expect(refused).toMatchObject({ refused: 'egress_refused', detail: 'the URL holds credentials' });
    },
  );

  it.each(['ftp://example.com/', 'file:///etc/passwd', 'gopher://example.com/', 'javascript:1', 'example.com', ''])(
    'are HTTP only, not %s',
    (url) => {
      expect(egress(['0.0.0.0/0']).check(url)).toMatchObject({ refused: 'egress_refused' });
    },
  );

  it('may be meant for public addresses and names', () => {
    const outgoing = egress([]);
    for (const url of ['http://8.8.8.8/', 'https://[2606:4700::1111]:8443/x', 'https://example.com/hook?a=b'])
      expect(outgoing.check(url), url).toBeUndefined();
  });

  it('reach a network that the operator allows, and no other', async () => {
    const { port } = await target(hello);
    const outgoing = egress(['127.0.0.1', 'fd00::/8']);
    const { status, body } = await outgoing.request(`http://127.0.0.1:${port}/`, get);
    expect([status, await text(body)]).toEqual([200, 'hello']);
    expect(outgoing.check('http://[fd12::1]/')).toBeUndefined();
    expect(outgoing.check('http://127.0.0.2/')).toBeDefined();
    expect(outgoing.check('http://[::ffff:127.0.0.1]/'), 'in IPv6 clothes').toBeDefined();
  });

  it('are not made to a name that stands for an inner address, and say why', async () => {
    const outgoing = egress([], async () => [{ address: '169.254.169.254', family: 4 }]);
    expect(outgoing.check('http://innocent.example/')).toBeUndefined();
    const error = await outgoing.request('http://innocent.example/', get).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(EgressRefused);
    expect(String(error)).toContain('innocent.example: 169.254.169.254 is no public address (linkLocal)');
  });

  it('go to the very address that was checked: a name server that changes its mind is not asked again', async () => {
    const { port } = await target(hello);
    let asked = 0;
    const outgoing = egress(['127.0.0.1'], async () => [
      asked++ === 0 ? { address: '127.0.0.1', family: 4 } : { address: '10.0.0.1', family: 4 },
    ]);
    const { body } = await outgoing.request(`http://rebinding.example:${port}/`, get);
    expect(await text(body)).toBe('hello');
    expect(asked).toBe(1);
    await outgoing.close();
    const later = egress(['127.0.0.1'], async () => [{ address: '10.0.0.1', family: 4 }]);
    expect(await failure(later.request(`http://rebinding.example:${port}/`, get))).toBe('refused');
  });

  it('use only what may be called of the addresses of a name', async () => {
    const { port } = await target(hello);
    const both = ['::1', '127.0.0.1'].map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
    const outgoing = egress(loopback, async () => both);
    const { body } = await outgoing.request(`http://two.example:${port}/`, get);
    expect(await text(body)).toBe('hello');
    expect(await failure(outgoing.request('http://none.example/', { ...get, timeoutMs: 500 }))).not.toBe('refused');
    expect(await failure(egress([], async () => both).request('http://two.example/', get))).toBe('refused');
  });

  it('take a redirect for an answer', async () => {
    const { port } = await target((_request, response) =>
      response.writeHead(302, { location: 'http://169.254.169.254/' }).end(),
    );
    const { status, headers, body } = await egress(loopback).request(`http://127.0.0.1:${port}/`, get);
    expect([status, headers.location]).toEqual([302, 'http://169.254.169.254/']);
    body.resume();
  });

  it('tell apart what went wrong', async () => {
    const silent = await target(() => {});
    const rude = await target((request) => void request.socket.destroy());
    const outgoing = egress(loopback, async () => {
      throw Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
    });
    const { port: gone, server } = await target(hello);
    server.close();
    await once(server, 'close');
    const stop = new AbortController();
    const aborted = outgoing.request(`http://127.0.0.1:${silent.port}/`, { ...get, signal: stop.signal });
    setTimeout(() => stop.abort(), 50);
    expect(await failure(aborted)).toBe('aborted');
    const late = outgoing.request(`http://127.0.0.1:${silent.port}/`, { ...get, timeoutMs: 200 });
    expect(await failure(late)).toBe('timeout');
    expect(await failure(outgoing.request(`http://127.0.0.1:${rude.port}/`, get))).toBe('broken');
    expect(await failure(outgoing.request(`http://127.0.0.1:${gone}/`, get))).toBe('unreachable');
    expect(await failure(outgoing.request('http://nowhere.example/', get))).toBe('unreachable');
  });

  it('to one origin are 256 at once; one more is refused at once, and there is room when one ends', async () => {
    const waiting: ServerResponse[] = [];
    const { port } = await target((_request, response) => void waiting.push(response));
    const outgoing = egress(loopback);
    const url = `http://127.0.0.1:${port}/`;
    const calls = Array.from({ length: 256 }, () => outgoing.request(url, { ...get, timeoutMs: 20_000 }));
    await expect.poll(() => waiting.length).toBe(256);
    await expect(outgoing.request(url, get)).rejects.toMatchObject({ code: 'overloaded' });
    for (const response of waiting.splice(0)) response.end('done');
    for (const { body } of await Promise.all(calls)) await text(body);
    const next = outgoing.request(url, get);
    await expect.poll(() => waiting.length).toBe(1);
    waiting[0]!.end();
    expect((await next).status).toBe(200);
  });
});
