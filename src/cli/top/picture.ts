/** What `fedhub top` shows, asked of a hub: each part by itself, so that one that is not allowed leaves the others. */
import type { DegradationAnswer } from '../degradation.ts';
import { type HubClient, HubProblem } from '../hub-client.ts';
import { readSamples, type Sample, sumOf } from './samples.ts';

export interface NodeLine {
  readonly node_id: string;
  readonly status: string;
  readonly role: string;
  /** Since this replica heard it; null: never. */
  readonly silent_seconds: number | null;
  readonly phi: number | null;
  readonly cpu_percent: number | null;
  readonly memory_percent: number | null;
  readonly active_tasks: number | null;
}

export interface Busy {
  /** A route or packet. */
  readonly what: string;
  readonly per_second: number;
  readonly mean_ms: number;
}

export interface Picture {
  /** Milliseconds of a clock that never goes back. */
  readonly at: number;
  readonly federation_id?: string;
  readonly version?: string;
  readonly uptime_seconds?: number;
  readonly connections?: number;
  readonly nodes_online?: number;
  readonly nodes_total?: number;
  readonly services_down?: readonly { readonly name: string; readonly state: string; readonly reason: string }[];
  readonly replicas?: readonly { readonly replica: string; readonly level: string; readonly cause: string }[];
  readonly order?: { readonly level: string; readonly until: string } | null;
  /** Of the replica that answers: those measures that are above a tenth of their first threshold. */
  readonly signals?: readonly {
    readonly signal: string;
    readonly value: number;
    readonly unit: string;
    readonly level: string;
  }[];
  readonly nodes?: readonly NodeLine[];
  readonly tasks?: Readonly<Record<string, number>>;
  readonly mail_waiting?: number;
  readonly log_head?: number;
  readonly log_per_second?: number;
  readonly views_lag?: number;
  readonly views_lag_seconds?: number;
  readonly shed_per_second?: number;
  readonly busiest?: readonly Busy[];
  /** What could not be asked, and why. */
  readonly missing: readonly string[];
}

interface Status {
  readonly federation_id: string;
  readonly version: string;
  readonly uptime_seconds: number;
  readonly connections: number;
  readonly nodes: { readonly online: number; readonly total: number };
  readonly services: readonly { readonly name: string; readonly state: string; readonly reason?: string }[];
  readonly views: { readonly position: number; readonly head: number };
}

interface NodePage {
  readonly nodes: readonly {
    readonly node_id: string;
    readonly status: string;
    readonly role: string;
    readonly suspicion: { readonly phi: number; readonly silent_ms: number } | null;
    readonly reading: {
      readonly resources?: { readonly cpu_percent?: number; readonly memory_percent?: number };
      readonly active_tasks?: number;
    } | null;
  }[];
}

const shownBusy = 10;

/** One look, and what the next needs to tell rates. */
export interface Look {
  readonly picture: Picture;
  readonly samples: readonly Sample[];
}

/** Throws when nobody answers. */
export async function look(hub: HubClient, at: number, before: Look | undefined): Promise<Look> {
  const missing: string[] = [];
  const part = <T>(name: string, asked: Promise<T>): Promise<T | undefined> =>
    asked.catch((error: unknown) => {
      if (!(error instanceof HubProblem)) throw error;
      missing.push(`${name}: ${error.problem.code}`);
      return undefined;
    });
  const [status, degradation, page, text] = await Promise.all([
    part('status', hub.get<Status>('/status')),
    part('levels', hub.get<DegradationAnswer>('/degradation')),
    part('nodes', hub.get<NodePage>('/nodes', { limit: '500' })),
    part('metrics', hub.metrics()),
  ]);
  const samples = text === undefined ? [] : readSamples(text);
  const picture: Picture = {
    at,
    ...(status && ofStatus(status)),
    ...(degradation && ofDegradation(degradation)),
    ...(page && { nodes: page.nodes.map(lineOf) }),
    ...(text !== undefined && ofSamples(samples, at, before)),
    missing,
  };
  return { picture, samples };
}

