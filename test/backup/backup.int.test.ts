/** What a backup holds and what it refuses to be: whole or nothing, checked byte by byte, at the pace of who takes it. */
import { mkdirSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeBackup } from '../../src/backup/folder.ts';
import { restore } from '../../src/backup/restore.ts';
import { backupBytes, beginBackup } from '../../src/backup/stream.ts';
import { Executor } from '../../src/commands/execute.ts';
import { readConfig } from '../../src/config.ts';
import { lockDataFolder } from '../../src/data-lock.ts';
import { encode } from '../../src/events/catalog.ts';
import { createKernel } from '../../src/kernel.ts';
import { soleLeases } from '../../src/lease.ts';
import { Retention } from '../../src/retention.ts';
import { type BackendKind, backends, freshPlace, type Opened, openBoth } from '../projections/backends.ts';
import { heartbeat, registered, tell } from '../projections/facts.ts';

const kernel = createKernel({ logLevel: 'silent' });
let folder: string;
let hub: Opened;
const drops: (() => Promise<void>)[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fedhub-backup-'));
});
afterEach(async () => {
  await hub?.close();
  for (const drop of drops.splice(0)) await drop();
  await rm(folder, { recursive: true, force: true });
});

async function place(kind: BackendKind): Promise<string> {
  const { url, drop } = await freshPlace(kind);
  drops.push(drop);
  return url;
}

/** A log with nodes and readings over several segments. */
async function source(kind: BackendKind = 'sqlite', segmentSize = 20): Promise<void> {
  hub = await openBoth(await place(kind), { segmentSize });
  for (const name of ['a', 'b', 'c']) await tell(hub.log, registered(name));
  for (let n = 0; n < 60; n++) await tell(hub.log, heartbeat('abc'[n % 3]!, n % 100));
  await tell(hub.log, { type: 'node.left', data: { node_id: 'b' } });
}

/** More readings than one page holds. */
async function manyReadings(): Promise<void> {
  const event = { type: 'heartbeat.received' as const, data: { node_id: 'a', active_tasks: 1 } };
  const readings = Array.from({ length: 2_000 }, () =>
    encode(event, { id: kernel.uuid(), time: '2026-03-01T10:00:00.000Z', meta: '{"actor":"hub"}' }),
  );
  await hub.log.append('heartbeat-a', 'any', readings);
}

const begin = () => beginBackup({ log: hub.log, views: hub.views, federationId: 'f', version: 'test' });
const nothing = () => {};
async function write(to: string) {
  return writeBackup(to, backupBytes(hub.log, await begin()), () => '2030-01-01T00:00:00.000Z', nothing);
}
const restoreTo = (url: string, from = join(folder, 'backup')) =>
  restore({
    config: readConfig({ DATABASE_URL: url }),
    kernel,
    folder: from,
    keyringFile: undefined,
    onProgress: nothing,
  });

/** Lets go of what is older than no time at all. */
async function dropReadings(): Promise<void> {
  const { log, views } = hub;
  const later = createKernel({ logLevel: 'silent' }, { now: () => Date.parse('2040-01-01') });
  const executor = await Executor.start(log, later);
  await views.read(await log.head(), async () => {});
  const config = readConfig({ FEDERATION_HEARTBEAT_DAYS: '1' });
  const lease = soleLeases(1).acquire('retention');
  await expect.poll(() => lease.held()).toBe(true);
  const retention = new Retention({ log, views, kernel: later, executor, config }, lease);
  await retention.run();
  await retention.close();
  await executor.close();
}

describe.each(backends)('of a log on %s', (kind) => {
  it.each(backends)(
    'with readings that were rolled up and dropped, restored on %s, gives the same log and views',
    async (other) => {
      await source(kind);
      await dropReadings();
      const segments = (await hub.log.segments()).map(({ from }) => from);
      expect(segments).toEqual([61]);
      for (let n = 0; n < 30; n++) await tell(hub.log, heartbeat('a', n));
      const { events, position } = await write(join(folder, 'backup'));
      expect(events).toBeLessThan(position);
      const url = await place(other);
      expect(await restoreTo(url)).toMatchObject({ same: true, incomparable: undefined });
      const restored = await openBoth(url);
      try {
        expect(restored.log.id).toBe(hub.log.id);
        expect(await restored.log.segments()).toEqual(await hub.log.segments());
        const page = await hub.log.readAll(0, 1_000);
        expect(await restored.log.readAll(0, 1_000)).toEqual(page);
        expect(await tell(restored.log, heartbeat('a'))).toBe(position + 1);
      } finally {
        await restored.close();
      }
    },
  );

  it('is given up when readings are dropped while it is read: their roll-up lies beyond its end', async () => {
    await source(kind, 500);
    await manyReadings();
    const bytes = backupBytes(hub.log, await begin());
    const first = await bytes.next();
    expect(first.done).toBe(false);
    await dropReadings();
    const rest = async function* () {
      yield first.value as Buffer;
      yield* bytes;
    };
    await expect(writeBackup(join(folder, 'backup'), rest(), () => '', nothing)).rejects.toThrow('begin again');
    expect(await readdir(join(folder, 'backup'))).toEqual([]);
  });
});

