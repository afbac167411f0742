/** `fedhub restore`: a backup into the empty place that the settings name, and the proof that it is the same. */
import { type Restored, restore as restoreBackup } from '../backup/restore.ts';
import { readConfig, redacted } from '../config.ts';
import { createKernel } from '../kernel.ts';
import type { Output } from './output.ts';
import { Progress } from './progress.ts';

export interface RestoreArgs {
  readonly folder: string;
  readonly keyring: string | undefined;
  readonly env: NodeJS.ProcessEnv;
}

/** Throws when nothing could be restored, and when what was restored is not what was backed up. */
export async function restore(output: Output, { folder, keyring, env }: RestoreArgs): Promise<void> {
  const config = readConfig({ ...env, LOG_LEVEL: env.LOG_LEVEL || 'warn' });
  const kernel = createKernel({ logLevel: config.logLevel });
  const progress = new Progress(output);
  const restored = await restoreBackup({
    config,
    kernel,
    folder,
    keyringFile: keyring,
    onProgress: (phase, done, total) => progress.show(phase, done, total),
  }).finally(() => progress.stop());
  tell(output, restored, redacted(config.logUrl));
  if (!restored.same) {
    throw new Error('the log is in its place, but it or its views are not what was backed up: do not serve from it');
  }
}

function tell(output: Output, { manifest, root, digest, incomparable, same }: Restored, place: string): void {
  const { federation_id, position, events, commands } = manifest;
  const lines = [
    `federation ${federation_id}: ${events} events up to position ${position} and ${commands} records of commands in ${place}`,
    `  root    ${root} restored`,
    `          ${manifest.root} backed up`,
    ...(incomparable === undefined
      ? [`  views   ${digest} restored`, `          ${manifest.views_digest} backed up`]
      : [`  views   rebuilt, not compared: ${incomparable}`]),
  ];
  const backedUp = { root: manifest.root, views_digest: manifest.views_digest };
  output.value(
    {
      same,
      federation_id,
      position,
      events,
      commands,
      restored: { root, views_digest: digest ?? null },
      backed_up: backedUp,
      ...(incomparable !== undefined && { incomparable }),
    },
    lines.join('\n'),
  );
}
