/**
 * A backup on disk: a folder with `log.ndjson.gz` and `manifest.json`. Both have their names only when they are whole and on
 * the disk, the manifest last; what an interrupted backup leaves ends with `.partial`.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { access, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { BackupCheck, BackupDamaged, type Piece } from './check.ts';
import { BackupFoot, BackupHead } from './format.ts';

/** What `manifest.json` says. */
export const Manifest = Type.Object({
  ...BackupHead.properties,
  ...BackupFoot.properties,
  /** ISO 8601, when it was finished. */
  taken_at: Type.String(),
});
export type Manifest = Static<typeof Manifest>;
const manifests = Compile(Manifest);

const logName = 'log.ndjson.gz';
const manifestName = 'manifest.json';

/**
 * Writes the bytes of a backup into a folder, checking them on the way. Throws, leaving nothing that looks like a backup,
 * when the folder holds one already, when the bytes are not a whole backup, or when the disk says no.
 */
export async function writeBackup(
  folder: string,
  bytes: AsyncIterable<Uint8Array>,
  finishedAt: () => string,
  onProgress: (check: BackupCheck) => void,
): Promise<Manifest> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const name of [logName, manifestName]) await refuseIfThere(join(folder, name));
  const check = new BackupCheck();
  const draft = join(folder, `${logName}.partial`);
  const reserved = await open(draft, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
    throw new Error(`${draft} is of a backup that runs or was interrupted: remove it if none runs`);
  });
  await reserved.close();
  let named = false;
  try {
    const checked = async function* (source: AsyncIterable<Uint8Array>) {
      for await (const piece of source) {
        check.take(piece);
        onProgress(check);
        yield piece;
      }
    };
    await pipeline(bytes, checked, createGzip(), createWriteStream(draft, { flags: 'r+' }));
    await sync(draft);
    const { head, foot } = check.end();
    const manifest: Manifest = { ...head, ...foot, taken_at: finishedAt() };
    await writeManifest(folder, manifest);
    await rename(draft, join(folder, logName));
    named = true;
    await rename(join(folder, `${manifestName}.partial`), join(folder, manifestName));
    if (process.platform !== 'win32') await sync(folder); // folders cannot be opened there
    return manifest;
  } catch (error) {
    for (const name of [logName, manifestName]) await rm(join(folder, `${name}.partial`), { force: true });
    if (named) await rm(join(folder, logName), { force: true }); // without its manifest it would only stand in the way
    throw error;
  }
}

/** What the manifest of a backup says. Throws when there is none, or when it is not a manifest. */
export async function readManifest(folder: string): Promise<Manifest> {
  const path = join(folder, manifestName);
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    throw new BackupDamaged(`${folder} holds no complete backup: there is no ${manifestName}`);
  });
  let manifest: unknown;
  try {
    manifest = JSON.parse(text);
  } catch {
    // told below
  }
  if (!manifests.Check(manifest))
    throw new BackupDamaged(`${path} is not the manifest of a backup that this hub reads`);
  return manifest;
}

/** The backup in a folder, piece by piece. Throws `BackupDamaged` where it is not what the manifest says, at the latest at its end. */
export async function* readBackup(folder: string, manifest: Manifest): AsyncGenerator<Piece> {
  const check = new BackupCheck();
  const path = join(folder, logName);
  const unzip = createGunzip();
  const reading = pipeline(createReadStream(path), unzip);
  reading.catch(() => {}); // `unzip` fails with the same error
  try {
    for await (const bytes of unzip) yield check.take(bytes as Buffer); // chunks of zlib are buffers
  } catch (error) {
    if (error instanceof BackupDamaged) throw error;
    const { code = '', message } = error as NodeJS.ErrnoException; // streams fail with errors of the system or of zlib
    if (code === 'ENOENT') throw new BackupDamaged(`there is no ${path}`);
    if (code.startsWith('Z_')) throw new BackupDamaged(`${path} cannot be unpacked: ${message}`);
    throw error;
  }
  const { head, foot } = check.end();
  const found: Manifest = { ...head, ...foot, taken_at: manifest.taken_at };
  for (const name of Object.keys(found) as (keyof Manifest)[]) {
    if (found[name] !== manifest[name]) throw new BackupDamaged(`the manifest has another ${name} than ${logName}`);
  }
}

async function writeManifest(folder: string, manifest: Manifest): Promise<void> {
  const file = await open(join(folder, `${manifestName}.partial`), 'w', 0o600);
  try {
    await file.writeFile(`${JSON.stringify(manifest, null, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function refuseIfThere(path: string): Promise<void> {
  const there = await access(path).then(
    () => true,
    () => false,
  );
  if (there) throw new Error(`${path} is there already; a backup is never overwritten`);
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  await handle.sync().finally(() => handle.close());
}
