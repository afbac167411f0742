/** The door as the meter and the audit log see it, from whole processes: peers that are gone, bodies without a length, many exports. */
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { call, joinByHttp } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

const errorLevel = 50;

describe('the door', () => {
  let hub: TestHub;
  beforeAll(async () => {
    hub = await startTestHub({ env: { FEDERATION_LIMIT_MEGABYTES: '1' } }); // so little that what is used does not leak away at once
  });
  afterAll(() => hub.stop());

  const errors = () =>
    hub
      .stderr()
      .split('\n')
      .filter((line) => line.startsWith('{') && (JSON.parse(line) as { level: number }).level >= errorLevel);

  it('says nothing of peers that reset, and goes on', async () => {
    const line = 'GET /api/federation/nodes HTTP/1.1\r\nhost: hub\r\n\r\n';
    for (let round = 0; round < 100; round++) {
      await new Promise<void>((done) => {
        const socket = connect(hub.port, '127.0.0.1', () => {
          socket.write(line.repeat(30), () => socket.resetAndDestroy());
        });
        socket.on('error', () => {}).on('close', () => done());
      });
    }
    await new Promise((done) => setTimeout(done, 1_500));
    expect(errors()).toEqual([]);
    expect((await call(hub, 'GET', '/nodes', { token: hub.adminToken })).status).toBe(200);
    expect(errors()).toEqual([]);
  });

  it('counts bytes of a body that came in chunks, also of one that is no JSON or longer than it may be', async () => {
    const ada = await joinByHttp(hub, 'ada');
    const used = async () => {
      const { body } = await call(hub, 'GET', '/limits/ada', { token: hub.adminToken });
      const { usage } = body as unknown as { usage: { limit: string; used: number }[] };
      return usage.find(({ limit }) => limit === 'megabytes')!.used;
    };
    const before = await used();
    const send = (text: string) =>
      fetch(`${hub.url}/api/federation/nodes/ada`, {
        method: 'PATCH',
        headers: { authorization: `Bearer ${ada.token}`, 'content-type': 'application/json' },
        body: new Blob([text]).stream(),
        duplex: 'half',
      } as RequestInit);
    expect((await send(`{${' '.repeat(200_000)}`)).status).toBe(400);
    expect((await send(`{${' '.repeat(200_000)}}`)).status).toBe(200);
    expect((await used()) - before).toBeGreaterThan(0.39);
  });

  it('does not keep a connection waiting for a body in chunks that nobody reads', async () => {
    const text = 'x'.repeat(100_000);
    const answers = await new Promise<string>((done, fail) => {
      let said = '';
      const socket = connect(hub.port, '127.0.0.1', () => {
        const body = `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`;
        socket.write(`GET /health/live HTTP/1.1\r\nhost: hub\r\ntransfer-encoding: chunked\r\n\r\n${body}`);
        socket.write('GET /api/federation/nodes HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n');
      });
      socket.setTimeout(4_000, () => socket.destroy(new Error(`no answer after: ${said}`)));
      socket.on('data', (bytes) => {
        said += bytes;
      });
      socket.on('error', fail).on('close', () => done(said));
    });
    expect(answers.match(/HTTP\/1\.1 /g)).toHaveLength(2);
  });
});
