/** What an operator watches a hub with: Prometheus itself scrapes one, and holds alerts, dashboard and runbooks against what it found. */
import { execFile } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { FederationNode, generateKey } from '../../src/client/node.ts';
import { post } from '../security/visitor.ts';
import { type Collector, startCollector } from '../setup/collector.ts';
import { readExposition } from '../setup/exposition.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { program } from '../setup/hub-process.ts';
import { type PrometheusServer, promtool, startPrometheus } from '../setup/prometheus.ts';

const root = path.join(import.meta.dirname, '../..');
const read = (file: string) => readFileSync(path.join(root, file), 'utf8');

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly annotations: { readonly runbook_url: string };
}
interface Panel {
  readonly title: string;
  readonly targets?: readonly { readonly expr: string }[];
}

const rules = (parse(read('infra/alerts.yml')) as { groups: { rules: Rule[] }[] }).groups.flatMap(
  (group) => group.rules,
);
const dashboard = JSON.parse(read('infra/grafana/dashboards/federation-hub.json')) as { panels: Panel[] };
const queries = dashboard.panels.flatMap(({ title, targets = [] }) =>
  targets.map(({ expr }) => [title, expr.replaceAll('$__rate_interval', '1m')] as const),
);

let collector: Collector;
let hub: TestHub;
let prometheus: PrometheusServer;
const nodes: FederationNode[] = [];

async function enlist(nodeId: string): Promise<FederationNode> {
  const node = new FederationNode({ url: hub.url, nodeId, key: await generateKey() });
  nodes.push(node);
  node.work({ count: async () => 3 });
  return node.connect();
}

/** As infra/prometheus.yml says, but this hub, each second. */
function config(): string {
  const given = parse(read('infra/prometheus.yml')) as { scrape_configs: Record<string, unknown>[] };
  const [job] = given.scrape_configs;
  const scrape_configs = [{ ...job, scrape_interval: '1s', static_configs: [{ targets: [new URL(hub.url).host] }] }];
  return JSON.stringify({ ...given, global: { evaluation_interval: '1s' }, scrape_configs }); // JSON is YAML
}

beforeAll(async () => {
  collector = await startCollector();
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_BSP_SCHEDULE_DELAY: '100' };
  hub = await startTestHub({ env });
  prometheus = await startPrometheus(config(), { 'alerts.yml': read('infra/alerts.yml') });
  const [ada, bob] = [await enlist('ada'), await enlist('bob')];
  await prometheus.query('up'); // it is there before the rest happens, so that rates have a beginning
  bob.messages(async () => {});
  await ada.send('bob', 'hello');
  await ada.submit({ type: 'count' });
  const stored = { content: 'x', category: 'notes' };
  expect((await post(hub, '/memory/store', stored, hub.adminToken)).status).toBeLessThan(300);
  const waited = 'histogram_quantile(0.95, sum by (le) (rate(federation_task_wait_seconds_bucket[1m]))) >= 0';
  for (let tries = 0; (await prometheus.query(waited)).length === 0; tries++) {
    if (tries === 60) throw new Error('Prometheus saw no task wait');
    await ada.submit({ type: 'count' });
    for (const where of ['status', 'nodes']) await fetch(`${hub.url}/api/federation/${where}`);
    await new Promise((done) => setTimeout(done, 500));
  }
});
afterAll(async () => {
  for (const node of nodes) node.close();
  await prometheus?.stop();
  await hub?.stop();
  await collector?.close();
});

