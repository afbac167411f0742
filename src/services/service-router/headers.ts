/** The headers of a routed call: what of the caller goes on, what of the target comes back, and what says where it passed. */
import { type Refusal, refuse } from '../../errors.ts';

export type Headers = Record<string, string | string[]>;
/** As they came: names in small letters. */
export type Incoming = Readonly<Record<string, string | readonly string[] | undefined>>;

/** They belong to one connection (RFC 9110, 7.6.1). */
const hopByHop = new Set([
  'connection',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** What proves or claims who the caller is: that is the hub's to say, in `Federation-Caller`. */
const credentials = new Set(['authorization', 'cookie', 'cookie2', 'forwarded', 'signature', 'signature-input']);
const claims = /^(x-forwarded-|x-real-ip$|x-client-ip$|x-node-|x-federation-|federation-|cf-connecting-|true-client-)/;

/** What would speak for the hub's origin in a browser, or for the hub to a proxy before it. */
const ofTheOrigin = new Set([
  'alt-svc',
  'clear-site-data',
  'nel',
  'public-key-pins',
  'report-to',
  'reporting-endpoints',
  'service-worker-allowed',
  'set-cookie',
  'set-cookie2',
  'strict-transport-security',
  'x-accel-redirect',
  'x-lighttpd-send-file',
  'x-sendfile',
]);

/** Federations that a call may pass. */
const mostHops = 8;

/** Who calls, and through which federation. */
export interface Passing {
  readonly federationId: string;
  /** `node:<id>` or `operator:<prefix>`. */
  readonly caller: string;
}

/** The headers that the target gets. Refuses `loop_detected` for a call that passed here before, or passed too many. */
export function forwardHeaders(incoming: Incoming, { federationId, caller }: Passing): Headers | Refusal {
  const passed = listOf(incoming['federation-hops']);
  if (passed.includes(federationId)) return refuse('loop_detected', `the call passed ${federationId} before`);
  if (passed.length >= mostHops) return refuse('loop_detected', `the call passed ${passed.length} federations`);
  const headers = kept(incoming, (name) => credentials.has(name) || claims.test(name));
  headers.via = [...listOf(incoming.via), `1.1 ${federationId}`].join(', ');
  headers['federation-hops'] = [...passed, federationId].join(', ');
  headers['federation-caller'] = caller;
  return headers;
}

/** The headers that the caller gets. What a node sends is shown as its own, and runs nothing in the name of the hub. */
export function answerHeaders(incoming: Incoming, federationId: string, nodeId: string): Headers {
  const headers = kept(incoming, (name) => ofTheOrigin.has(name) || name.startsWith('federation-'));
  headers.via = [...listOf(incoming.via), `1.1 ${federationId}`].join(', ');
  headers['federation-node'] = nodeId;
  headers['content-security-policy'] = 'sandbox';
  headers['x-content-type-options'] = 'nosniff';
  return headers;
}

/** All but those of the connection, those that it names, and those that are not wanted. */
function kept(incoming: Incoming, unwanted: (name: string) => boolean): Headers {
  const named = listOf(incoming.connection).map((name) => name.toLowerCase());
  const headers: Headers = {};
  for (const name in incoming) {
    const value = incoming[name]; // names are in small letters, as Node and undici give them
    const read = name.replaceAll('_', '-'); // as CGI and WSGI read it: both are the same there
    if (value === undefined || hopByHop.has(read) || named.includes(name) || unwanted(read)) continue;
    headers[name] = typeof value === 'string' ? value : [...value];
  }
  return headers;
}

function listOf(value: string | readonly string[] | undefined): string[] {
  if (value === undefined) return [];
  const text = typeof value === 'string' ? value : value.join(',');
  return text
    .split(',')
    .map((entry) => entry.trim())
    .filter(Boolean);
}
