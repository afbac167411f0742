/** Signs an HTTP request to a hub (RFC 9421, RFC 9530), so that it needs no session: for programs that have the key at hand. */
import { createHash, randomBytes } from 'node:crypto';
import { signMessage } from 'http-message-signatures/lib/httpbis/index.js';
import { calculateJwkThumbprint } from 'jose';
import { signatureTag } from '../protocol.ts';
import { wallClock } from './clock.ts';
import type { NodeKey } from './key-file.ts';

const mustBeCovered = ['content-digest', 'idempotency-key', 'upload-length', 'upload-metadata', 'upload-offset'];

/** A request as `fetch` takes it. A body is sent byte for byte as it is given here. */
export interface RequestToSign {
  readonly method: string;
  /** The URL under which the hub is reached: the hub's own address, or its FEDERATION_PUBLIC_URL. */
  readonly url: string | URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

export interface RequestSigner {
  readonly key: NodeKey;
  readonly federationId: string;
  /** Milliseconds since 1970; the process's clock unless given. The hub takes half a minute of difference. */
  readonly now?: number;
}

/**
 * The headers to send the request with: those given and `Content-Digest`, `Signature-Input`, `Signature`. Good once, for a minute.
 * Covered are method, URL and body, `Idempotency-Key` where it is given, and what tus says of an upload; other headers are not.
 */
export async function signRequest(
  request: RequestToSign,
  { key, federationId, now = wallClock() }: RequestSigner,
): Promise<Record<string, string>> {
  const { method, headers = {}, body } = request;
  const url = new URL(request.url);
  url.hash = ''; // is never sent
  const digest = body === undefined ? {} : { 'content-digest': digestOf(body) };
  const given = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  const all: Record<string, string> = { ...given, ...digest };
  const covered = mustBeCovered.filter((name) => all[name] !== undefined);
  const signed = await signMessage(
    {
      key: {
        id: await calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x: key.publicKey }),
        alg: 'ed25519',
        sign: async (data) => Buffer.from(await key.sign(data)),
      },
      name: 'sig1',
      fields: ['@method', '@target-uri', ...covered],
      params: ['created', 'nonce', 'keyid', 'alg', 'tag'],
      paramValues: {
        created: new Date(now),
        nonce: randomBytes(24).toString('base64url'),
        tag: signatureTag(federationId),
      },
    },
    { method, url, headers: all },
  );
  return signed.headers as Record<string, string>; // texts went in, and texts were added
}

function digestOf(body: string | Uint8Array): string {
  return `sha-256=:${createHash('sha256').update(body).digest('base64')}:`;
}