describe('what the hub tells', () => {
  it('is what promtool takes for metrics that are named well', async () => {
    const text = await (await fetch(`${hub.url}/metrics`)).text();
    const ours = text.split('\n').filter((line) => /^(# (HELP|TYPE) )?federation_/.test(line)); // the library names its own
    expect(await promtool(['check', 'metrics'], `${ours.join('\n')}\n`)).toBe('');
  });

  it('is scraped by Prometheus in OpenMetrics, exemplars included', async () => {
    const { activeTargets } = (await prometheus.get('/api/v1/targets')) as {
      activeTargets: { health: string; lastError: string; labels: { job: string } }[];
    };
    expect(activeTargets.map(({ health, lastError, labels }) => [labels.job, health, lastError])).toEqual([
      ['federation-hub', 'up', ''],
    ]);
    const asked = async () => {
      const now = Date.now() / 1000;
      const about = 'federation_door_duration_seconds_bucket';
      const found = await prometheus.get(`/api/v1/query_exemplars?query=${about}&start=${now - 600}&end=${now + 600}`);
      return (found as { exemplars: { labels: { trace_id: string } }[] }[]).flatMap(({ exemplars }) => exemplars);
    };
    await expect.poll(async () => (await asked()).length, { timeout: 15_000 }).toBeGreaterThan(0);
    const isKnown = async () => {
      const [first] = await asked();
      return collector.spans.some(({ traceId }) => traceId === first?.labels.trace_id);
    };
    await expect.poll(isKnown, { timeout: 15_000 }).toBe(true);
  });

  it('tells traffic, errors, latency and how full it is, by service and door', async () => {
    const names = async (expression: string) =>
      (await prometheus.query(expression)).map(({ metric }) => `${metric.door} ${metric.service}`).sort();
    expect(await names('sum by (door, service) (federation_door_requests_total{outcome="ok"}) > 0')).toEqual(
      expect.arrayContaining([
        'http health-aggregator',
        'http knowledge-sync',
        'socket identity-auth',
        'socket message-persistence',
        'socket task-queue',
      ]),
    );
    const counted = 'sum by (door, service) (federation_door_duration_seconds_count)';
    const total = 'sum by (door, service) (federation_door_requests_total)';
    expect(await names(`${counted} == ${total}`)).toEqual(await names(total));
    const full = await prometheus.query('federation_saturation_ratio');
    expect(full.map(({ metric }) => metric.resource).sort()).toEqual([
      'heap',
      'http_connections',
      'log_queue',
      'sockets',
      'strangers',
    ]);
    for (const { value } of full) expect(Number(value[1])).toBeLessThan(1);
  });
});

describe('alerts', () => {
  it('are rules that Prometheus takes, fire when they should, and are silent when they should be', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'fedhub-alerts-'));
    try {
      copyFileSync(path.join(root, 'infra/alerts.yml'), path.join(folder, 'alerts.yml'));
      copyFileSync(path.join(import.meta.dirname, 'alerts-fire.yml'), path.join(folder, 'test.yml'));
      expect(await promtool(['check', 'rules', path.join(folder, 'alerts.yml')])).toContain(
        `${rules.length} rules found`,
      );
      expect(await promtool(['test', 'rules', path.join(folder, 'test.yml')])).toContain('SUCCESS');
      for (const file of ['prometheus.yml', 'prometheus-compose.yml'])
        expect(await promtool(['check', 'config', path.join(root, 'infra', file)])).toContain('SUCCESS');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('can be judged of a hub that is well, and none fires', async () => {
    const judged = async () => {
      const { groups } = (await prometheus.get('/api/v1/rules')) as {
        groups: { rules: { name: string; health: string; state: string }[] }[];
      };
      return groups.flatMap((group) => group.rules).map(({ name, health, state }) => `${name} ${health} ${state}`);
    };
    await expect.poll(judged, { timeout: 15_000 }).toEqual(rules.map(({ alert }) => `${alert} ok inactive`));
  });

  it('and panels name only metrics that the hub has', async () => {
    const families = readExposition(await (await fetch(`${hub.url}/metrics`)).text());
    const known = (name: string) => families.has(name) || families.has(name.replace(/_(bucket|count|sum)$/, ''));
    const told = [...rules.map(({ expr }) => expr), ...queries.map(([, expr]) => expr)];
    const names = new Set(told.flatMap((expr) => expr.match(/\b(federation|nodejs|process)_[a-z0-9_]+/g) ?? []));
    expect([...names].filter((name) => !known(name))).toEqual([]);
    expect(names.size).toBeGreaterThan(30);
  });
});

describe('the dashboard', () => {
  it('shows something in every panel', async () => {
    const empty: string[] = [];
    for (const [title, expression] of queries)
      if ((await prometheus.query(expression)).length === 0) empty.push(`${title}: ${expression}`);
    expect(empty).toEqual([]);
    expect(queries.length).toBeGreaterThan(40);
  });
});

describe('runbooks', { timeout: 120_000 }, () => {
  const pages = readdirSync(path.join(root, 'docs/runbooks')).filter((name) => name !== 'README.md');

  it('are one page for each alert, which says what it means, how to look and what to do', () => {
    expect(pages.map((name) => `docs/runbooks/${name}`).sort()).toEqual(
      rules.map(({ annotations }) => annotations.runbook_url).sort(),
    );
    for (const { alert, expr, annotations } of rules) {
      const page = read(annotations.runbook_url);
      expect(page.startsWith(`# ${alert}\n`), alert).toBe(true);
      expect(page, alert).toContain(`\`${expr}\``);
      for (const heading of ['What it means', 'How to look', 'What to do']) expect(page).toContain(`\n## ${heading}\n`);
      expect(read('docs/runbooks/README.md')).toContain(`(${annotations.runbook_url.replace('docs/runbooks/', '')})`);
    }
  });

  it('name commands, paths, settings and metrics that exist', async () => {
    const text = pages.map((name) => read(`docs/runbooks/${name}`)).join('\n');
    const commands = new Set(
      [...text.matchAll(/`fedhub ([a-z]+)(?: ([a-z]+))?/g)].map(([, name, sub]) => [name!, sub]),
    );
    const help = async (...args: string[]) =>
      (await promisify(execFile)(process.execPath, [program, ...args, '--help'])).stdout;
    const top = await help();
    for (const [name, sub] of commands) {
      expect(top).toMatch(new RegExp(`^  ${name}\\b`, 'm'));
      if (sub !== undefined) expect(await help(name!), name).toMatch(new RegExp(`^  ${sub}\\b`, 'm'));
    }
    const paths = Object.keys((parse(read('docs/openapi.yaml')) as { paths: object }).paths);
    for (const [, named] of text.matchAll(/(\/api\/federation\/[\w/-]+)/g))
      expect(
        paths.some((known) => sameShape(known, named!)),
        named,
      ).toBe(true);
    const families = readExposition(await (await fetch(`${hub.url}/metrics`)).text());
    for (const [name] of text.matchAll(/\b(federation|nodejs|process)_[a-z0-9_]+/g))
      expect(
        families.has(name) || families.has(name.replace(/_(bucket|count|sum)$/, '')) || name === 'federation_log_head',
        name,
      ).toBe(true);
    const settings = read('README.md');
    for (const [name] of text.matchAll(/\b(FEDERATION|OTEL)_[A-Z_]+\b/g))
      expect(settings, name).toContain(`\`${name}\``);
  });
});

/** `NODE` and the like stand for what a path leaves open. */
function sameShape(known: string, named: string): boolean {
  const [one, other] = [known.split('/'), named.split('/')];
  return (
    one.length === other.length &&
    one.every((part, at) => part === other[at] || (part.startsWith('{') && /^[A-Z]+$/.test(other[at]!)))
  );
}
