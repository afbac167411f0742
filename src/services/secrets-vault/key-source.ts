/**
 * Where the master key comes from: the environment, or a file of mode 0600 that is made at the first start. Either may hold a second
 * key, so that what one wrapped is wrapped anew with the other while both count.
 */
import { open, readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Config } from '../../config.ts';
import type { Kernel } from '../../kernel.ts';
import { createPrivateFile, readPrivateFile, replacePrivateFile } from '../../private-file.ts';
import { localMasterKey, type MasterKey } from './master-key.ts';

/** The vault cannot be opened, and why, in words fit for strangers: no path, no key. */
export class VaultShut extends Error {}

/** The master keys that count here. */
export interface MasterKeys {
  /** The one that is to be used. */
  readonly current: MasterKey;
  /** The one before it, or, in the environment of a rolling change, the one after. */
  readonly other: MasterKey | undefined;
}

export interface KeySource {
  readonly kind: 'environment' | 'file';
  /** Undefined: there is no file. Throws `VaultShut` for one that is no key, or that others may read. */
  load(): Promise<MasterKeys | undefined>;
  /** Makes the file with a new key. Whose came first stays; answers that. */
  create(): Promise<MasterKeys>;
  /** Puts a new key before the one of this id, unless that is not the current one any more, or has another beside it; answers what is there. */
  addNext(current: string): Promise<MasterKeys>;
  /** Lets go of the key beside the one of this id, unless that is not the current one any more; answers what is there. */
  dropOther(current: string): Promise<MasterKeys>;
}

export function keySourceOf({ vault }: Config, kernel: Kernel): KeySource {
  return vault.key ? fromEnvironment(vault.key, vault.previous, kernel) : fromFile(vault.file, kernel);
}

function fromEnvironment(current: Uint8Array, other: Uint8Array | undefined, kernel: Kernel): KeySource {
  const keys = {
    current: localMasterKey(current, kernel),
    other: other && localMasterKey(other, kernel),
  };
  const fixed = async (): Promise<never> => {
    throw new TypeError('the environment gives the master key: the hub cannot change it');
  };
  return { kind: 'environment', load: async () => keys, create: fixed, addNext: fixed, dropOther: fixed };
}

const title = 'fedhub vault key 1';
const shape = /^fedhub vault key 1\ncurrent ([A-Za-z0-9_-]{43})\n(?:previous ([A-Za-z0-9_-]{43})\n)?$/;

/** The texts of the keys in the file. */
interface Held {
  readonly current: string;
  readonly previous: string | undefined;
}

/** How often a change is begun anew because another replica changed the file. */
const attempts = 20;

function fromFile(path: string, kernel: Kernel): KeySource {
  const keyOf = (text: string) => localMasterKey(Buffer.from(text, 'base64url'), kernel);
  const keysOf = ({ current, previous }: Held): MasterKeys => ({
    current: keyOf(current),
    other: previous === undefined ? undefined : keyOf(previous),
  });
  const made = () => Buffer.from(kernel.secretBytes(32)).toString('base64url');
  const held = async (file = path): Promise<Held | undefined> => {
    const text = await readPrivateFile(file).catch((error: unknown) => {
      kernel.log.warn({ err: error }, 'the file of the master key cannot be used');
      throw new VaultShut(
        'the file of the master key cannot be read, or others may read it; the log of the hub says which',
      );
    });
    if (text === undefined) return undefined;
    const [, current, previous] = shape.exec(text) ?? [];
    if (current === undefined) throw new VaultShut('the file of the master key holds something else');
    return { current, previous };
  };
  const there = async (): Promise<Held> => {
    const found = await held();
    if (!found) throw new VaultShut('the file of the master key is gone');
    return found;
  };
  /**
   * Replaces the file by what `next` says of what it holds; undefined: it is so already. Replicas that share it may do so at the same
   * moment, and one of them may be held up anywhere for as long as it likes, without a key being lost: a draft has one name, whose came
   * first stays, and it takes the place of the file only where it follows from what that holds, by whoever comes to it.
   */
  const change = async (next: (now: Held) => Held | undefined): Promise<MasterKeys> => {
    const draft = draftOf(path);
    for (let attempt = 0; attempt < attempts; attempt++) {
      const now = await there();
      const wanted = next(now);
      if (!wanted) return keysOf(now);
      await createPrivateFile(draft, textOf(wanted)).catch(isGone); // another replica may be tidying up
      const drafted = await held(draft);
      if (!drafted) continue; // another replica put it in place
      if (follows(drafted, await there())) await replace(draft, path);
      else await rm(draft, { force: true }); // of one that was held up, or died
    }
    throw new Error('the file of the master key was changed again and again');
  };
  return {
    kind: 'file',
    async load() {
      const found = await held();
      return found && keysOf(found);
    },
    async create() {
      await createPrivateFile(path, textOf({ current: made(), previous: undefined }));
      return keysOf(await there());
    },
    addNext: (id) =>
      change(({ current, previous }) =>
        keyOf(current).id === id && previous === undefined ? { current: made(), previous: current } : undefined,
      ),
    async dropOther(id) {
      const left = await change(({ current, previous }) =>
        keyOf(current).id === id && previous !== undefined ? { current, previous: undefined } : undefined,
      );
      if (!left.other) await removeDrafts(path);
      return left;
    },
  };
}

/** Whether a draft puts a new key before the only one that is there, or lets go of the other. */
function follows(draft: Held, now: Held): boolean {
  if (draft.previous === undefined) return now.previous !== undefined && draft.current === now.current;
  return now.previous === undefined && draft.previous === now.current;
}

function textOf({ current, previous }: Held): string {
  return `${title}\ncurrent ${current}\n${previous === undefined ? '' : `previous ${previous}\n`}`;
}

const draftOf = (path: string): string => `${path}.next`;

/** Drafts of replicas that died hold a key that is to be gone. One that is being written is begun anew by whoever writes it. */
async function removeDrafts(path: string): Promise<void> {
  for (const name of await readdir(dirname(path)))
    if (name.startsWith(basename(draftOf(path)))) await rm(join(dirname(path), name), { force: true });
}

/** The draft whole, or the old text; then zeros over where that lay. Does nothing where another replica did it. */
async function replace(draft: string, path: string): Promise<void> {
  const old = await open(path, 'r+');
  try {
    const { size } = await old.stat();
    const done = await replacePrivateFile(draft, path).then(() => true, isGone);
    if (!done) return; // what was opened may be what is in place now
    await old.write(Buffer.alloc(size), 0, size, 0);
    await old.sync();
  } finally {
    await old.close();
  }
}

function isGone(error: NodeJS.ErrnoException): false {
  if (error.code !== 'ENOENT') throw error;
  return false;
}
