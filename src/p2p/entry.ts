/** Entries of a chain: the text that is hashed and signed, that of the envelope they travel in, what a content's hash is of, and the name of the message in it. */
import { createHash } from 'node:crypto';
import { v5 } from 'uuid';
import { canonicalJson } from '../canonical-json.ts';
import { verify } from '../ed25519.ts';
import type { Entry, SignedEntry } from '../protocol/p2p.ts';

/** What an author signs, as UTF-8. */
export function entryText(entry: Entry): string {
  return `federation-hub p2p entry v1\n${canonicalJson(entry)}`;
}

/** The name of an entry: SHA-256 of its text, base64url. */
export function entryHash(entry: Entry): string {
  return sha256(entryText(entry));
}

/** Whether it is signed with this key. */
export function isSigned({ entry, signature }: SignedEntry, publicKey: string): boolean {
  return verify(publicKey, Buffer.from(entryText(entry)), signature);
}

/** An entry on its way: for whom, after which place of the chain that is for the same node, and with what sealed. */
export interface EnvelopeSaid {
  readonly recipient: string;
  /** Its hash. */
  readonly entry: string;
  readonly after: number;
  readonly sealed?: string | undefined;
}

/** What an author signs of an envelope, so that who carries it changes neither the order nor what is sealed. */
export function envelopeText({ recipient, entry, after, sealed }: EnvelopeSaid): string {
  const hash = sealed === undefined ? '' : sha256(sealed);
  return ['federation-hub p2p envelope v1', recipient, entry, after, hash].join('\n');
}

export function isEnvelopeSigned(said: EnvelopeSaid, publicKey: string, signature: string): boolean {
  return verify(publicKey, Buffer.from(envelopeText(said)), signature);
}

/** The hash of what a message says, as JSON text. The salt is told to its recipients alone: who carries the entry cannot guess at short words. */
export function contentHash(salt: string, text: string): string {
  return sha256(`federation-hub p2p content v1\n${salt}\n${text}`);
}

/** The same name that the hub gives the message when it is sent there under this key. */
export function messageIdOf(author: string, key: string): string {
  return v5(JSON.stringify([`node:${author}`, 'federation:message', key]), commandNamespace);
}

/** The id of the command that an entry comes home as. */
export function commandIdOf(hash: string): string {
  return v5(hash, entryNamespace);
}

/** Of the hub's command ids; a test holds the two together. */
const commandNamespace = '6f1f2a52-1f0e-5d39-9d2b-0c6a4b3e8d71';
const entryNamespace = '3d0a6a5e-7a0b-5c55-8a45-52d8a1a0f6c4';

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}
