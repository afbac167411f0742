/** Who a node is: its name, what it says of itself, and the key that proves it, also while the key is being changed. */
import type { NodeProfile } from '../events/node.ts';
import { type NodeKey, nextKeyFile, openKeyFile, promoteNextKey, readKeyFile } from './key-file.ts';
import type { NodeIdentity } from './session.ts';

interface Said {
  readonly nodeId: string;
  readonly keyFile?: string | undefined;
  readonly key?: NodeKey | undefined;
  readonly invite?: string | undefined;
}

export class Identity {
  readonly #said: Said;
  #profile: NodeProfile;
  #key: NodeKey | undefined;
  /** A key that the hub may have taken: it did not answer. */
  #next: NodeKey | undefined;

  /** Throws `TypeError`. */
  constructor(said: Said, profile: NodeProfile) {
    if ((said.keyFile === undefined) === (said.key === undefined)) throw new TypeError('give either keyFile or key');
    this.#said = said;
    this.#profile = profile;
    this.#key = said.key;
  }

  get profile(): NodeProfile {
    return this.#profile;
  }

  /** What registrations say from now on. */
  say(changes: NodeProfile): void {
    this.#profile = { ...this.#profile, ...changes };
  }

  /** With the key, read or made at the first call. Throws when its file is not one. */
  async open(): Promise<NodeIdentity> {
    const { nodeId, keyFile, invite } = this.#said;
    this.#key ??= await openKeyFile(keyFile!); // one is given
    return { nodeId, key: this.#key, profile: this.#profile, invite };
  }

  /** The key to change to: the one given, or one made in a file beside the old one's. Throws `TypeError`. */
  async prepareNext(given: NodeKey | undefined): Promise<NodeKey> {
    const { keyFile } = this.#said;
    if ((keyFile === undefined) !== (given !== undefined))
      throw new TypeError('give a new key if and only if the node was made with `key`');
    this.#next = given ?? (await openKeyFile(nextKeyFile(keyFile!))); // as just seen
    return this.#next;
  }

  /** Goes on with the key that was about to replace the one that the hub refuses. False when there is none. */
  async tryNext(): Promise<boolean> {
    const { keyFile } = this.#said;
    const next = this.#next ?? (keyFile === undefined ? undefined : await readKeyFile(nextKeyFile(keyFile)));
    if (!next || !this.#key || this.#key.publicKey === next.publicKey) return false;
    this.#next = next;
    this.#key = next;
    return true;
  }

  /** The hub took this key. When it was the next one, its file takes the place of the old one's, which is of no more use. */
  async taken(key: NodeKey): Promise<void> {
    this.#key = key;
    if (this.#next?.publicKey !== key.publicKey) return;
    if (this.#said.keyFile !== undefined) await promoteNextKey(this.#said.keyFile);
    this.#next = undefined;
  }
}
