/** Draws a picture of a hub as lines of text, as wide and as many as a terminal has. Pure. */
import type { NodeLine, Picture } from './picture.ts';

const esc = '\u001b[';
const styles = { bold: '1', dim: '2', red: '31', green: '32', yellow: '33' } as const;
type Style = keyof typeof styles;

/** A piece of a line: its text is cut before it is styled, so that a cut line leaves no style behind. */
type Piece = string | readonly [text: string, ...styles: Style[]];

export interface Screen {
  readonly columns: number;
  readonly rows: number;
  /** Styles; without them the text is plain. */
  readonly colour: boolean;
}

const levelStyle: Readonly<Record<string, Style>> = {
  normal: 'green',
  reduced: 'yellow',
  essential: 'red',
  core: 'red',
};
const nodeStyle: Readonly<Record<string, Style>> = { online: 'green', suspect: 'yellow', offline: 'red' };

/** At most `rows` lines, none longer than `columns`. The newest trouble comes before what is well. */
export function draw(picture: Picture, screen: Screen): string[] {
  const lines: Piece[][] = [...head(picture), [], ...work(picture), ...trouble(picture)];
  const left = Math.max(0, screen.rows - lines.length - 1);
  const busy = busyLines(picture);
  const forBusy = Math.min(busy.length, Math.max(Math.floor(left / 2), left - (picture.nodes?.length ?? 0) - 2));
  lines.push(...busy.slice(0, forBusy));
  const nodes = nodeLines(picture, Math.max(0, screen.rows - lines.length));
  lines.push(...nodes);
  return lines.slice(0, screen.rows).map((line) => rendered(line, screen));
}

function head(picture: Picture): Piece[][] {
  const { federation_id = '?', version = '?', uptime_seconds, connections, nodes_online, nodes_total } = picture;
  const first: Piece[] = [['fedhub top', 'bold'], `  ${federation_id}  ${version}`];
  if (uptime_seconds !== undefined) first.push(`  up ${duration(uptime_seconds)}`);
  if (connections !== undefined) first.push(`  ${connections} sockets`);
  if (nodes_online !== undefined) first.push(`  ${nodes_online}/${nodes_total} nodes online`);
  const replicas: Piece[] = ['replicas  '];
  for (const { replica, level, cause } of picture.replicas ?? [])
    replicas.push(
      `${replica.slice(-8)} `,
      [level, levelStyle[level] ?? 'bold'],
      level === 'normal' ? '  ' : ` (${cause})  `,
    );
  if (picture.order) replicas.push([`ordered: ${picture.order.level} until ${picture.order.until}`, 'yellow']);
  return [first, replicas];
}

function work({
  tasks,
  mail_waiting,
  log_head,
  log_per_second,
  views_lag,
  views_lag_seconds,
  shed_per_second,
  signals,
}: Picture): Piece[][] {
  const log = [
    log_head !== undefined ? `at ${log_head}` : '',
    log_per_second !== undefined ? `${log_per_second}/s` : '',
    views_lag !== undefined ? `views ${views_lag} behind` : '',
    views_lag_seconds ? `(${views_lag_seconds.toFixed(1)} s)` : '',
  ].filter(Boolean);
  const lines: Piece[][] = [
    [
      `tasks     ${
        tasks
          ? Object.entries(tasks)
              .map(([state, count]) => `${count} ${state}`)
              .join('  ')
          : '-'
      }`,
      `   mail ${mail_waiting ?? '-'} waiting`,
    ],
    [`log       ${log.join('  ') || '-'}`],
  ];
  const load: Piece[] = ['load      '];
  for (const { signal, value, unit, level } of signals ?? [])
    load.push([`${signal} ${value} ${unit}`, level === 'normal' ? 'dim' : (levelStyle[level] ?? 'bold')], '  ');
  if (shed_per_second) load.push([`${shed_per_second}/s turned away`, 'red']);
  if (load.length === 1) load.push(['calm', 'dim']);
  return [...lines, load];
}

function trouble({ services_down = [], missing }: Picture): Piece[][] {
  const down: Piece[][] = services_down.map(({ name, state, reason }) => [
    ['down      ', 'red'],
    `${name} ${state}  ${reason}`,
  ]);
  return missing.length > 0 ? [...down, [[`not shown  ${missing.join(', ')}`, 'yellow']]] : down;
}

function busyLines({ busiest = [] }: Picture): Piece[][] {
  if (busiest.length === 0) return [];
  const rows = busiest.map(({ what, per_second, mean_ms }): Piece[] => [
    `${String(per_second).padStart(8)} ${String(mean_ms).padStart(8)}  ${what}`,
  ]);
  return [[], [[`${'A SECOND'.padStart(8)} ${'MEAN MS'.padStart(8)}  BUSIEST`, 'bold']], ...rows];
}

function nodeLines({ nodes, nodes_total }: Picture, room: number): Piece[][] {
  if (!nodes || nodes.length === 0 || room < 3) return [];
  const sorted = nodes.toSorted((a, b) => weight(b) - weight(a) || (a.node_id < b.node_id ? -1 : 1));
  const fit = sorted.length <= room - 2 ? sorted : sorted.slice(0, Math.max(0, room - 3));
  const width = Math.max(4, ...fit.map(({ node_id }) => Math.min(32, node_id.length)));
  const cell = (value: number | null, digits = 0) => (value === null ? '-' : value.toFixed(digits)).padStart(6);
  const rows = fit.map((node): Piece[] => [
    `${node.node_id.slice(0, width).padEnd(width)}  `,
    [node.status.padEnd(9), nodeStyle[node.status] ?? 'bold'],
    `${cell(node.silent_seconds, 1)} ${cell(node.phi, 1)} ${cell(node.cpu_percent)} ${cell(node.memory_percent)} ${cell(node.active_tasks)}  ${node.role}`,
  ]);
  const title = `${'NODE'.padEnd(width)}  STATUS    HEARD    PHI    CPU    MEM  TASKS  ROLE`;
  const more = (nodes_total ?? nodes.length) - fit.length;
  return [[], [[title, 'bold']], ...rows, ...(more > 0 ? [[[`… and ${more} more`, 'dim'] as const]] : [])];
}

/** What is in trouble comes first, then what works most. */
function weight({ status, phi, cpu_percent, active_tasks }: NodeLine): number {
  const rank = status === 'suspect' ? 2 : status === 'offline' ? 1 : 0;
  return rank * 1e6 + Math.min(99, phi ?? 0) * 1e3 + (active_tasks ?? 0) * 10 + (cpu_percent ?? 0) / 10;
}

function rendered(line: readonly Piece[], { columns, colour }: Screen): string {
  let left = columns;
  let text = '';
  for (const piece of line) {
    const [words, ...wanted] = typeof piece === 'string' ? [piece] : piece;
    const cut = [...shown(words)].slice(0, left).join('');
    left -= [...cut].length;
    text +=
      colour && wanted.length > 0 && cut ? `${esc}${wanted.map((each) => styles[each]).join(';')}m${cut}${esc}0m` : cut;
    if (left === 0) break;
  }
  return text;
}

function duration(seconds: number): string {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3_600)} h` : `${Math.floor(seconds / 86_400)} days`;
}

/** Names are chosen by strangers: none of them may speak to the terminal. */
function shown(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\u{FFFD}');
}
