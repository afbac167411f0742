/** RFC 9530: is the body of a signed request the one whose digest was signed? */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { type Readable, Transform } from 'node:stream';
import { isInnerList, parseDictionary } from 'structured-headers';
import { type Refusal, refuse } from '../../errors.ts';

const longestHeader = 512;
/** By their names in the header, and in node:crypto. */
const algorithms = new Map([
  ['sha-256', 'sha256'],
  ['sha-512', 'sha512'],
]);

/** Whether a request says that it has a body. */
export function hasBody(headers: IncomingHttpHeaders): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0;
}

/**
 * The body as it came, which fails at its end with `error(digest_mismatch)` when it is not the one that `Content-Digest` tells of.
 * Every digest that the hub can compute must be right, and there must be one.
 */
export function checkedBody(body: Readable, header: unknown, error: (refused: Refusal) => Error): Readable {
  const digests = digestsOf(header);
  const hashes = digests.map(({ algorithm }) => createHash(algorithm));
  const mismatch = (detail: string) => error(refuse('digest_mismatch', detail));
  let held: Buffer | undefined;
  const checked = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      for (const hash of hashes) hash.update(chunk);
      done(null, held);
      held = chunk; // whoever the body is passed on to never gets all of one that is not right
    },
    flush(done) {
      if (digests.length === 0) return done(mismatch('Content-Digest holds no digest by sha-256 or sha-512'));
      const right = digests.every(({ digest }, at) => same(digest, hashes[at]!.digest()));
      done(right ? null : mismatch('the body is not the one whose Content-Digest was signed'), held);
    },
  });
  body.on('error', (cause) => checked.destroy(cause)); // `pipe` does not pass errors on
  return body.pipe(checked);
}

interface Digest {
  readonly algorithm: string;
  readonly digest: Uint8Array;
}

/** The digests of the header that the hub can compute; none for text that is no such header. */
function digestsOf(header: unknown): Digest[] {
  if (typeof header !== 'string' || header.length > longestHeader) return [];
  try {
    return [...parseDictionary(header)].flatMap(([name, member]) => {
      const algorithm = algorithms.get(name);
      if (!algorithm || isInnerList(member)) return [];
      const [digest] = member;
      return [{ algorithm, digest: digest instanceof ArrayBuffer ? new Uint8Array(digest) : new Uint8Array() }];
    });
  } catch {
    return [];
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
