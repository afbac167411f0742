/** Files up and down, one large one and many small ones, with all guards, against `@tus/server` and a bare stream of the same file. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { startHub } from '../hub-process.ts';
import type { FileLoad, Place } from '../load/files.ts';
import { type Bench, type Figure, takeTurns } from '../measure.ts';
import type { PlainFiles } from '../peers/plain-files.ts';
import { startChild } from '../processes.ts';

/** Large enough that the beginning is lost in it, small enough for several rounds. */
const megabytes = 256;
const smallBytes = 16 * 1024;
const connections = 8;
const unlimited = { FEDERATION_FILE_QUOTA_MEGABYTES: '100000' };

export async function files(bench: Bench): Promise<readonly Figure[]> {
  const folder = join(bench.folder, 'plain');
  mkdirSync(folder);
  const peer = startChild<PlainFiles>(new URL('../peers/plain-files.ts', import.meta.url));
  const load = startChild<FileLoad>(new URL('../load/files.ts', import.meta.url));
  const hub = await startHub({ folder: join(bench.folder, 'hub'), env: unlimited });
  try {
    const url = await peer.ask('serve', folder);
    const plain: Place = { uploads: `${url}/files`, downloads: `${url}/plain`, token: '' };
    const here = `${hub.url}/api/federation/files`;
    const ours: Place = { uploads: here, downloads: here, token: hub.adminToken! };
    const [large, small] = [megabytes * 1_000_000, smallBytes];
    const [plainLarge, oursLarge] = [await load.ask('prepare', plain, large), await load.ask('prepare', ours, large)];
    const [plainSmall, oursSmall] = [await load.ask('prepare', plain, small), await load.ask('prepare', ours, small)];
    const up = await takeTurns(bench.rounds, 3_000, {
      plain: () => load.ask('up', plain, megabytes),
      hub: () => load.ask('up', ours, megabytes),
    });
    const down = await takeTurns(bench.rounds, 3_000, {
      plain: () => load.ask('down', plain, plainLarge, megabytes),
      hub: () => load.ask('down', ours, oursLarge, megabytes),
    });
    const manyUp = await takeTurns(bench.rounds, 3_000, {
      plain: (ms) => load.ask('manyUp', plain, small, connections, ms),
      hub: (ms) => load.ask('manyUp', ours, small, connections, ms),
    });
    const manyDown = await takeTurns(bench.rounds, 3_000, {
      plain: (ms) => load.ask('manyDown', plain, plainSmall, connections, ms),
      hub: (ms) => load.ask('manyDown', ours, oursSmall, connections, ms),
    });
    const figure = (what: string, name: string, { hub: values, plain: peerValues }: typeof up): Figure => ({
      what,
      unit: 'per second',
      hub: values,
      peer: { name, values: peerValues },
      target: { atLeast: 0.5 },
    });
    return [
      figure(`megabytes of a file of ${megabytes} MB up`, '@tus/server and file-store', up),
      figure(`megabytes of a file of ${megabytes} MB down`, 'a bare stream of the file', down),
      figure('files of 16 KiB up', '@tus/server and file-store', manyUp),
      figure('files of 16 KiB down', 'a bare stream of the file', manyDown),
    ];
  } finally {
    for (const child of [load, peer, hub]) await child.stop();
  }
}
