/** One batch of events to one address, signed per Standard Webhooks; and what its answer means. */
import { failureOf } from '../../egress.ts';
import { Fault } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { SubscriptionRow } from '../../projections/subscriptions.ts';
import { webhookSecret } from '../../webhook-secret.ts';
import type { View } from './shown.ts';

/** Until the head of the answer. */
const answerMs = 15_000;
const mostRetryAfterMs = 3_600_000;

export type Outcome =
  | { readonly kind: 'taken' }
  /** 410: the receiver wants no more of it. */
  | { readonly kind: 'gone' }
  | { readonly kind: 'failed'; readonly reason: string; readonly retryAfterMs: number | undefined };

type Needed = Pick<Hub, 'egress' | 'kernel' | 'keyring' | 'live' | 'metrics' | 'tracing' | 'version'>;

/** Never throws. */
export async function callWebhook(
  hub: Needed,
  row: SubscriptionRow,
  views: readonly View[],
  signal: AbortSignal,
): Promise<Outcome> {
  const began = hub.kernel.monotonicMs();
  // A batch may hold events of several traces: the call belongs to the first, and each event names its own.
  const traceparent = views.find(({ event }) => event.traceparent !== undefined)?.event.traceparent;
  const span = hub.tracing.within('webhook', 'client', traceparent);
  span?.set('federation.subscription', row.subscription_id);
  span?.set('federation.events', views.length);
  const outcome = await post(hub, row, views, signal, span?.traceparent ?? traceparent);
  span?.end(outcome.kind === 'failed' ? 'target_unreachable' : undefined);
  const told = outcome.kind === 'taken' ? 'delivered' : 'failed';
  if (told === 'delivered' || !signal.aborted) {
    hub.metrics.webhook('subscription', told, hub.kernel.monotonicMs() - began);
  }
  return outcome;
}

async function post(
  hub: Needed,
  { subscription_id, owner, delivery }: SubscriptionRow,
  views: readonly View[],
  signal: AbortSignal,
  traceparent: string | undefined,
): Promise<Outcome> {
  if (delivery.kind !== 'webhook') return { kind: 'gone' };
  const body = `[${views.map(({ json }) => json).join(',')}]`;
  const [first, last] = [views[0]!.event.position, views.at(-1)!.event.position]; // a batch holds at least one
  const id = `msg_${subscription_id}_${first}-${last}`; // the same however often it is sent
  try {
    const headers = { ...(await signed(hub, owner, id, body)), ...(traceparent !== undefined && { traceparent }) };
    const answer = await hub.egress.request(delivery.url, {
      method: 'POST',
      headers,
      body,
      signal,
      timeoutMs: answerMs,
    });
    answer.body.on('error', () => {}); // what it says does not matter
    answer.body.destroy();
    return outcomeOf(answer.status, answer.headers['retry-after'], hub.kernel.now());
  } catch (error) {
    const reason = error instanceof Fault ? error.code : failureOf(error);
    const detail = error instanceof Error ? error.message : String(error);
    return { kind: 'failed', reason: `${reason}: ${detail}`.slice(0, 300), retryAfterMs: undefined };
  }
}

async function signed(hub: Needed, owner: string, id: string, body: string): Promise<Record<string, string>> {
  const { Webhook } = await import('standardwebhooks');
  const time = new Date(hub.kernel.now());
  return {
    'content-type': 'application/cloudevents-batch+json; charset=utf-8',
    'user-agent': `federation-hub/${hub.version}`,
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(time.getTime() / 1000)),
    'webhook-signature': new Webhook(await webhookSecret(hub, owner)).sign(id, time, body),
  };
}

function outcomeOf(status: number, retryAfter: string | string[] | undefined, now: number): Outcome {
  if (status >= 200 && status < 300) return { kind: 'taken' };
  if (status === 410) return { kind: 'gone' };
  return { kind: 'failed', reason: `HTTP ${status}`, retryAfterMs: retryAfterMsOf(retryAfter, now) };
}

/** Seconds, or a date (RFC 9110). */
export function retryAfterMsOf(header: string | string[] | undefined, now: number): number | undefined {
  const text = Array.isArray(header) ? header[0] : header;
  if (text === undefined) return undefined;
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  return Number.isNaN(ms) ? undefined : Math.min(mostRetryAfterMs, Math.max(0, ms));
}
