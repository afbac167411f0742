import { describe, expect, it } from 'vitest';
import type { Reading } from '../../src/events/heartbeat.ts';
import type { AlertRow } from '../../src/projections/alerts.ts';
import type { NodeRow, NodeStatus } from '../../src/projections/nodes.ts';
import { readingOf, summarize } from '../../src/services/health-aggregator/summary.ts';

const at = '2026-01-01T00:00:00.000Z';

function member(node_id: string, status: NodeStatus): NodeRow {
  return {
    node_id,
    status,
    display_name: null,
    owner: null,
    role: 'member',
    public_key: 'A'.repeat(43),
    capabilities: [],
    models: [],
    profile: {},
    reading: null,
    registered_at: at,
    standing_position: 1,
    registered_position: 1,
    updated_at: at,
    status_since: at,
    last_heartbeat: at,
    heartbeat_position: 1,
  };
}

function openAlert(node_id: string, level: AlertRow['level'], status: AlertRow['status'] = 'open'): AlertRow {
  const times = { opened_at: at, changed_at: at, closed_at: null, times: 1 };
  return { id: `${node_id}/cpu`, node_id, measure: 'cpu', status, level, percent: 90, threshold: 80, ...times };
}

describe('the health of a federation', () => {
  it('of no nodes is healthy', () => {
    expect(summarize([], new Map(), [])).toMatchObject({ status: 'healthy', nodes: { total: 0 } });
  });

  it('counts nodes by status, and services over those that are not offline', () => {
    const reading = (status?: 'running' | 'degraded' | 'stopped'): Reading => ({
      services: { memory: status ? { status } : {} },
      active_tasks: 2,
    });
    const readings = new Map([
      ['a', reading()],
      ['b', reading('degraded')],
      ['gone', reading('stopped')],
    ]);
    const summary = summarize([member('a', 'online'), member('b', 'suspect'), member('gone', 'offline')], readings, []);
    expect(summary.nodes).toEqual({ total: 3, online: 1, suspect: 1, offline: 1 });
    expect(summary.services).toMatchObject({
      running: 1,
      degraded: 1,
      stopped: 0,
      by_name: { memory: { running: 1, degraded: 1 } },
    });
    expect(summary.active_tasks).toBe(4);
  });

  it('averages over the nodes that report a measure, and says null when none does', () => {
    const readings = new Map<string, Reading>([
      ['a', { resources: { cpu_percent: 10 } }],
      ['b', { resources: { cpu_percent: 25.5, memory_percent: 50 } }],
    ]);
    const { resources } = summarize([member('a', 'online'), member('b', 'online')], readings, []);
    expect(resources).toEqual({ cpu_percent: 17.75, memory_percent: 50, disk_percent: null, gpu_percent: null });
  });

  it('is a warning with one node away or one alert, critical with a critical alert or most nodes away', () => {
    const status = (nodes: NodeStatus[], alerts: AlertRow[] = []) =>
      summarize(
        nodes.map((one, index) => member(`n${index}`, one)),
        new Map(),
        alerts,
      ).status;
    expect(status(['online', 'online'])).toBe('healthy');
    expect(status(['online', 'online', 'offline'])).toBe('warning');
    expect(status(['online', 'suspect'])).toBe('warning');
    expect(status(['online', 'offline', 'offline'])).toBe('critical');
    expect(status(['online'], [openAlert('n0', 'warning')])).toBe('warning');
    expect(status(['online'], [openAlert('n0', 'critical')])).toBe('critical');
    expect(status(['online'], [openAlert('n0', 'critical', 'closed')])).toBe('healthy');
  });

  it('is written into the log in whole numbers', () => {
    const readings = new Map<string, Reading>([['a', { resources: { cpu_percent: 10.129 } }]]);
    const summary = summarize([member('a', 'online')], readings, []);
    expect(readingOf(summary)).toMatchObject({ online: 1, cpu: 1013, memory: null });
  });
});
