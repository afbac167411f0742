/** What the hub calls for others: only what it may, only whole, and with nothing of its own or of the caller's. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { signRequest } from '../../src/client/signed-request.ts';
import { startUpstream, type Upstream } from '../services/service-router.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { call, defects, joinByHttp, type Visitor } from './visitor.ts';

let hub: TestHub;
let caller: Visitor;
const open: Upstream[] = [];

beforeAll(async () => {
  hub = await startTestHub({ env: { FEDERATION_EGRESS_ALLOW: '127.0.0.1' } });
  caller = await joinByHttp(hub, 'caller');
});
afterEach(async () => {
  for (const upstream of open.splice(0)) await upstream.close();
});
afterAll(async () => {
  const log = hub?.stderr() ?? '';
  await hub?.stop();
  expect(defects(log)).toEqual([]);
});

let made = 0;

async function target(publicUrl: (port: number) => string, answer: Parameters<typeof startUpstream>[0]) {
  const upstream = await startUpstream(answer);
  open.push(upstream);
  const profile = { network: { public_url: publicUrl(upstream.port) }, services: { api: {} } };
  return { upstream, path: `/route/${(await joinByHttp(hub, `t${++made}`, profile)).nodeId}/api/` };
}

const plainly = (port: number) => `http://127.0.0.1:${port}`;

describe('a node that names a URL', () => {
  it.each([
    ['with credentials', (port: number) => `http://user:pass@127.0.0.1:${port}`],
    ['of another loopback address', (port: number) => `http://127.0.0.2:${port}`],
    ['of the metadata service', () => 'http://169.254.169.254'],
    ['in IPv6 clothes', (port: number) => `http://[::ffff:127.0.0.1]:${port}`],
    ['by NAT64', (port: number) => `http://[64:ff9b::127.0.0.1]:${port}`],
    ['of all addresses', (port: number) => `http://0.0.0.0:${port}`],
  ])('%s is not called', async (_what, publicUrl) => {
    const { upstream, path } = await target(publicUrl, (_request, response) => void response.end());
    expect((await call(hub, 'GET', path, { token: caller.token })).status).toBe(503);
    expect(upstream.got).toEqual([]);
  });

  it.each([(port: number) => `http://0x7f.1:${port}`, (port: number) => `http://2130706433:${port}/`])(
    'in odd digits is called only because the address they stand for may be',
    async (publicUrl) => {
      const { upstream, path } = await target(publicUrl, (_request, response) => void response.end());
      expect((await call(hub, 'GET', path, { token: caller.token })).status).toBe(200);
      expect(upstream.got.length).toBe(1);
    },
  );

  it('and redirects is not followed', async () => {
    const inner = await startUpstream((_request, response) => void response.end('inner'));
    open.push(inner);
    const { path } = await target(plainly, (_request, response) =>
      response.writeHead(307, { location: `${inner.url}/secret` }).end(),
    );
    const response = await fetch(`${hub.url}/api/federation${path}`, {
      headers: { authorization: `Bearer ${caller.token}` },
      redirect: 'manual',
    });
    expect(response.status).toBe(307);
    expect(inner.got).toEqual([]);
  });

  it('whose service states the port of another server is called at its own address all the same', async () => {
    const { upstream } = await target(plainly, (_request, response) => void response.end());
    const profile = { network: { public_url: 'http://10.0.0.1' }, services: { api: { port: upstream.port } } };
    const { nodeId } = await joinByHttp(hub, `t${++made}`, profile);
    expect((await call(hub, 'GET', `/route/${nodeId}/api/`, { token: caller.token })).status).toBe(503);
    expect(upstream.got).toEqual([]);
  });
});

describe('a signed request that is routed', () => {
  const send = async (path: string, body: string, sent = body) => {
    const url = `${hub.url}/api/federation${path}`;
    const headers = await signRequest(
      { method: 'POST', url, body, headers: { 'content-type': 'text/plain' } },
      { key: caller.key, federationId: hub.federationId },
    );
    return fetch(url, { method: 'POST', headers, body: sent });
  };

  it('leaves its signature at the door', async () => {
    const { upstream, path } = await target(plainly, (request, response) => void request.pipe(response));
    expect(await (await send(path, 'as it was signed')).text()).toBe('as it was signed');
    const { headers } = upstream.got[0]!;
    expect([headers.signature, headers['signature-input'], headers['federation-caller']]).toEqual([
      undefined,
      undefined,
      'node:caller',
    ]);
  });

  it('never reaches the target whole when its body is not the one that was signed', async () => {
    const whole: string[] = [];
    const { path } = await target(plainly, (request, response) => {
      let body = '';
      request
        .on('error', () => {})
        .on('data', (chunk: Buffer) => {
          body += chunk.toString();
        });
      request.on('end', () => {
        whole.push(body);
        response.end();
      });
    });
    const response = await send(path, 'pay 1', 'pay 9');
    expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([400, 'digest_mismatch']);
    expect(whole).toEqual([]);
  });
});
