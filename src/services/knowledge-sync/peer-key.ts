/** The key by which this hub is a node of another: made of a data key of the keyring, so that every replica has it and no file holds it. */
import { createPrivateKey, createPublicKey, hkdfSync, sign } from 'node:crypto';
import type { NodeKey } from '../../client/node.ts';
import type { Keyring } from '../../keyring.ts';

/** What stands before 32 secret bytes in a PKCS #8 key of Ed25519 (RFC 8410). */
const pkcs8 = Buffer.from('302e020100300506032b657004220420', 'hex');

/** The same each time, for as long as its data key is there. Throws a `Fault` when the keyring cannot be reached. */
export async function peerKey(keyring: Keyring, peerId: string): Promise<NodeKey> {
  const { key } = await keyring.dataKey(`peer:${peerId}`);
  const seed = Buffer.from(hkdfSync('sha256', key, '', 'federation-hub peer key v1', 32));
  const privateKey = createPrivateKey({ key: Buffer.concat([pkcs8, seed]), format: 'der', type: 'pkcs8' });
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' });
  if (x === undefined) throw new Error('the key of a peer is not one of Ed25519');
  return { publicKey: x, sign: async (message) => new Uint8Array(sign(null, message, privateKey)) };
}
