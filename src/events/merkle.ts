/** Merkle tree hashes of RFC 6962, section 2.1: one hash that stands for a list of entries in order. */
import { createHash } from 'node:crypto';

/** Hash of one entry. */
function leafHash(entry: Uint8Array): Buffer {
  return createHash('sha256').update(leafMark).update(entry).digest();
}

/** Builds the tree hash entry by entry, keeping one hash for each full subtree: log2(n) of them. */
export class MerkleTree {
  /** Full subtrees from the left, each half as large as the one before or smaller. */
  readonly #subtrees: { readonly size: number; readonly hash: Buffer }[] = [];

  add(entry: Uint8Array): void {
    let node = { size: 1, hash: leafHash(entry) };
    for (;;) {
      const left = this.#subtrees.at(-1);
      if (!left || left.size !== node.size) break;
      this.#subtrees.pop();
      node = { size: node.size * 2, hash: join(left.hash, node.hash) };
    }
    this.#subtrees.push(node);
  }

  /** The tree hash of all entries so far; of none, the hash of nothing. */
  root(): Buffer {
    const hashes = this.#subtrees.map(({ hash }) => hash);
    let root = hashes.pop();
    if (!root) return createHash('sha256').digest();
    for (const left of hashes.reverse()) root = join(left, root);
    return root;
  }
}

const leafMark = Buffer.from([0]);
const nodeMark = Buffer.from([1]);

function join(left: Uint8Array, right: Uint8Array): Buffer {
  return createHash('sha256').update(nodeMark).update(left).update(right).digest();
}
