/** What somebody may try with files: names that are paths, files of others, ranges and offsets that lie, bytes that are more, or others, than were said. */
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { signRequest } from '../../src/client/signed-request.ts';
import { ask, begin, fetchBytes, metadataOf, send, sha256, upload } from '../services/tus.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { call, defects, joinByHttp, type Visitor } from './visitor.ts';

let hub: TestHub;
let ada: Visitor;
let bob: Visitor;
let eve: Visitor;

beforeAll(async () => {
  hub = await startTestHub({ env: { FEDERATION_FILE_MEGABYTES: '1' } });
  [ada, bob, eve] = [await joinByHttp(hub, 'ada'), await joinByHttp(hub, 'bob'), await joinByHttp(hub, 'eve')];
});
afterAll(async () => {
  expect(defects(hub.stderr())).toEqual([]);
  await hub.stop();
});

const at = ({ token }: { token: string }) => ({ url: hub.url, token });
const everyone = { to: 'everyone' };

it.each([
  '../../etc/passwd',
  '..',
  '/etc/passwd',
  'a\\b',
  'a\0b',
  'a\r\nset-cookie: x=1',
  'gpj.\u202eexe',
  'x'.repeat(300),
  ' ',
])('refuses the name %j', async (filename) => {
  expect((await begin(at(ada), 1, { ...everyone, filename })).code).toBe('invalid_input');
});

it.each([
  ['without anybody it is for', { filename: 'x' }],
  ['for nobody that could be', { to: 'nobody' }],
  ['for two at once', { to: '{"node":"bob","everyone":true}' }],
  ['with a hash that is none', { ...everyone, sha256: 'abc' }],
  ['with a type that is none', { ...everyone, filetype: 'text/html\r\nx: y' }],
  ['with an end that is over', { ...everyone, expires_at: '2020-01-01T00:00:00Z' }],
  ['with words that nobody knows', { ...everyone, color: 'red' }],
  ['with a way into prototypes', { ...everyone, __proto__x: 'y' }],
])('refuses metadata %s', async (_what, values: Record<string, string>) => {
  expect((await begin(at(ada), 1, values)).code).toBe('invalid_input');
});

it.each([
  'to',
  'to !!!',
  'to ZXZlcnlvbmU=,to ZXZlcnlvbmU=',
  'to ZXZlcnlvbmU= x',
  '',
  `to ${'A'.repeat(5_000)}`,
  'to gICA',
])('refuses the header %j', async (header) => {
  const told = await ask(at(ada), 'POST', '/files', { 'upload-length': '1', 'upload-metadata': header });
  expect(told.code).toBe('invalid_input');
});

it.each(['-1', '1e3', '0x10', '1.5', '', '9'.repeat(15), `${1024 * 1024 + 1}`, 'NaN'])(
  'refuses the length %j',
  async (length) => {
    const told = await ask(at(ada), 'POST', '/files', {
      'upload-length': length,
      'upload-metadata': metadataOf(everyone),
    });
    expect(told.code).toMatch(/^(invalid_input|payload_too_large)$/);
  },
);

it('refuses a length that is said later, and uploads that are put together', async () => {
  const metadata = { 'upload-metadata': metadataOf(everyone) };
  expect((await ask(at(ada), 'POST', '/files', { 'upload-defer-length': '1', ...metadata })).code).toBe(
    'invalid_input',
  );
  const partial = { 'upload-concat': 'partial', 'upload-length': '1', ...metadata };
  const told = await ask(at(ada), 'POST', '/files', partial);
  expect(told.code).toBe('invalid_input');
});

