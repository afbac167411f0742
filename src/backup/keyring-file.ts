/**
 * The hub's own keys in a file of their own, apart from any backup of the log: who holds both can forge sessions.
 *
 * Keys of the hub only, no data keys: what was erased by destroying its data key must not come back with an old file.
 */
import { access } from 'node:fs/promises';
import { dirname, relative, resolve } from 'node:path';
import { Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { asKeys, type KeyRecord, type KeyringStore } from '../keyring/store.ts';
import { createPrivateFile, readPrivateFile } from '../private-file.ts';

const notice =
  'The keys of a federation hub. Keep this file apart from backups of its log, and let nobody else read it. It holds no data keys: what was encrypted for a subject cannot be read with it.';

const firstLine = Compile(
  Type.Object({
    format: Type.Literal(1),
    notice: Type.String(),
    federation_id: Type.String({ minLength: 1 }),
    taken_at: Type.String(),
  }),
);

/** Throws when a keyring may not be written to this file: it is there, or lies in the folder of the backup. */
export async function checkKeyringFile(path: string, backupFolder: string): Promise<void> {
  const way = relative(resolve(backupFolder), dirname(resolve(path)));
  if (way === '' || !(way.startsWith('..') || resolve(way) === way)) {
    throw new Error(`${path} lies in the folder of the backup: the keyring is kept apart from the log`);
  }
  const there = await access(path).then(
    () => true,
    () => false,
  );
  if (there) throw new Error(`${path} is there already; it is not overwritten`);
}

/**
 * Writes the hub's keys to a new file of mode 0600; answers how many. `signing` are the ids of the keys that the hub says it
 * signs with: throws when the store holds another hub's.
 */
export async function exportKeyring(
  store: KeyringStore,
  path: string,
  about: { federationId: string; takenAt: string; signing: readonly string[] },
): Promise<number> {
  const keys = asKeys(
    await store.ensure(() => Promise.reject(new Error('there is no keyring where the settings say'))),
  );
  const held = new Set(keys.map(({ id }) => id));
  if (!about.signing.every((id) => held.has(id))) {
    throw new Error('the keyring that the settings name is not that of the hub that was backed up');
  }
  const head = { format: 1, notice, federation_id: about.federationId, taken_at: about.takenAt };
  const text = [head, ...keys].map((line) => `${JSON.stringify(line)}\n`).join('');
  await createPrivateFile(path, text);
  if ((await readPrivateFile(path)) !== text) throw new Error(`${path} is there already; it is not overwritten`);
  return keys.length;
}

/** The keys in a file that `exportKeyring` wrote for this federation. Throws for anything else. */
export async function readKeyringFile(path: string, federationId: string): Promise<readonly KeyRecord[]> {
  const text = await readPrivateFile(path);
  if (text === undefined) throw new Error(`there is no ${path}`);
  const [head, ...records] = linesOf(text, path);
  if (!firstLine.Check(head)) throw new Error(`${path} is not the backup of a keyring that this hub reads`);
  if (head.federation_id !== federationId) {
    throw new Error(`${path} is the keyring of the federation ${head.federation_id}, not of ${federationId}`);
  }
  return asKeys(records);
}

/** Puts the keys where there are none. Throws when there are others; doing it twice is harmless. */
export async function importKeyring(store: KeyringStore, keys: readonly KeyRecord[]): Promise<void> {
  const found = asKeys(await store.ensure(async () => [...keys]));
  const wanted = new Set(keys.map(({ id }) => id));
  if (found.length !== wanted.size || !found.every(({ id }) => wanted.has(id))) {
    throw new Error('there is another keyring already; move it away, or restore without --keyring');
  }
}

function linesOf(text: string, path: string): unknown[] {
  try {
    return text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
  } catch {
    throw new Error(`${path} is not the backup of a keyring`); // without quoting it: it is secret
  }
}