function ofStatus({ federation_id, version, uptime_seconds, connections, nodes, services, views }: Status) {
  return {
    federation_id,
    version,
    uptime_seconds,
    connections,
    nodes_online: nodes.online,
    nodes_total: nodes.total,
    services_down: services
      .filter(({ state }) => state !== 'running')
      .map(({ name, state, reason = '' }) => ({ name, state, reason })),
    log_head: views.head,
    views_lag: Math.max(0, views.head - views.position),
  };
}

function ofDegradation({ replica, level, cause, replicas, order, measured }: DegradationAnswer) {
  const others = replicas.filter((other) => other.replica !== replica);
  return {
    replicas: [{ replica, level, cause }, ...others].map((each) => ({
      replica: each.replica,
      level: each.level,
      cause: each.cause,
    })),
    order: order && { level: order.level, until: order.until },
    signals: measured.signals
      .filter(({ value, reduced }) => reduced !== null && value >= reduced / 10)
      .map(({ signal, value, unit, level: asks }) => ({ signal, value, unit, level: asks })),
  };
}

function lineOf({ node_id, status, role, suspicion, reading }: NodePage['nodes'][number]): NodeLine {
  return {
    node_id,
    status,
    role,
    silent_seconds: suspicion && Math.round(suspicion.silent_ms / 100) / 10,
    phi: suspicion?.phi ?? null,
    cpu_percent: reading?.resources?.cpu_percent ?? null,
    memory_percent: reading?.resources?.memory_percent ?? null,
    active_tasks: reading?.active_tasks ?? null,
  };
}

function ofSamples(samples: readonly Sample[], at: number, before: Look | undefined) {
  const of = (name: string, labels?: Record<string, string>) => sumOf(samples, name, labels);
  const seconds = before ? (at - before.picture.at) / 1000 : 0;
  const rate = (name: string) => {
    const [now, then] = [of(name), before && sumOf(before.samples, name)];
    if (now === undefined || then === undefined || seconds <= 0) return undefined;
    return Math.max(0, (now - then) / seconds);
  };
  const tasks = Object.fromEntries(
    ['pending', 'assigned', 'running'].map((status) => [status, of('federation_tasks', { status }) ?? 0]),
  );
  const [log, shed] = [rate('federation_events_appended_total'), rate('federation_shed_total')];
  const [mail, lag] = [of('federation_mail_waiting'), of('federation_projection_lag_seconds')];
  return {
    tasks,
    ...(mail !== undefined && { mail_waiting: mail }),
    ...(lag !== undefined && { views_lag_seconds: lag }),
    ...(log !== undefined && { log_per_second: rounded(log) }),
    ...(shed !== undefined && { shed_per_second: rounded(shed) }),
    ...(before && seconds > 0 && { busiest: busiest(samples, before.samples, seconds) }),
  };
}

/** Counts and sums of the two histograms that have a line a route or packet. */
function busiest(now: readonly Sample[], then: readonly Sample[], seconds: number): Busy[] {
  const before = new Map(then.map((sample) => [keyOf(sample), sample.value]));
  const found = new Map<string, { count: number; sum: number }>();
  for (const sample of now) {
    const [, kind, of] = /^federation_(http_request|packet)_duration_seconds_(count|sum)$/.exec(sample.name) ?? [];
    if (!kind || !of) continue;
    const { method = '', route = '', packet = '' } = sample.labels;
    const what = kind === 'packet' ? packet : `${method} ${route.replace('/api/federation', '')}`;
    const entry = found.get(what) ?? { count: 0, sum: 0 };
    entry[of as 'count' | 'sum'] += sample.value - (before.get(keyOf(sample)) ?? 0); // one of the two
    found.set(what, entry);
  }
  return [...found]
    .filter(([, { count }]) => count > 0)
    .map(([what, { count, sum }]) => ({
      what,
      per_second: rounded(count / seconds),
      mean_ms: rounded((sum / count) * 1000),
    }))
    .sort((a, b) => b.per_second - a.per_second)
    .slice(0, shownBusy);
}

function keyOf({ name, labels }: Sample): string {
  return `${name} ${Object.values(labels).join(' ')}`;
}

function rounded(value: number): number {
  return Math.round(value * 10) / 10;
}
