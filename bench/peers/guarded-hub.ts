/**
 * The hub in a process that can take its guards away: each slot of its doors is then filled with one that does nothing, and the
 * rest of it is the same program. With its guards it tells what a verification costs.
 */
import { randomBytes } from 'node:crypto';
import { httpbis } from 'http-message-signatures';
import type { Credentials, Identity } from '../../src/doors.ts';
import type { Hub } from '../../src/hub.ts';
import type { AnyService } from '../../src/services/service.ts';
import { built } from '../built.ts';
import { answerParent } from '../processes.ts';

export type GuardedHub = {
  /** Starts it, with a node in it. Answers where, and the session token of the node. */
  start(options: GuardedHubOptions): Promise<{ url: string; token: string }>;
  /** Verifications per second, one after another, of so many: of one session token again and again, or of another each time. */
  verifyTokens(count: number, known: boolean): Promise<number>;
  /** The same of signed requests, each with a nonce of its own. */
  verifySigned(count: number): Promise<number>;
};

export interface GuardedHubOptions {
  /** Of the node that joins. */
  readonly nodeId: string;
  readonly guards: boolean;
  readonly folder: string;
  /** Limits are counted there. */
  readonly redis?: string;
}

const most = '10000000';

let nodeId = '';
let hub: Hub | undefined;
let key: { readonly publicKey: string; sign(message: Uint8Array): Promise<Uint8Array> } | undefined;

const answers: GuardedHub = {
  async start({ nodeId: name, guards, folder, redis }) {
    nodeId = name;
    const { manifest } = await built('services/manifest');
    (manifest as AnyService[]).push({
      name: 'bench',
      tier: 'P0',
      purpose: 'tells the benchmark of the hub',
      needs: {},
      async start(started) {
        hub = started;
        return { api: {}, stop: async () => {} };
      },
    });
    const [{ readConfig }, { createKernel }, { startHub }] = await Promise.all([
      built('config'),
      built('kernel'),
      built('main'),
    ]);
    const config = readConfig({
      PORT: '0',
      FEDERATION_DATA_DIR: folder,
      FEDERATION_LIMIT_REQUESTS: most,
      FEDERATION_LIMIT_MEGABYTES: most,
      FEDERATION_LIMIT_STRANGERS: most,
      REDIS_URL: redis,
    });
    const { url } = await startHub(config, createKernel({ logLevel: 'warn' }));
    const token = await join(url);
    if (!guards) takeGuards(hub!);
    return { url, token };
  },

  async verifyTokens(count, known) {
    const { createSessionTokens } = await built('services/identity-auth/session-token');
    const { kernel, keyring, federationId } = hub!;
    const issuer = createSessionTokens(kernel, keyring, federationId);
    const tokens: string[] = [];
    for (let at = 0; at < (known ? 1 : count); at++) {
      tokens.push((await issuer.issue({ nodeId, sessionId: `s-${at}`, epoch: at, keyId: 'k' })).token);
    }
    const verifier = createSessionTokens(kernel, keyring, federationId);
    if (known) await verifier.verify(tokens[0]!);
    return perSecond(count, async (at) => {
      const claims = await verifier.verify(tokens[known ? 0 : at]!);
      if ('refused' in claims) throw new Error(claims.detail);
    });
  },

  async verifySigned(count) {
    const identify = hub!.doors.identity.get();
    if (typeof identify !== 'function') throw new Error('the identity guard is not there');
    const requests: Credentials[] = [];
    for (let at = 0; at < count; at++) requests.push(await signed());
    return perSecond(count, async (at) => {
      const identity = await identify(requests[at]!, '127.0.0.1');
      if ('refused' in identity) throw new Error(`${identity.refused}: ${identity.detail}`);
    });
  },
};

answerParent(answers);

async function perSecond(count: number, work: (at: number) => Promise<void>): Promise<number> {
  const began = performance.now();
  for (let at = 0; at < count; at++) await work(at);
  return count / ((performance.now() - began) / 1000);
}

/** Fills every slot with a guard that lets pass whatever comes. */
function takeGuards({ doors }: Hub): void {
  const anyone: Identity = { kind: 'node', nodeId, sessionId: 'bench', role: 'member' };
  doors.identity.fill(async () => anyone);
  doors.bans.fill(() => undefined);
  doors.access.fill(() => undefined);
  const nothing = { allowances: [], short: undefined };
  doors.limits.fill({ enter: () => nothing, spend: () => {}, pass: () => 0 });
  doors.audit.fill({ refused: () => {}, read: () => {}, sensitive: async () => {} });
}

async function join(url: string): Promise<string> {
  const [{ generateKey }, { proofText, PROTOCOL_VERSION }] = await Promise.all([
    built('client/key-file'),
    built('protocol'),
  ]);
  key = await generateKey();
  const { publicKey } = key;
  const { nonce } = await post(`${url}/api/federation/auth/challenge`, { node_id: nodeId, purpose: 'register' });
  const proof = {
    purpose: 'register',
    federationId: hub!.federationId,
    nodeId,
    publicKey,
    nonce: nonce!,
    profile: {},
  } as const;
  const signature = Buffer.from(await key.sign(Buffer.from(proofText(proof)))).toString('base64url');
  const registration = { protocol_version: PROTOCOL_VERSION, node_id: nodeId, public_key: publicKey, nonce, signature };
  return (await post(`${url}/api/federation/nodes/register`, registration)).token!;
}

async function post(url: string, body: object): Promise<{ nonce?: string; token?: string }> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`);
  return (await response.json()) as { nonce?: string; token?: string }; // as docs/openapi.yaml says
}

/** A read that the node signed. */
async function signed(): Promise<Credentials> {
  const { keyThumbprint } = await built('ed25519');
  const url = `/api/federation/nodes/${nodeId}`;
  const { headers } = await httpbis.signMessage(
    {
      name: 'sig1',
      key: {
        id: keyThumbprint(key!.publicKey),
        alg: 'ed25519',
        sign: async (data) => Buffer.from(await key!.sign(data)),
      },
      fields: ['@method', '@authority', '@path', '@query'],
      params: ['created', 'nonce', 'keyid', 'alg', 'tag'],
      paramValues: {
        nonce: randomBytes(18).toString('base64url'),
        tag: `federation-hub;${hub!.federationId}`,
      },
    },
    { method: 'GET', url: `http://bench.example${url}`, headers: { host: 'bench.example' } },
  );
  const lower = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)]);
  return { method: 'GET', url, headers: Object.fromEntries(lower) };
}