it('lets nobody but its owner see, fill or end an upload, and nobody but those it is for have the file', async () => {
  const bytes = Buffer.from('for bob alone');
  const { id } = await begin(at(ada), bytes.length, { to: 'node:bob' });
  for (const other of [bob, eve]) {
    expect((await ask(at(other), 'HEAD', `/files/${id}`)).status).toBe(404);
    expect((await send(at(other), id, 0, bytes)).code).toBe('not_found');
    expect((await ask(at(other), 'DELETE', `/files/${id}`)).code).toBe('not_found');
    expect((await fetchBytes(at(other), id)).code).toBe('not_found');
  }
  expect((await send(at(ada), id, 0, bytes)).status).toBe(204);
  expect((await fetchBytes(at(eve), id)).code).toBe('not_found');
  expect((await call(hub, 'GET', `/files/${id}/info`, { token: eve.token })).body.code).toBe('not_found');
  expect((await ask(at(eve), 'DELETE', `/files/${id}`)).code).toBe('not_found');
  expect((await ask(at(bob), 'DELETE', `/files/${id}`)).code).toBe('forbidden');
  expect((await fetchBytes(at(bob), id)).bytes.equals(bytes)).toBe(true);
  const { body } = await call(hub, 'GET', `/files/${id}/info`, { token: bob.token });
  expect(body.file).not.toHaveProperty('fetches');
});

it('tells nobody whether a hash is there: who names one brings the bytes', async () => {
  const bytes = randomBytes(1_000);
  await upload(at(ada), bytes, { to: 'node:bob', sha256: sha256(bytes) });
  const { id, offset, status } = await begin(at(eve), bytes.length, { to: 'node:eve', sha256: sha256(bytes) });
  expect([status, offset]).toEqual([201, 0]);
  expect((await ask(at(eve), 'HEAD', `/files/${id}`)).offset).toBe(0);
  expect((await send(at(eve), id, 0, randomBytes(1_000))).code).toBe('hash_mismatch');
});

it('takes bytes only where the upload ends, and no more than were said', async () => {
  const { id } = await begin(at(ada), 100, everyone);
  expect((await send(at(ada), id, 0, randomBytes(40))).offset).toBe(40);
  for (const offset of [0, 39, 41, 100])
    expect((await send(at(ada), id, offset, randomBytes(1))).code).toBe('offset_mismatch');
  expect((await send(at(ada), id, 40, randomBytes(61))).code).toBe('payload_too_large');
  for (const offset of ['-1', 'x', '1e2', ''])
    expect((await send(at(ada), id, 0, randomBytes(1), { 'upload-offset': offset })).code).toBe('invalid_input');
  expect((await send(at(ada), id, 40, randomBytes(10), { 'upload-length': '1000' })).code).toBe('invalid_input');
  expect((await ask(at(ada), 'HEAD', `/files/${id}`)).offset).toBeLessThanOrEqual(50);
});

it('takes no more than were said of a body that does not say its length', async () => {
  const { id } = await begin(at(ada), 1_000, everyone);
  const endless = new ReadableStream({
    pull(controller) {
      controller.enqueue(randomBytes(64 * 1024));
    },
  });
  const told = await send(at(ada), id, 0, endless).catch(() => ({ code: 'cut' }));
  expect(told.code).toMatch(/payload_too_large|cut/);
  const { offset, status } = await ask(at(ada), 'HEAD', `/files/${id}`);
  expect([status, offset <= 1_000]).toEqual([200, true]);
});

it('wants tus in so many words, and the type of its bytes', async () => {
  const { id } = await begin(at(ada), 10, everyone);
  expect((await send(at(ada), id, 0, '1', { 'content-type': 'application/json' })).code).toBe('unsupported_media_type');
  const older = await send(at(ada), id, 0, '1', { 'tus-resumable': '0.2.2' });
  expect([older.status, older.code, older.headers.get('tus-version')]).toEqual([412, 'tus_unsupported', '1.0.0']);
  expect((await call(hub, 'POST', '/files', { token: ada.token })).body.code).toBe('tus_unsupported');
});

it('says until when bytes may come, and tells of what is all there for as long as it is kept', async () => {
  const short = await begin(at(ada), 10, { ...everyone, ttl: '60' });
  const secondsLeft = (Date.parse(short.headers.get('upload-expires')!) - Date.now()) / 1_000;
  expect(secondsLeft).toBeGreaterThan(0);
  expect(secondsLeft).toBeLessThanOrEqual(61);
  const hasty = await startTestHub({ env: { FEDERATION_FILE_UPLOAD_HOURS: '0.0003' } });
  const operator = { url: hasty.url, token: hasty.adminToken };
  const id = await upload(operator, Buffer.from('all there'), everyone);
  await new Promise((over) => setTimeout(over, 1_200));
  const told = await ask(operator, 'HEAD', `/files/${id}`);
  expect([told.status, told.offset]).toEqual([200, 9]);
  await hasty.stop();
});

