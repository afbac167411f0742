/**
 * Requests that a node signs instead of showing a token (RFC 9421): what a signature must cover, how old it may be, and what
 * exactly it was made over.
 *
 * The values of derived components are those of the request as it came, not of a URL that was parsed and written anew: two
 * spellings of one path are two paths.
 */
import type { SignatureParameters } from 'http-message-signatures';
import { verifyMessage } from 'http-message-signatures/lib/httpbis/index.js';
import { type InnerList, isInnerList, parseDictionary } from 'structured-headers';
import type { Config } from '../../config.ts';
import type { Credentials } from '../../doors.ts';
import { verify } from '../../ed25519.ts';
import { type Refusal, refuse } from '../../errors.ts';
import { signatureTag } from '../../protocol.ts';

/** How old a signature may be, and how far the clocks of node and hub may differ. */
const longestAgeMs = 60_000;
const toleranceMs = 30_000;
/** How long a signature may count at most, from the first moment to the last: its nonce is remembered for as long. */
export const signatureCountsMs = longestAgeMs + 2 * toleranceMs;

const longestInput = 2_048;
const longestSignature = 256;
const mostComponents = 24;

/** What a signature says of itself, checked in shape and time. Nothing of it is proved yet. */
export interface Claimed {
  readonly keyId: string;
  readonly nonce: string;
}

/** Whether a request is signed rather than carries a token. */
export function isSigned({ headers }: Credentials): boolean {
  return headers['signature-input'] !== undefined && headers.authorization === undefined;
}

/**
 * Reads what the one signature of a request claims. Refuses `signature_invalid` when it does not cover what it must, and
 * `signature_expired` when it is too old or of the future.
 */
export function readClaims(shown: Credentials, federationId: string, now: number): Claimed | Refusal {
  const { 'signature-input': input, signature } = shown.headers;
  if (typeof input !== 'string' || typeof signature !== 'string')
    return invalid('a signed request carries Signature-Input and Signature');
  if (input.length > longestInput || signature.length > longestSignature) return invalid('the signature is too long');
  const list = onlyList(input);
  if (!list) return invalid('Signature-Input must hold exactly one signature');
  const missing = missingComponents(list, shown);
  if (missing) return invalid(missing);
  const { created, expires, nonce, keyid, alg, tag } = Object.fromEntries(list[1]) as Record<string, unknown>;
  if (alg !== 'ed25519') return invalid('alg must be "ed25519"');
  if (tag !== signatureTag(federationId)) return invalid('tag must name this federation');
  if (typeof keyid !== 'string' || !/^[A-Za-z0-9_-]{43}$/.test(keyid)) return invalid('keyid must be a key thumbprint');
  if (typeof nonce !== 'string' || !/^[A-Za-z0-9_-]{16,64}$/.test(nonce))
    return invalid('nonce must be 16 to 64 characters of base64url');
  if (!isSeconds(created) || (expires !== undefined && !isSeconds(expires)))
    return invalid('created, and expires if given, must be whole seconds');
  const late = now - created * 1000 > longestAgeMs + toleranceMs;
  const over = expires !== undefined && now > expires * 1000 + toleranceMs;
  if (late || over || created * 1000 - now > toleranceMs)
    return refuse('signature_expired', 'the signature is older than a minute, has expired, or is of the future');
  return { keyId: keyid, nonce };
}

/** Where a request may have been sent to, from the node's point of view. */
export interface Target {
  /** As in a URI: lower case, without the port that the scheme implies. */
  readonly authority: string;
  readonly scheme: 'http' | 'https';
  /** Put before the path by a proxy that serves the hub under one. */
  readonly pathPrefix: string;
}

/**
 * The targets that count: the Host the request names, and FEDERATION_PUBLIC_URL. Behind a trusted proxy the hub sees plain HTTP
 * where the node spoke HTTPS, so either scheme counts there: what a signature is for is told by authority and tag.
 */
export function targetsOf(config: Pick<Config, 'tls' | 'publicUrl' | 'trustedProxies'>, host: string): Target[] {
  const scheme = config.tls ? 'https' : 'http';
  const schemes = config.trustedProxies.length > 0 ? (['http', 'https'] as const) : ([scheme] as const);
  const seen = schemes.map((scheme) => ({ scheme, authority: authorityOf(host, scheme), pathPrefix: '' }));
  if (config.publicUrl === undefined) return seen;
  const { protocol, host: publicHost, pathname } = new URL(config.publicUrl);
  const publicScheme = protocol === 'https:' ? 'https' : 'http';
  const authority = authorityOf(publicHost, publicScheme);
  const prefixes = new Set(['', pathname.replace(/\/+$/, '')]);
  return [...seen, ...Array.from(prefixes, (pathPrefix) => ({ scheme: publicScheme, authority, pathPrefix }) as const)];
}

