/**
 * Restores a backup into the empty place that the settings name, for a hub that is not running, and proves it: the log is read
 * back and its tree hash compared, the views are rebuilt from it and their digest compared.
 */
import { backendOf, beginRestore, forgetSearchIndex, keyringStore, openLog, openViews } from '../backends.ts';
import type { Config } from '../config.ts';
import { lockDataFolder } from '../data-lock.ts';
import type { EventLog } from '../events/log.ts';
import { MerkleTree } from '../events/merkle.ts';
import type { LogRestore } from '../events/restore.ts';
import type { Kernel } from '../kernel.ts';
import type { Views } from '../projections/views.ts';
import { type Manifest, readBackup, readManifest } from './folder.ts';
import { eventLine } from './format.ts';
import { importKeyring, readKeyringFile } from './keyring-file.ts';

export type RestorePhase = 'check' | 'write' | 'read back' | 'views';

export interface RestoreOptions {
  readonly config: Config;
  readonly kernel: Kernel;
  readonly folder: string;
  /** File of the hub's keys; without it, the hub has those that are in its place, or makes new ones. */
  readonly keyringFile: string | undefined;
  /** Told how far a phase is. */
  readonly onProgress: (phase: RestorePhase, done: number, total: number) => void;
}

export interface Restored {
  readonly manifest: Manifest;
  /** Tree hash over the events of the log as it is now. */
  readonly root: string;
  /** Digest of the views as they are now; undefined where it cannot be held against that of the backup. */
  readonly digest: string | undefined;
  /** Why there is no digest to compare. */
  readonly incomparable: string | undefined;
  /** Everything that can be compared is the same. */
  readonly same: boolean;
}

/**
 * Throws, with nothing restored, when a hub runs there, when there is a log or another keyring, and when the backup is not
 * whole. Once the log is there, it stays, and `same` says what came of it.
 */
export async function restore(options: RestoreOptions): Promise<Restored> {
  const { config, folder, keyringFile } = options;
  const manifest = await readManifest(folder);
  if (config.federationId !== undefined && config.federationId !== manifest.federation_id) {
    throw new Error(
      `the backup is of the federation ${manifest.federation_id}, not of ${config.federationId} (FEDERATION_ID)`,
    );
  }
  const keys = keyringFile === undefined ? undefined : await readKeyringFile(keyringFile, manifest.federation_id);
  const locks = foldersOf(config).map(lockDataFolder);
  try {
    await fillLog(options, manifest, async () => {
      await forgetSearchIndex(config.viewsUrl);
      if (!keys) return;
      const store = keyringStore(config.logUrl);
      await importKeyring(store, keys).finally(() => store.close());
    });
    return await prove(options, manifest);
  } finally {
    for (const lock of locks) lock.release();
  }
}

/** All of the backup is checked before any of it is written. `beforePublish` comes last before there is a log. */
async function fillLog(
  { config, folder, onProgress }: RestoreOptions,
  manifest: Manifest,
  beforePublish: () => Promise<void>,
): Promise<void> {
  const { log_id: id, segment_size: segmentSize, position } = manifest;
  const target = await beginRestore(config.logUrl, { id, segmentSize });
  try {
    await eachPiece(folder, manifest, (done, total) => onProgress('check', done, total));
    await eachPiece(folder, manifest, (done, total) => onProgress('write', done, total), target);
    await beforePublish();
    await target.publish(position);
  } finally {
    await target.discard();
  }
}

async function eachPiece(
  folder: string,
  manifest: Manifest,
  onProgress: (done: number, total: number) => void,
  target?: LogRestore,
): Promise<void> {
  const total = manifest.events + manifest.commands;
  let done = 0;
  for await (const { events, commands } of readBackup(folder, manifest)) {
    if (events.length > 0) await target?.writeEvents(events);
    if (commands.length > 0) await target?.writeCommands(commands);
    done += events.length + commands.length;
    onProgress(done, total);
  }
}

/** Reads back what is in the place now, with the parts that a hub would use. */
async function prove({ config, kernel, onProgress }: RestoreOptions, manifest: Manifest): Promise<Restored> {
  const log = await openLog(config.logUrl, kernel);
  try {
    const root = await rootOf(log, manifest, (done) => onProgress('read back', done, manifest.events));
    const views = await openViews({
      url: config.viewsUrl,
      logUrl: config.logUrl,
      log,
      kernel,
      logLevel: config.logLevel,
    });
    try {
      await rebuilt(views, kernel, (position) =>
        onProgress('views', Math.min(position, manifest.position), manifest.position),
      );
      const { digest, position, fingerprint } = await views.digest();
      const incomparable = whyIncomparable(manifest, position, fingerprint);
      const same = root === manifest.root && (incomparable !== undefined || digest === manifest.views_digest);
      return { manifest, root, digest: incomparable === undefined ? digest : undefined, incomparable, same };
    } finally {
      await views.close();
    }
  } finally {
    await log.close();
  }
}

const pollMs = 50;

/** Resolves once the views hold all of the log. Throws when they never will. */
async function rebuilt(views: Views, kernel: Kernel, onProgress: (position: number) => void): Promise<void> {
  for (;;) {
    const { position, head, projecting, rebuild, newerEvent } = await views.state();
    if (newerEvent) throw new Error(`the log is in its place, but this hub is too old for it: ${newerEvent}`);
    // before this process projects, what serves may be views of a log that went further
    if (projecting) onProgress(position);
    if (projecting && position >= head && !rebuild) return;
    await kernel.sleep(pollMs);
  }
}

const pageRows = 1_000;

async function rootOf(log: EventLog, { position }: Manifest, onProgress: (done: number) => void): Promise<string> {
  const tree = new MerkleTree();
  let done = 0;
  for (let through = 0; through < position; ) {
    const page = await log.readAll(through, pageRows);
    if (page.through <= through) break; // it ends too soon, which the hash tells
    for (const event of page.events) tree.add(Buffer.from(eventLine(event)));
    done += page.events.length;
    through = page.through;
    onProgress(done);
  }
  return tree.root().toString('hex');
}

function whyIncomparable(manifest: Manifest, position: number, fingerprint: string): string | undefined {
  if (manifest.views_digest === null) return 'the backup was taken while the views could not be summed up';
  if (manifest.views_fingerprint !== fingerprint)
    return 'this version of the hub makes other views than the one that was backed up';
  if (manifest.position !== position) return `the views are at ${position} by now, beyond the backup`;
  return undefined;
}

/** The folders that belong to one process alone. */
function foldersOf({ logUrl, viewsUrl }: Config): string[] {
  const folders = [logUrl, viewsUrl]
    .map(backendOf)
    .flatMap((backend) => (backend.kind === 'sqlite' ? [backend.folder] : []));
  return [...new Set(folders)];
}