it('answers ranges as they are, and no range many times over', async () => {
  const bytes = randomBytes(10_000);
  const id = await upload(at(ada), bytes, everyone);
  const etag = `"${sha256(bytes)}"`;
  const asked = async (range: string, more = {}) => {
    const { status, bytes: got, code, headers } = await fetchBytes(at(bob), id, { range, ...more });
    return code === '' ? [status, got.length] : [status, code, headers.get('content-range')];
  };
  expect(await asked('bytes=0-0')).toEqual([206, 1]);
  expect(await asked('bytes=-1')).toEqual([206, 1]);
  expect(await asked('bytes=9999-999999999')).toEqual([206, 1]);
  expect(await asked('bytes=-99999')).toEqual([206, 10_000]);
  for (const beyond of ['bytes=10000-', 'bytes=-0', 'bytes=99999999999999-'])
    expect(await asked(beyond)).toEqual([416, 'range_not_satisfiable', 'bytes */10000']);
  for (const none of [`bytes=${'0-,'.repeat(1_000)}0-`, 'bytes=5-2', 'bytes=a-b', 'lines=0-1', 'bytes=0-0,1-1'])
    expect(await asked(none)).toEqual([200, 10_000]);
  expect(await asked('bytes=0-0', { 'if-range': etag })).toEqual([206, 1]);
  for (const changed of ['"other"', `W/${etag}`, 'Mon, 23 Nov 2026 00:00:00 GMT'])
    expect(await asked('bytes=0-0', { 'if-range': changed })).toEqual([200, 10_000]);
  expect((await fetchBytes(at(bob), id, { 'if-none-match': etag })).status).toBe(304);
  const head = await fetch(`${hub.url}/api/federation/files/${id}`, {
    method: 'HEAD',
    headers: { authorization: `Bearer ${bob.token}` },
  });
  expect([head.status, head.headers.get('content-length'), head.headers.get('etag')]).toEqual([200, '10000', etag]);
});

it('gives out what calls itself a page as something to be saved, whatever its name', async () => {
  const id = await upload(at(ada), Buffer.from('<script>'), {
    ...everyone,
    filetype: 'text/html',
    filename: `"; ümläut'(1)*.html`,
  });
  const { headers } = await fetchBytes(at(bob), id);
  expect(headers.get('content-disposition')).toBe(
    `attachment; filename="_; _ml_ut'(1)*.html"; filename*=UTF-8''%22%3B%20%C3%BCml%C3%A4ut%27%281%29%2A.html`,
  );
  expect(headers.get('content-security-policy')).toContain('sandbox');
  expect(headers.get('x-content-type-options')).toBe('nosniff');
});

it('judges at delivery: the banned get nothing, nor does anybody get what they sent', async () => {
  const mallory = await joinByHttp(hub, 'mallory');
  const [to, from] = [
    await upload(at(ada), randomBytes(10), { to: 'node:mallory' }),
    await upload(at(mallory), randomBytes(10), { to: 'node:bob' }),
  ];
  const ban = { token: hub.adminToken, body: { reason: 'test' } };
  expect((await call(hub, 'POST', '/governance/bans/mallory', ban)).status).toBeLessThan(300);
  expect((await fetchBytes(at(mallory), to)).status).toBeGreaterThanOrEqual(401);
  await vi.waitFor(async () => expect((await fetchBytes(at(bob), from)).code).toBe('forbidden'));
});

it('judges while bytes come: what the banned were sending is cut, and never all there', async () => {
  const trent = await joinByHttp(hub, 'trent');
  const bytes = randomBytes(1_000);
  const { id } = await begin(at(trent), bytes.length, everyone);
  const lying = async () => (await ask(at(trent), 'HEAD', `/files/${id}`)).offset;
  async function* slowly() {
    yield bytes.subarray(0, 500);
    await new Promise(() => {}); // until it is cut
  }
  const sending = send(at(trent), id, 0, Readable.toWeb(Readable.from(slowly())) as never).then(
    () => 'taken',
    () => 'cut',
  );
  const late = new Promise((tell) => setTimeout(tell, 5_000, 'going on'));
  await new Promise((begun) => setTimeout(begun, 300));
  const ban = { token: hub.adminToken, body: { reason: 'test' } };
  expect((await call(hub, 'POST', '/governance/bans/trent', ban)).status).toBeLessThan(300);
  expect(await Promise.race([sending, late])).toBe('cut');
  expect((await call(hub, 'DELETE', '/governance/bans/trent', { token: hub.adminToken })).status).toBeLessThan(300);
  await vi.waitFor(async () => expect(await lying()).toBeLessThanOrEqual(500));
});