/** Whether the signature of a request is good under a key, for one of the targets. Never throws. */
export async function isGood(shown: Credentials, targets: readonly Target[], publicKey: string): Promise<boolean> {
  for (const target of targets) if (await verifies(shown, target, publicKey)) return true;
  return false;
}

async function verifies(shown: Credentials, target: Target, publicKey: string): Promise<boolean> {
  const check = async (data: Buffer, signature: Buffer, _parameters?: SignatureParameters) =>
    verify(publicKey, data, signature.toString('base64url'));
  try {
    const good = await verifyMessage(
      {
        keyLookup: async () => ({ algs: ['ed25519'], verify: check }),
        componentParser: (name) => derived(name, shown, target),
        notAfter: Number.MAX_SAFE_INTEGER, // times are judged by `readClaims`, with the hub's clock
        all: true,
      },
      { method: shown.method, url: '', headers: textOf(shown.headers) },
    );
    return good === true;
  } catch {
    return false; // headers that are no structured fields, a covered header that is not there
  }
}

/** The value of a derived component; null for headers, which are read as they came. Anything else is not taken. */
function derived(name: string, { method, url }: Credentials, target: Target): string[] | null {
  const at = url.indexOf('?');
  const path = target.pathPrefix + (at === -1 ? url : url.slice(0, at));
  const query = at === -1 ? '?' : url.slice(at);
  switch (name) {
    case '@method':
      return [method];
    case '@authority':
      return [target.authority];
    case '@scheme':
      return [target.scheme];
    case '@path':
      return [path];
    case '@query':
      return [query];
    case '@request-target':
      return [target.pathPrefix + url];
    case '@target-uri':
      return [`${target.scheme}://${target.authority}${target.pathPrefix}${url}`];
    default:
      return null;
  }
}

const derivedComponents = new Set([
  '@method',
  '@authority',
  '@scheme',
  '@path',
  '@query',
  '@request-target',
  '@target-uri',
]);

/** Says what is wrong with the covered components; undefined when nothing is. */
function missingComponents([items]: InnerList, { headers }: Credentials): string | undefined {
  const covered = new Set<unknown>();
  for (const [name, parameters] of items) {
    const known = typeof name === 'string' && (derivedComponents.has(name) || /^[a-z0-9_-]+$/.test(name));
    if (!known || parameters.size > 0 || covered.has(name)) return 'a covered component is unknown, twice, or modified';
    covered.add(name);
  }
  if (items.length > mostComponents) return `more than ${mostComponents} components are covered`;
  const whole = covered.has('@target-uri') || ['@authority', '@path', '@query'].every((name) => covered.has(name));
  if (!covered.has('@method') || !whole)
    return 'the signature must cover "@method" and "@target-uri" (or "@authority", "@path" and "@query")';
  if (hasBody(headers) && !covered.has('content-digest')) return 'the signature must cover "content-digest"';
  // A key that is not signed could be changed, and the request be done once more under the new one.
  const open = mustBeCovered.find((name) => headers[name] !== undefined && !covered.has(name));
  return open && `the signature must cover "${open}"`;
}

/** Headers that say what is to be done: whoever sends them signs them. */
const mustBeCovered = ['idempotency-key', 'upload-length', 'upload-metadata', 'upload-offset'];

function hasBody(headers: Credentials['headers']): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0;
}

/** The one signature that the header describes; undefined when it is none, several or no structured field. */
function onlyList(input: string): InnerList | undefined {
  try {
    const [only, ...others] = parseDictionary(input).values();
    return only && others.length === 0 && isInnerList(only) ? only : undefined;
  } catch {
    return undefined;
  }
}

function authorityOf(host: string, scheme: 'http' | 'https'): string {
  return host.toLowerCase().replace(scheme === 'https' ? /:443$/ : /:80$/, '');
}

function textOf(headers: Credentials['headers']): Record<string, string | string[]> {
  return Object.fromEntries(
    Object.entries(headers).filter((pair): pair is [string, string | string[]] => pair[1] !== undefined),
  );
}

function isSeconds(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function invalid(detail: string): Refusal {
  return refuse('signature_invalid', detail);
}
