/** Rosters as documents: a JWS in compact form (RFC 7515) that names its kind, so that nothing else the hub signs passes for one. */
import { createHash } from 'node:crypto';
import { CompactSign, compactVerify, importJWK } from 'jose';
import { Compile } from 'typebox/compile';
import { canonicalJson } from '../canonical-json.ts';
import { type HubKeys, Roster } from '../protocol/p2p.ts';

const documentType = 'fedhub-roster+jws';
/** About 10,000 members; a longer one is not looked at. */
const mostLetters = 8 * 1024 * 1024;
const check = Compile(Roster);

type PrivateKey = Parameters<CompactSign['sign']>[0];

/** The document of a roster, signed with a key of the hub. */
export function signRoster(
  roster: Roster,
  { kid, privateKey }: { kid: string; privateKey: PrivateKey },
): Promise<string> {
  return new CompactSign(Buffer.from(canonicalJson(roster)))
    .setProtectedHeader({ alg: 'EdDSA', typ: documentType, kid })
    .sign(privateKey);
}

/** The roster in a document. Throws, saying why, when none of these keys signed it, or it is none of this federation's. */
export async function readRoster(document: string, keys: HubKeys, federationId: string): Promise<Roster> {
  if (document.length > mostLetters) throw new Error('the roster is longer than any that a hub makes');
  const { payload } = await compactVerify(
    document,
    ({ kid }) => {
      const key = keys.keys.find((one) => one.kid === kid && one.crv === 'Ed25519');
      if (!key) throw new Error('the roster is signed with a key that is not known to be the hub’s');
      return importJWK({ kty: 'OKP', crv: 'Ed25519', x: key.x }, 'EdDSA');
    },
    { algorithms: ['EdDSA'] },
  ).then((verified) => {
    if (verified.protectedHeader.typ !== documentType) throw new Error('what is signed is no roster');
    return verified;
  });
  const roster: unknown = JSON.parse(Buffer.from(payload).toString());
  if (!check.Check(roster)) throw new Error('the roster does not have the shape of one');
  if (roster.federation_id !== federationId) throw new Error(`the roster is of ${roster.federation_id}`);
  return roster;
}

/** SHA-256 of who is named in it, base64url: whether two rosters say the same. */
export function membersHash({ members }: Pick<Roster, 'members'>): string {
  return createHash('sha256').update(canonicalJson(members)).digest('base64url');
}
