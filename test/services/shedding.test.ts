/** What is put aside at which level: the table, held against the routes and packets that there are. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { levels } from '../../src/events/degradation.ts';
import { type ClientPacketName, clientPackets } from '../../src/protocol.ts';
import { WorkTree } from '../../src/services/nexus-api/work-tree.ts';
import { exceptions, isShed, shedServices, workOfPacket, workOfRoute } from '../../src/shedding.ts';
import { type ServiceName, tiers } from '../../src/tiers.ts';

const description = parse(readFileSync(join(import.meta.dirname, '../../docs/openapi.yaml'), 'utf8')) as {
  paths: Record<string, Record<string, { responses: Record<string, { content?: unknown }> }>>;
};
const routes = Object.entries(description.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({
    method: method.toUpperCase(),
    path: path.replace('/api/federation', '').replaceAll(/\{(\w+)\}/g, ':$1'),
    operation,
  })),
);
const never = (service: ServiceName, method: string, path: string) =>
  workOfRoute(service, method, path).from === undefined;

describe('the table', () => {
  it('names only routes and packets that there are', () => {
    const known = new Set(routes.map(({ method, path }) => `${method} ${path}`));
    expect(exceptions.routes.filter((route) => !known.has(route))).toEqual([]);
    expect(exceptions.packets.filter((packet) => !(packet in clientPackets))).toEqual([]);
  });

  it('puts P2 aside first, P1 and Nexus last, and P0 and the guards never', () => {
    const guards = ['identity-auth', 'governance', 'access-control', 'rate-limiter', 'audit-logger'];
    expect(shedServices('normal')).toEqual([]);
    for (const service of shedServices('essential')) expect(tiers[service]).toBe('P2');
    const at = (level: (typeof levels)[number]) => new Set<string>(shedServices(level));
    expect(at('reduced').size).toBeLessThan(at('essential').size);
    for (const service of at('reduced')) expect(at('essential')).toContain(service);
    for (const [service, tier] of Object.entries(tiers)) {
      if (tier === 'P0' || guards.includes(service)) expect(at('core')).not.toContain(service);
      else if (tier !== 'P2') expect(at('core')).toContain(service);
    }
  });

  it('never puts aside being there, mail, and ends of what was begun', () => {
    const packets: ClientPacketName[] = [
      'federation:challenge',
      'federation:register',
      'federation:rotate',
      'federation:heartbeat',
      'federation:renew',
      'federation:resume',
      'federation:leave',
      'federation:message',
      'federation:message:ack',
      'federation:task:progress',
      'federation:task:complete',
      'federation:task:fail',
      'federation:response',
    ];
    for (const packet of packets)
      expect(workOfPacket(clientPackets[packet].service, packet).from, packet).toBeUndefined();
    expect(never('health-aggregator', 'GET', '/health')).toBe(true);
    expect(never('node-registry', 'POST', '/nodes/:id/heartbeat')).toBe(true);
    expect(never('governance', 'POST', '/governance/bans/:node')).toBe(true);
    expect(never('degradation', 'PUT', '/degradation')).toBe(true);
    expect(never('message-persistence', 'POST', '/send')).toBe(true);
    expect(never('task-queue', 'POST', '/tasks/:id/progress')).toBe(true);
    expect(never('task-queue', 'POST', '/tasks/:id/complete')).toBe(true);
    expect(never('task-queue', 'POST', '/tasks')).toBe(false);
  });

  it('is told in the description of each route that may be put aside', () => {
    const told = routes.filter(({ operation }) => JSON.stringify(operation.responses[503] ?? {}).includes('shedding'));
    const names = told.map(({ method, path }) => `${method} ${path}`);
    expect(names).toContain('GET /memory/search');
    expect(names).toContain('POST /tasks');
    expect(names).not.toContain('POST /send');
    expect(names).not.toContain('GET /nodes');
  });

  it('grows with the level', () => {
    for (const { method, path } of routes) {
      const work = workOfRoute('task-queue', method, path);
      const shed = levels.map((level) => isShed(work, level));
      expect(shed).toEqual(shed.toSorted());
    }
  });
});

describe('the tree of paths', () => {
  const tree = new WorkTree();
  const work = (path: string, method = 'GET') => workOfRoute('task-queue', method, path);
  const known = ['/a', '/a/:id', '/a/:id/b', '/a/fixed', '/a/fixed/c', '/r/:node/:service/*'];
  for (const path of known) tree.add('GET', path, work(path));
  tree.add(['POST', 'PUT'], '/a/:id', work('/a/:id', 'POST'));

  it.each([
    ['/a', '/a'],
    ['/a?x=/b', '/a'],
    ['/a/1', '/a/:id'],
    ['/a/1?q', '/a/:id'],
    ['/a/fixed', '/a/fixed'],
    ['/a/fixed/b', '/a/:id/b'],
    ['/a/fixed/c', '/a/fixed/c'],
    ['/r/n/s/x/y?z', '/r/:node/:service/*'],
  ])('finds %s', (url, path) => {
    expect(tree.find('GET', url)).toBeDefined();
    const only = new WorkTree();
    for (const each of known) if (each !== path) only.add('GET', each, work(each));
    if (path !== '/a/fixed') expect(only.find('GET', url)).toBeUndefined();
  });

  it('knows methods apart, and nothing of what is not there', () => {
    expect(tree.find('PUT', '/a/1')).toBeDefined();
    expect(tree.find('PUT', '/a')).toBeUndefined();
    for (const url of ['', '/', '//', '/b', '/a/1/b/c', '/%61', '*', 'http://x/a', `/${'/'.repeat(10_000)}`])
      expect(tree.find('GET', url), url.slice(0, 20)).toBeUndefined();
  });
});
