/** Files that hold secrets: readable by their owner alone, and either whole or not there. */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, mkdir, open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';

/** The text of the file; undefined when it is not there. Throws when others than its owner may read it. */
export async function readPrivateFile(path: string): Promise<string | undefined> {
  const file = await open(path, constants.O_RDONLY).catch(absent);
  if (!file) return undefined;
  try {
    const { mode } = await file.stat(); // of the opened file: the one that is then read
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
      throw new Error(
        `${path} holds a secret key but others may read it: run chmod 600 ${path}, and replace the key if they did`,
      );
    }
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

/**
 * Writes a new file of mode 0600, with its folder where that is missing. When it returns, the file is on the disk, whole. Never
 * overwrites: when someone else made the file first, even at the same moment, theirs stays. Read it to see whose it is.
 */
export async function createPrivateFile(path: string, text: string): Promise<void> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const draft = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const file = await open(draft, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await link(draft, path).catch(ignore('EEXIST')); // unlike rename, fails when the name is taken
  } finally {
    await unlink(draft).catch(ignore('ENOENT'));
  }
  await syncFolder(folder);
}

/** A private file takes the place of another in the same folder, whole or not at all. */
export async function replacePrivateFile(path: string, replaced: string): Promise<void> {
  await rename(path, replaced);
  await syncFolder(dirname(replaced));
}

/** So that the name survives a power cut, not only the bytes. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return; // folders cannot be opened there
  const handle = await open(folder, constants.O_RDONLY);
  await handle.sync().finally(() => handle.close());
}

function absent(error: NodeJS.ErrnoException): undefined {
  return ignore('ENOENT')(error);
}

function ignore(code: string) {
  return (error: NodeJS.ErrnoException): undefined => {
    if (error.code !== code) throw error;
    return undefined;
  };
}