it('is read no faster than it is taken', async () => {
  await source();
  await manyReadings();
  let asked = 0;
  const counting = new Proxy(hub.log, {
    get: (log, name) => {
      if (name === 'readAll') asked++;
      const value: unknown = Reflect.get(log, name);
      return typeof value === 'function' ? value.bind(log) : value;
    },
  });
  const bytes = backupBytes(counting, await begin());
  await bytes.next();
  await kernel.sleep(100);
  expect(asked).toBe(1);
  await bytes.return(undefined);
  expect((await bytes.next()).done).toBe(true);
  expect(asked).toBe(1);
});

it('takes its log away again when the manifest cannot get its name', async () => {
  await source();
  const to = join(folder, 'backup');
  const stand = () => {
    mkdirSync(join(to, 'manifest.json'));
    return '2030-01-01T00:00:00.000Z';
  };
  await expect(writeBackup(to, backupBytes(hub.log, await begin()), stand, nothing)).rejects.toThrow('EISDIR');
  expect(await readdir(to)).toEqual(['manifest.json']);
});

it('leaves nothing that looks like a backup when it is cut short, and does not overwrite one', async () => {
  await source();
  const cut = async function* () {
    for await (const piece of backupBytes(hub.log, await begin())) {
      yield piece.subarray(0, piece.length - 10);
      return;
    }
  };
  const to = join(folder, 'backup');
  await expect(writeBackup(to, cut(), () => '', nothing)).rejects.toThrow('incomplete');
  expect(await readdir(to)).toEqual([]);
  await write(to);
  await expect(write(to)).rejects.toThrow('never overwritten');
});

describe('restoring', () => {
  const log = () => join(folder, 'backup', 'log.ndjson.gz');
  const rewrite = async (change: (lines: string[]) => string[]) => {
    const lines = gunzipSync(await readFile(log()))
      .toString()
      .split('\n');
    await writeFile(log(), gzipSync(change(lines).join('\n')));
  };
  const damages: [what: string, damage: () => Promise<void>, why: string][] = [
    [
      'one letter of one event is another',
      () =>
        rewrite((lines) => lines.map((line, at) => (at === 3 ? line.replace('"time":"2026', '"time":"2025') : line))),
      'the hash over the events',
    ],
    ['an event is missing', () => rewrite((lines) => lines.toSpliced(5, 1)), 'there are 63 events'],
    ['two events changed places', () => rewrite(([a, b, c, ...rest]) => [a!, c!, b!, ...rest]), 'out of order'],
    ['the end is missing', () => rewrite((lines) => lines.slice(0, -2)), 'incomplete'],
    ['the file is cut', async () => writeFile(log(), (await readFile(log())).subarray(0, -20)), 'cannot be unpacked'],
    ['the file is not there', () => rm(log()), 'there is no'],
    [
      'the manifest is of another backup',
      async () => {
        const path = join(folder, 'backup', 'manifest.json');
        await writeFile(path, (await readFile(path, 'utf8')).replace('"position": 64', '"position": 65'));
      },
      'another position',
    ],
  ];

  it.each(damages)('refuses a backup of which %s, and leaves the place empty', async (_what, damage, why) => {
    await source();
    await write(join(folder, 'backup'));
    await damage();
    const url = await place('sqlite');
    await expect(restoreTo(url)).rejects.toThrow(why);
    expect((await readdir(url.slice('sqlite:'.length))).filter((name) => name !== 'lock.db')).toEqual([]);
  });

  it.each(backends)('leaves an empty place on %s when it finds the damage', async (kind) => {
    await source();
    await write(join(folder, 'backup'));
    await rewrite((lines) => lines.toSpliced(5, 1));
    const url = await place(kind);
    await expect(restoreTo(url)).rejects.toThrow();
    const opened = await openBoth(url);
    expect(await opened.log.head()).toBe(0);
    expect(opened.log.id).not.toBe(hub.log.id);
    await opened.close();
  });

  it('refuses a folder that a hub holds', async () => {
    await source();
    await write(join(folder, 'backup'));
    const url = await place('sqlite');
    const lock = lockDataFolder(url.slice('sqlite:'.length));
    await expect(restoreTo(url)).rejects.toThrow('another hub is running');
    lock.release();
    expect(await restoreTo(url)).toMatchObject({ same: true });
  });

  it('says that views do not agree, where the backup promised others', async () => {
    await source();
    const { views_digest } = await write(join(folder, 'backup'));
    const other = 'f'.repeat(64);
    await rewrite((lines) => lines.map((line, at) => (at === 0 ? line.replace(views_digest!, other) : line)));
    const path = join(folder, 'backup', 'manifest.json');
    await writeFile(path, (await readFile(path, 'utf8')).replace(views_digest!, other));
    expect(await restoreTo(await place('sqlite'))).toMatchObject({ same: false, digest: views_digest });
  });
});
