/** Files while things break: a hub or a replica that is killed in the middle, a gigabyte through little memory, a disk that is full. */
import { createHash, randomBytes } from 'node:crypto';
import { createWriteStream, readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { FederationNode, generateKey } from '../../src/client/node.ts';
import { defects, joinByHttp } from '../security/visitor.ts';
import { ask, begin, fetchBytes, send, sha256 } from '../services/tus.ts';
import { freePort } from '../setup/free-port.ts';
import { startTestHub } from '../setup/hub.ts';
import { startHubProcess } from '../setup/hub-process.ts';
import { noLimits } from '../setup/no-limits.ts';
import { mountSmallDisk } from '../setup/small-disk.ts';

const mebibyte = 1024 * 1024;
const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const aFolder = async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-files-'));
  stops.push(() => rm(folder, { recursive: true, force: true }));
  return folder;
};
const liesIn = async (store: string) =>
  (await readdir(store, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map(({ name }) => name);

/** A stream that brings bytes at a pace, so that there is a middle to break in. */
async function* slowly(bytes: Buffer, everyMs: number): AsyncGenerator<Buffer> {
  for (let from = 0; from < bytes.length; from += 256 * 1024) {
    yield bytes.subarray(from, from + 256 * 1024);
    await new Promise((next) => setTimeout(next, everyMs));
  }
}

describe('an upload', () => {
  it('goes on by the SDK where it was when the hub was killed and comes back, and a download does too', async () => {
    const cwd = await aFolder();
    const env = { PORT: String(await freePort()), ...noLimits, FEDERATION_LIMIT_MEGABYTES: '600' };
    let hub = await startHubProcess(cwd, env);
    stops.push(() => hub.child.kill('SIGKILL'));
    const node = new FederationNode({ url: hub.url, nodeId: 'ada', key: await generateKey() });
    stops.push(() => node.close());
    await node.connect();
    const bytes = randomBytes(64 * mebibyte);
    const source = path.join(cwd, 'source');
    await pipeline(Readable.from([bytes]), createWriteStream(source));
    const restart = async () => {
      hub.child.kill('SIGKILL');
      await hub.exited;
      hub = await startHubProcess(cwd, env);
    };
    let restarting: Promise<void> | undefined;
    const seen: number[] = [];
    const sent = await node.files.put(source, {
      to: { everyone: true },
      onProgress: (done) => {
        seen.push(done);
        if (done > 20 * mebibyte) restarting ??= restart();
      },
    });
    await restarting;
    expect(sent.sha256).toBe(sha256(bytes));
    let again: Promise<void> | undefined;
    const target = path.join(cwd, 'target');
    await node.files.get(sent.fileId, target, {
      onProgress: (done) => {
        if (done > 10 * mebibyte) again ??= restart();
      },
    });
    await again;
    expect(createHash('sha256').update(readFileSync(target)).digest('hex')).toBe(sent.sha256);
    expect(await liesIn(path.join(cwd, 'data/files'))).toEqual([sent.sha256]);
    expect(defects(hub.stderr())).toEqual([]);
  });

  it('goes on at another replica when the one where it was begun is killed in the middle', async () => {
    const store = `file:${await aFolder()}/store`;
    const [first, second] = await (async () => {
      const one = await startTestHub({ database: 'postgres', env: { FEDERATION_FILES_URL: store } });
      const other = await startTestHub({ env: { DATABASE_URL: one.databaseUrl!, FEDERATION_FILES_URL: store } });
      return [one, other];
    })();
    stops.push(() => first.kill());
    stops.push(() => second.kill());
    const { token } = await joinByHttp(first, 'ada');
    const bytes = randomBytes(16 * mebibyte);
    const values = { to: 'everyone', sha256: sha256(bytes) };
    const { id } = await begin({ url: first.url, token }, bytes.length, values);
    const sending = send({ url: first.url, token }, id, 0, Readable.toWeb(Readable.from(slowly(bytes, 20))) as never);
    const broken = expect(sending).rejects.toThrow();
    await vi.waitFor(async () => {
      const [upload] = await readdir(path.join(store.slice('file:'.length), 'staging'));
      expect((await stat(path.join(store.slice('file:'.length), 'staging', upload!))).size).toBeGreaterThan(
        2 * mebibyte,
      );
    }, 10_000);
    process.kill(first.pid, 'SIGKILL');
    await broken;
    const at = { url: second.url, token };
    // The dead one's lock is over within seconds.
    const { offset } = await vi.waitFor(async () => {
      const told = await ask(at, 'HEAD', `/files/${id}`);
      expect(told.status).toBe(200);
      return told;
    }, 15_000);
    expect(offset).toBeGreaterThan(2 * mebibyte);
    expect((await send(at, id, offset, bytes.subarray(offset))).status).toBe(204);
    expect((await fetchBytes(at, id)).bytes.equals(bytes)).toBe(true);
    expect(await liesIn(store.slice('file:'.length))).toEqual([sha256(bytes)]);
  });
});

it('what a crash left in the store is swept: uploads that nobody goes on with, bytes that no file has', async () => {
  const cwd = await aFolder();
  const env = { PORT: '0', ...noLimits, FEDERATION_FILE_UPLOAD_HOURS: '0.001' };
  const hub = await startHubProcess(cwd, env);
  const { token } = await joinByHttp({ ...hub, adminToken: hub.adminToken! }, 'ada');
  const begun = await begin({ url: hub.url, token }, 1_000, { to: 'everyone' });
  await send({ url: hub.url, token }, begun.id, 0, randomBytes(500));
  hub.child.kill('SIGKILL');
  await hub.exited;
  const store = path.join(cwd, 'data/files');
  const { mkdir, writeFile } = await import('node:fs/promises');
  await mkdir(path.join(store, 'blobs/aa'), { recursive: true });
  await writeFile(path.join(store, 'blobs/aa', 'a'.repeat(64)), 'nobody names it');
  await writeFile(path.join(store, 'staging/01a20000-0000-7000-8000-000000000001'), 'nobody began it');
  // As NFS calls a file that was removed while somebody had it open, and a desktop its notes.
  const foreign = ['.DS_Store', '.nfs000000000001', '.nfs000000000002'];
  for (const name of ['blobs/.DS_Store', 'blobs/aa/.nfs000000000001', 'staging/.nfs000000000002'])
    await writeFile(path.join(store, name), '');
  const back = await startHubProcess(cwd, env);
  stops.push(() => back.child.kill('SIGKILL'));
  await vi.waitFor(async () => expect((await liesIn(store)).sort()).toEqual(foreign), 20_000);
  expect((await ask({ url: back.url, token }, 'HEAD', `/files/${begun.id}`)).status).toBe(404);
});

it('a gigabyte goes up and down, and the hub grows by less than 100 MiB', async () => {
  const hub = await startTestHub();
  stops.push(() => hub.kill());
  const at = { url: hub.url, token: hub.adminToken };
  const size = 1024 * mebibyte;
  const chunk = randomBytes(mebibyte);
  const hash = createHash('sha256');
  for (let n = 0; n < 1024; n++) hash.update(chunk);
  const expected = hash.digest('hex');
  const resident = () => Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${hub.pid}/status`, 'utf8'))![1]) / 1_024;
  // A small file first: what is loaded at the first is loaded by then.
  const small = await begin(at, 10, { to: 'everyone' });
  await send(at, small.id, 0, randomBytes(10));
  await fetchBytes(at, small.id);
  const before = resident();
  let most = before;
  const watch = setInterval(() => {
    most = Math.max(most, resident());
  }, 100);
  stops.push(() => clearInterval(watch));
  const { id } = await begin(at, size, { to: 'everyone', sha256: expected });
  let left = 1024;
  const body = new ReadableStream({
    pull(controller) {
      if (left-- > 0) controller.enqueue(chunk);
      else controller.close();
    },
  });
  expect((await send(at, id, 0, body)).offset).toBe(size);
  const response = await fetch(`${hub.url}/api/federation/files/${id}`, {
    headers: { authorization: `Bearer ${hub.adminToken}` },
  });
  const got = createHash('sha256');
  for await (const part of response.body!) got.update(part as Uint8Array);
  expect(got.digest('hex')).toBe(expected);
  expect(most - before).toBeLessThan(100);
});

it('a disk that is full refuses the upload, keeps nothing of it, and takes it when there is room', async () => {
  const disk = mountSmallDisk(32);
  stops.push(() => disk.remove());
  const hub = await startTestHub({ env: { FEDERATION_FILES_URL: `file:${disk.folder}/store` } });
  stops.push(() => hub.kill());
  const at = { url: hub.url, token: hub.adminToken };
  const bytes = randomBytes(8 * mebibyte);
  disk.fill(4 * mebibyte);
  const { id } = await begin(at, bytes.length, { to: 'everyone' });
  expect((await send(at, id, 0, bytes)).code).toBe('storage_full');
  expect((await ask(at, 'HEAD', `/files/${id}`)).status).toBe(404);
  expect(await liesIn(path.join(disk.folder, 'store'))).toEqual([]);
  disk.free();
  const again = await begin(at, bytes.length, { to: 'everyone' });
  expect((await send(at, again.id, 0, bytes)).status).toBe(204);
  expect((await fetchBytes(at, again.id)).bytes.equals(bytes)).toBe(true);
  expect(defects(hub.stderr())).toEqual([]);
});
