/** The lock on the data folder, against real processes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lockDataFolder } from '../src/data-lock.ts';

describe('the lock on the data folder', () => {
  let parent: string;
  let folder: string;
  const children: ChildProcess[] = [];

  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'fedhub-lock-'));
    folder = join(parent, 'deep', 'data');
  });
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    rmSync(parent, { recursive: true });
  });

  /** A process that takes the folder, says 'held' or why not, and then holds on. */
  async function holder(): Promise<{ child: ChildProcess; said: string }> {
    const module = new URL('../src/data-lock.ts', import.meta.url).href;
    const typescript = new URL('./setup/typescript.mjs', import.meta.url).href;
    const program = `
      const { lockDataFolder } = await import(${JSON.stringify(module)});
      try {
        lockDataFolder(${JSON.stringify(folder)});
        console.log('held');
        setInterval(() => {}, 1000);
      } catch (error) {
        console.log(error.message);
      }`;
    const child = spawn(process.execPath, ['--import', typescript, '--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    const [said] = (await once(child.stdout!, 'data')) as [Buffer];
    return { child, said: said.toString().trim() };
  }

  it('makes the folder for its owner alone', () => {
    const lock = lockDataFolder(folder);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    lock.release();
  });

  it('refuses a second process, and names the folder', async () => {
    const lock = lockDataFolder(folder);
    expect((await holder()).said).toContain(`running on the data folder ${folder}`);
    lock.release();
    expect((await holder()).said).toBe('held');
    expect(() => lockDataFolder(folder)).toThrow(folder);
  });

  it('refuses a second hold in one process, and may be taken again after release', () => {
    const lock = lockDataFolder(folder);
    expect(() => lockDataFolder(folder)).toThrow('another hub is running');
    lock.release();
    lock.release();
    lockDataFolder(folder).release();
  });

  it('is gone when its process was killed', async () => {
    const { child, said } = await holder();
    expect(said).toBe('held');
    expect(() => lockDataFolder(folder)).toThrow(folder);
    child.kill('SIGKILL');
    await once(child, 'exit');
    lockDataFolder(folder).release();
  });

  it('does not keep two folders apart from each other', () => {
    const one = lockDataFolder(folder);
    const other = lockDataFolder(join(parent, 'other'));
    one.release();
    other.release();
  });
});