it('takes from the allowance of whoever fetches what went over the wire, once, and nothing for HEAD', async () => {
  const fay = await joinByHttp(hub, 'fay');
  const bytes = randomBytes(1024 * 1024);
  const id = await upload(at(ada), bytes, everyone);
  const limits = { token: hub.adminToken, body: { megabytes: 2 } };
  expect((await call(hub, 'PUT', '/limits/fay', limits)).status).toBe(200);
  await expect
    .poll(async () => (await call(hub, 'GET', '/limits/fay', { token: hub.adminToken })).body.limits)
    .toMatchObject({ megabytes: 2 });
  expect((await fetchBytes(at(fay), id)).bytes.equals(bytes)).toBe(true);
  await new Promise((settled) => setTimeout(settled, 100));
  expect((await call(hub, 'GET', '/files', { token: fay.token })).status).toBe(200);
  const authorization = `Bearer ${fay.token}`;
  for (let times = 0; times < 4; times++) {
    const head = await fetch(`${hub.url}/api/federation/files/${id}`, { method: 'HEAD', headers: { authorization } });
    expect([head.status, head.headers.get('content-length')]).toEqual([200, String(bytes.length)]);
  }
});

it('takes what is signed, and nothing whose digest or whose words are others than were signed', async () => {
  const signed = async (
    method: string,
    path: string,
    headers: Record<string, string>,
    body: Buffer<ArrayBuffer>,
    sent = body,
  ) => {
    const url = `${hub.url}/api/federation${path}`;
    const request = { method, url, headers: { 'tus-resumable': '1.0.0', ...headers }, body };
    const all = await signRequest(request, { key: ada.key, federationId: hub.federationId });
    return (changed: Record<string, string> = {}) =>
      fetch(url, { method, headers: { ...all, ...changed }, body: sent });
  };
  const bytes = randomBytes(300_000);
  const type = { 'content-type': 'application/offset+octet-stream' };
  const creation = { ...type, 'upload-length': '300000', 'upload-metadata': metadataOf(everyone) };
  const whole = await signed('POST', '/files', creation, bytes);
  const made = await whole();
  expect([made.status, made.headers.get('upload-offset')]).toEqual([201, '300000']);
  expect((await whole()).status).toBe(401);
  const other = await signed('POST', '/files', creation, bytes);
  expect((await other({ 'upload-metadata': metadataOf({ to: 'node:eve' }) })).status).toBe(401);
  const { id } = await begin(at(ada), bytes.length, everyone);
  const changed = Buffer.from(bytes);
  changed[7]! ^= 1;
  const bad = await signed('PATCH', `/files/${id}`, { ...type, 'upload-offset': '0' }, bytes, changed);
  expect(((await (await bad()).json()) as { code: string }).code).toBe('digest_mismatch');
  expect((await ask(at(ada), 'HEAD', `/files/${id}`)).status).toBe(404);
});

it('is not held up by bodies that nobody wants', async () => {
  const socket = connect(hub.port, '127.0.0.1');
  let said = '';
  socket.on('data', (text) => {
    said += String(text);
  });
  socket.on('error', () => {});
  socket.write(
    `POST /api/federation/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${ada.token}\r\ntus-resumable: 1.0.0\r\ncontent-type: application/offset+octet-stream\r\nupload-length: 100\r\nupload-metadata: none\r\ncontent-length: 100000000\r\n\r\n`,
  );
  await vi.waitFor(() => expect(said).toContain('invalid_input'));
  await vi.waitFor(() => expect(socket.destroyed || socket.readableEnded).toBe(true), 10_000);
});
