/** Who takes a stream slowly keeps it; who takes nothing loses it. Real sockets, and a clock that the test moves. */
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { afterEach, expect, it } from 'vitest';
import { createKernel } from '../../src/kernel.ts';
import { passOn } from '../../src/services/nexus-api/pass-on.ts';
import { cutWhenStuck } from '../../src/services/nexus-api/stuck-readers.ts';

let now = 0;
const looks = new Set<() => void>();
const kernel = createKernel(
  { logLevel: 'silent' },
  {
    monotonicMs: () => now,
    every(_ms, look) {
      looks.add(look);
      return () => looks.delete(look);
    },
  },
);
const passMinute = () => {
  for (let second = 0; second < 70; second += 10) {
    now += 10_000;
    for (const look of looks) look();
  }
};

const server = createServer((request, response) => {
  cutWhenStuck(kernel, response);
  if (request.url === '/silent') return void response.write('begun');
  Readable.from(endless(), { objectMode: false })
    .on('error', () => {})
    .pipe(response);
});
function* endless() {
  for (;;) yield Buffer.alloc(64 * 1024);
}

const readers: Socket[] = [];
afterEach(() => {
  for (const reader of readers.splice(0)) reader.destroy();
  server.close();
});

async function read(path: string): Promise<Socket & { over: boolean }> {
  if (!server.listening) await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const socket = Object.assign(connect((server.address() as AddressInfo).port, '127.0.0.1'), { over: false });
  readers.push(socket);
  socket
    .on('error', () => {})
    .on('close', () => {
      socket.over = true;
    });
  socket.write(`GET ${path} HTTP/1.1\r\nhost: h\r\n\r\n`);
  await new Promise((done) => socket.once('data', done));
  socket.pause();
  return socket;
}

it('cuts a reader that takes nothing for a minute, and no other', async () => {
  const [stopped, slow, waiting] = [await read('/'), await read('/'), await read('/silent')];
  await new Promise((done) => setTimeout(done, 300)); // until the system's buffers are full
  for (let minute = 0; minute < 3; minute++) {
    let taken = 0;
    const begun = new Promise<void>((done) =>
      slow.on('data', (chunk: Buffer) => {
        taken += chunk.length;
        if (taken <= 8_000_000) return;
        slow.pause();
        done();
      }),
    );
    slow.resume();
    await begun;
    slow.removeAllListeners('data');
    await new Promise((done) => setTimeout(done, 100));
    now += 30_000;
    for (const look of looks) look();
  }
  stopped.resume(); // only one who reads on hears of the end
  await expect.poll(() => stopped.over).toBe(true);
  expect(slow.over).toBe(false);
  passMinute();
  await new Promise((done) => setTimeout(done, 100));
  expect(waiting.over).toBe(false);
  slow.resume();
  await expect.poll(() => slow.over).toBe(true);
  expect(looks.size).toBe(1);
});

it('one who left before the answer began is not watched', async () => {
  const left = createServer((_request, response) => {
    response.once('close', () => {
      cutWhenStuck(kernel, response);
      watched = looks.size;
    });
  }).listen(0, '127.0.0.1');
  await new Promise((done) => left.once('listening', done));
  looks.clear();
  let watched: number | undefined;
  const reader = connect((left.address() as AddressInfo).port, '127.0.0.1', () =>
    reader.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n'),
  );
  left.once('request', () => reader.destroy());
  await expect.poll(() => watched).toBe(0);
  left.close();
});

it('an answer that was all there at once is cut as well when nobody takes it', async () => {
  const whole = Buffer.alloc(16 * 1024 * 1024);
  const sender = createServer((_request, response) => {
    const body = new Readable({ read() {} });
    body.push(whole);
    body.push(null);
    const headers = { 'content-length': String(whole.length) };
    response.writeHead(200, headers);
    void passOn(kernel, { headers, body }, response, () => {}).then(() => {
      over = true;
    });
  }).listen(0, '127.0.0.1');
  await new Promise((done) => sender.once('listening', done));
  let over = false;
  const reader = connect((sender.address() as AddressInfo).port, '127.0.0.1', () =>
    reader.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n'),
  );
  readers.push(reader.on('error', () => {}));
  await new Promise((done) => reader.once('data', done));
  reader.pause();
  await new Promise((done) => setTimeout(done, 300)); // until the system's buffers are full
  expect(over).toBe(false);
  passMinute();
  await expect.poll(() => over).toBe(true);
  sender.close();
});
