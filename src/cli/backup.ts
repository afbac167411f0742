/** `fedhub backup`: the log of a serving hub into a folder; its keys, when asked, into a file kept apart. */
import { keyringStore } from '../backends.ts';
import { writeBackup } from '../backup/folder.ts';
import { checkKeyringFile, exportKeyring } from '../backup/keyring-file.ts';
import { readConfig } from '../config.ts';
import { createKernel, isoTime } from '../kernel.ts';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';
import { Progress } from './progress.ts';

export interface BackupArgs {
  readonly folder: string;
  /** A file outside the folder; the keyring is read by the hub's own settings, from where it lies. */
  readonly keyring: string | undefined;
  readonly env: NodeJS.ProcessEnv;
}

/** Writes the backup and says what is in it. Throws, leaving no complete-looking backup, when anything fails. */
export async function backup(hub: HubClient, output: Output, { folder, keyring, env }: BackupArgs): Promise<void> {
  const kernel = createKernel({ logLevel: 'warn' });
  if (keyring !== undefined) await checkKeyringFile(keyring, folder);
  const progress = new Progress(output);
  const now = () => isoTime(kernel.now());
  const { body } = await hub.open('/backup/log');
  if (!body) throw new Error('the hub sent no backup');
  const manifest = await writeBackup(folder, body, now, ({ head, position }) =>
    progress.show('backup', position, head?.position ?? 0),
  ).finally(() => progress.stop());
  const { position, events, commands, root, views_digest, federation_id: federationId } = manifest;
  let keys: number | undefined;
  if (keyring !== undefined) {
    const { keys: published } = await hub.get<{ keys: { kid: string }[] }>('/auth/jwks');
    const signing = published.map(({ kid }) => kid);
    const store = keyringStore(readConfig(env).logUrl);
    keys = await exportKeyring(store, keyring, { federationId, takenAt: now(), signing }).finally(() => store.close());
  }
  output.value(
    { folder, position, events, commands, root, views_digest, ...(keys !== undefined && { keyring, keys }) },
    [
      `${events} events up to position ${position} and ${commands} records of commands in ${folder}`,
      `  root    ${root}`,
      `  views   ${views_digest ?? '(could not be summed up; a restore will not compare them)'}`,
      keys === undefined ? '  keys    not in it; see --keyring' : `  keys    ${keys} in ${keyring}: keep it apart`,
    ].join('\n'),
  );
}
