/** Did the holder of this key sign this, here, now, for this? The one check behind registering and opening a session. */

import { checkKey, verify } from '../../ed25519.ts';
import { type Refusal, refuse } from '../../errors.ts';
import type { NodeProfile } from '../../events/node.ts';
import { type Purpose, proofText } from '../../protocol.ts';
import type { Nonces } from './nonce.ts';

/** What a node presents. `profile` is `{}` for a session; `signature` is base64url. */
export interface Proof {
  readonly purpose: Purpose;
  readonly nodeId: string;
  readonly publicKey: string;
  readonly nonce: string;
  readonly profile: NodeProfile;
  readonly signature: string;
}

/**
 * Refuses `nonce_invalid`, `nonce_expired`, `key_invalid` or `signature_invalid`, cheapest first. A proof that passes may still be
 * a replay until its nonce is recorded: do that only after this, or strangers could burn nonces of others.
 */
export function checkProof(proof: Proof, federationId: string, nonces: Nonces): Refusal | undefined {
  const { purpose, nodeId, publicKey, nonce } = proof;
  const refused = nonces.check(nonce, { purpose, nodeId, federationId }) ?? checkKey(publicKey);
  if (refused) return refused;
  const text = Buffer.from(proofText({ ...proof, federationId }));
  if (verify(publicKey, text, proof.signature)) return undefined;
  return refuse('signature_invalid', 'The signature is not over this proof, or was not made with this key');
}
