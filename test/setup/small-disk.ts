/** A disk of a few megabytes that really fills up: a tmpfs of its own, mounted for one test. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export interface SmallDisk {
  readonly folder: string;
  /** Fills it with a file of ballast until so many bytes are left. */
  fill(bytesLeft: number): void;
  /** Takes the ballast away. */
  free(): void;
  remove(): void;
}

/** Mounts it; as root, or through `sudo` where that asks no password. Throws, with the reason, where neither may mount. */
export function mountSmallDisk(megabytes: number): SmallDisk {
  const folder = mkdtempSync(path.join(tmpdir(), 'fedhub-disk-'));
  try {
    asRoot('mount', '-t', 'tmpfs', '-o', `size=${megabytes}m,mode=0777`, 'tmpfs', folder);
  } catch (error) {
    rmdirSync(folder);
    throw new Error(
      'this test fills a disk, and none may be mounted here: it needs Linux and root, or sudo without a password',
      {
        cause: error,
      },
    );
  }
  const ballast = path.join(folder, 'ballast');
  return {
    folder,
    fill(bytesLeft) {
      const { bavail, bsize } = statfsSync(folder);
      writeFileSync(ballast, Buffer.alloc(Math.max(0, bavail * bsize - bytesLeft), 1));
    },
    free: () => rmSync(ballast, { force: true }),
    remove() {
      asRoot('umount', folder);
      rmdirSync(folder);
    },
  };
}

function asRoot(program: string, ...args: string[]): void {
  const root = process.getuid?.() === 0;
  execFileSync(root ? program : 'sudo', root ? args : ['-n', program, ...args], { stdio: 'pipe' });
}
