/** How the SDK goes on with an upload: for as long as the hub is not away too long in a row, whatever breaks. */
import { getEventListeners } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { processClock } from '../../src/client/clock.ts';
import { Files } from '../../src/client/files.ts';

const minuteMs = 60_000;
const size = 500_000;
let folder: string;
let server: Server;
let there = 0;
let cuts = 0;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'fedhub-upload-'));
  await writeFile(path.join(folder, 'source'), Buffer.alloc(size));
  [there, cuts] = [0, 0];
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true, force: true });
});

/** Takes uploads over a line that breaks after so many bytes, each time. */
async function startFlaky(breaksAfter: number): Promise<string> {
  server = createServer((request, response) => {
    response.setHeader('tus-resumable', '1.0.0');
    if (request.method === 'POST') {
      response.writeHead(201, { location: '/api/federation/files/one' }).end();
    } else if (request.method === 'HEAD') {
      response.writeHead(200, { 'upload-offset': there, 'upload-length': size }).end();
    } else {
      let came = 0;
      request.on('error', () => {});
      request.on('data', (chunk: Buffer) => {
        came += chunk.length;
        there += chunk.length;
        if (came < breaksAfter || there >= size) return;
        cuts++;
        request.removeAllListeners('data');
        request.socket.destroy();
      });
      request.on('end', () => response.writeHead(204, { 'upload-offset': there }).end());
    }
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

it('goes on over many cuts, minutes apart, as long as bytes come through between them', async () => {
  const url = await startFlaky(100_000);
  const clock = { ...processClock, monotonicMs: () => cuts * 4 * minuteMs };
  const files = new Files({ url, clock, token: () => 'good' });
  await files.put(path.join(folder, 'source'), { to: 'bob', patienceMs: 5 * minuteMs });
  expect([there, cuts]).toEqual([size, expect.any(Number)]);
  expect(cuts).toBeGreaterThan(2);
});

it('gives up a hub of which nothing comes back for longer than its patience', async () => {
  const url = await startFlaky(100_000);
  server.removeAllListeners('request').on('request', (request) => {
    cuts++;
    request.socket.destroy();
  });
  const clock = { ...processClock, monotonicMs: () => cuts * 4 * minuteMs };
  const files = new Files({ url, clock, token: () => 'good' });
  const put = files.put(path.join(folder, 'source'), { to: 'bob', patienceMs: 5 * minuteMs });
  await expect(put).rejects.toMatchObject({ name: 'HubUnreachable' });
  expect(cuts).toBeLessThan(5);
});

it('forgets the signal when it is done', async () => {
  const url = await startFlaky(size);
  const { signal } = new AbortController();
  const files = new Files({ url, clock: processClock, token: () => 'good' });
  await files.put(path.join(folder, 'source'), { to: 'bob', signal });
  expect(getEventListeners(signal, 'abort')).toEqual([]);
});
