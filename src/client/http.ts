/** Calls the HTTP API of a hub with the token of the session. */
import { HubRefusal, HubUnreachable } from './connection.ts';
import type { Line } from './sender.ts';

const timeoutMs = 15_000;
const mostTries = 6;
const busyStatuses: ReadonlySet<number> = new Set([429, 503]);
/** The longest that a hub is waited for between two tries. */
const longestWaitMs = 30_000;

interface CallOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Refusals that trying again would not change, though their status says so. */
  readonly isFinal?: (refusal: HubRefusal) => boolean;
}

/**
 * The answer to a request, parsed. One that the hub has no time for is tried again when it says, a few times. Throws `HubRefusal`,
 * or `HubUnreachable`, also when there is no session.
 */
export async function callHub(
  { url, clock, token, traceparent }: Pick<Line, 'url' | 'clock' | 'token' | 'traceparent'>,
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
  path: string,
  body?: object,
  { headers = {}, isFinal = () => false }: CallOptions = {},
): Promise<unknown> {
  const base = url.replace(/^ws/, 'http').replace(/\/+$/, '');
  const trace = traceparent?.();
  for (let tries = 1; ; tries++) {
    const bearer = token();
    if (bearer === undefined) throw new HubUnreachable('there is no session to ask in');
    const request: RequestInit = {
      method,
      headers: {
        ...headers,
        authorization: `Bearer ${bearer}`,
        ...(trace !== undefined && { traceparent: trace }),
        ...(body && { 'content-type': 'application/json' }),
      },
      signal: AbortSignal.timeout(timeoutMs),
      ...(body && { body: JSON.stringify(body) }),
    };
    const { response, answer } = await answerOf(`${base}/api/federation${path}`, request);
    if (response.ok) return answer;
    const refusal = refusalOf(response, answer);
    if (!busyStatuses.has(response.status) || tries >= mostTries || isFinal(refusal)) throw refusal;
    const waitMs = Math.min(longestWaitMs, refusal.retryAfterMs ?? 250 * 2 ** tries) * (1 + clock.random() / 2);
    await new Promise<void>((resolve) => void clock.after(waitMs, resolve));
  }
}

async function answerOf(url: string, request: RequestInit): Promise<{ response: Response; answer: unknown }> {
  try {
    const response = await fetch(url, request);
    const text = await response.text();
    return { response, answer: text === '' ? undefined : parsed(text) };
  } catch (error) {
    throw new HubUnreachable(`no answer to ${request.method} ${url}`, error);
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // a proxy's own page
  }
}

/** What an answer that is no success says. */
export function refusalOf({ status }: Pick<Response, 'status'>, answer: unknown): HubRefusal {
  const problem = typeof answer === 'object' && answer !== null ? (answer as Record<string, unknown>) : {}; // an object has members
  const { code, detail, ...extra } = problem;
  const text = (value: unknown, fallback: string) => (typeof value === 'string' ? value : fallback);
  return new HubRefusal(text(code, 'failed'), text(detail, `HTTP ${status}`), extra);
}
