/** How `fedhub top` draws what it saw: everything has its place, and no picture is larger than the terminal. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { draw } from '../../src/cli/top/draw.ts';
import type { NodeLine, Picture } from '../../src/cli/top/picture.ts';
import { readSamples, sumOf } from '../../src/cli/top/samples.ts';

const node = (node_id: string, more: Partial<NodeLine> = {}): NodeLine => ({
  node_id,
  status: 'online',
  role: 'member',
  silent_seconds: 1.2,
  phi: 0.4,
  cpu_percent: 12,
  memory_percent: 40,
  active_tasks: 3,
  ...more,
});
const full: Picture = {
  at: 0,
  federation_id: 'garden',
  version: '0.1.0',
  uptime_seconds: 7_300,
  connections: 4,
  nodes_online: 2,
  nodes_total: 3,
  services_down: [{ name: 'knowledge-sync', state: 'failed', reason: 'no disk' }],
  replicas: [
    { replica: '0000-11111111', level: 'essential', cause: 'load' },
    { replica: '0000-22222222', level: 'reduced', cause: 'order' },
  ],
  order: null,
  signals: [{ signal: 'loop_delay', value: 150, unit: 'ms', level: 'reduced' }],
  nodes: [
    node('ada'),
    node('bob', { status: 'suspect', phi: 9.1 }),
    node('cleo', { status: 'offline', silent_seconds: null }),
  ],
  tasks: { pending: 5, assigned: 1, running: 2 },
  mail_waiting: 17,
  log_head: 1_234,
  log_per_second: 56.7,
  views_lag: 8,
  views_lag_seconds: 0.2,
  shed_per_second: 33,
  busiest: [{ what: 'GET /tasks', per_second: 120.5, mean_ms: 3.4 }],
  missing: [],
};
const plain = { columns: 120, rows: 40, colour: false };
const esc = '\u{1b}';
const styled = new RegExp(`${esc}\\[[\\d;]*m`, 'g');
const unstyled = (line: string) => line.replaceAll(styled, '');

it('shows replicas and levels, tasks, mail, log, load, what is down, what is busy, and nodes in trouble first', () => {
  expect(draw(full, plain)).toEqual([
    'fedhub top  garden  0.1.0  up 2 h  4 sockets  2/3 nodes online',
    'replicas  11111111 essential (load)  22222222 reduced (order)  ',
    '',
    'tasks     5 pending  1 assigned  2 running   mail 17 waiting',
    'log       at 1234  56.7/s  views 8 behind  (0.2 s)',
    'load      loop_delay 150 ms  33/s turned away',
    'down      knowledge-sync failed  no disk',
    '',
    'A SECOND  MEAN MS  BUSIEST',
    '   120.5      3.4  GET /tasks',
    '',
    'NODE  STATUS    HEARD    PHI    CPU    MEM  TASKS  ROLE',
    'bob   suspect     1.2    9.1     12     40      3  member',
    'cleo  offline       -    0.4     12     40      3  member',
    'ada   online      1.2    0.4     12     40      3  member',
  ]);
});

it('says what it could not ask, and goes on without', () => {
  const lines = draw({ at: 0, missing: ['nodes: unauthenticated', 'metrics: forbidden'] }, plain);
  expect(lines).toContain('not shown  nodes: unauthenticated, metrics: forbidden');
  expect(lines.join('\n')).toContain('tasks     -');
});

it('styles words without changing them', () => {
  const drawn = draw(full, { ...plain, colour: true });
  expect(drawn.map(unstyled)).toEqual(draw(full, plain));
  expect(drawn.join('')).toContain('\u{1b}[31messential\u{1b}[0m');
});

it('is never wider or longer than the terminal, and every style ends in its line', () => {
  const size = fc.record({ columns: fc.integer({ min: 1, max: 200 }), rows: fc.integer({ min: 1, max: 60 }) });
  fc.assert(
    fc.property(size, fc.nat({ max: 300 }), (screen, count) => {
      const nodes = Array.from({ length: count }, (_, n) => node(`node-${n}`));
      const lines = draw({ ...full, nodes, nodes_total: count + 5 }, { ...screen, colour: true });
      expect(lines.length).toBeLessThanOrEqual(screen.rows);
      for (const line of lines) {
        expect([...unstyled(line)].length).toBeLessThanOrEqual(screen.columns);
        expect(line.split('\u{1b}[0m').length).toBe(line.split(new RegExp(`${esc}\\[[1-9]`)).length);
      }
    }),
  );
});

it('tells how many nodes have no place', () => {
  const nodes = Array.from({ length: 100 }, (_, n) => node(`n${String(n).padStart(3, '0')}`));
  const lines = draw({ ...full, nodes, nodes_total: 400 }, { ...plain, rows: 30 });
  expect(lines).toHaveLength(30);
  expect(lines.at(-1)).toMatch(/^… and \d+ more$/);
  const shown = lines.filter((line) => /^n\d{3} /.test(line)).length;
  expect(lines.at(-1)).toBe(`… and ${400 - shown} more`);
});

it('lets no name speak to the terminal', () => {
  const evil = draw({ ...full, nodes: [node('a\u{1b}[2Jb'), node('c\u{202e}d')] }, plain).join('\n');
  expect(evil).not.toContain(esc);
  expect(evil).not.toContain('\u{202e}');
});

it('reads the samples of Prometheus text', () => {
  const samples = readSamples('# HELP a b\na 1\nb{x="1",y="q\\"{}"} 2.5\nb{x="2"} 3\nc{} NaN\n');
  expect(samples[1]).toEqual({ name: 'b', labels: { x: '1', y: 'q\\"{}' }, value: 2.5 });
  expect(sumOf(samples, 'b')).toBe(5.5);
  expect(sumOf(samples, 'b', { x: '2' })).toBe(3);
  expect(sumOf(samples, 'nothing')).toBeUndefined();
});
