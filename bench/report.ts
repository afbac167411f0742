/** Figures as a table for the terminal, as Markdown, and as JSON with every round in it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { type Figure, isMet, measured, spreadOf, type Target } from './measure.ts';

/** What the figures were measured on. */
export interface Machine {
  readonly cpus: string;
  readonly memoryGib: number;
  readonly system: string;
  readonly node: string;
  readonly postgres: string;
  /** Median of writing 4 KiB to a file and waiting until it is durable. */
  readonly fsyncMs: number;
}

export interface Report {
  /** ISO 8601 UTC. */
  readonly time: string;
  readonly machine: Machine;
  readonly rounds: number;
  readonly seconds: number;
  readonly figures: readonly Figure[];
  /** Scenarios without figures, and why. */
  readonly failures: Readonly<Record<string, string>>;
}

const headings = ['what', 'against', 'target', 'measured', 'min–max', 'hub', 'peer', ''];

/** For the terminal. */
export function table(figures: readonly Figure[]): string {
  const rows = [headings, ...figures.map(cells)];
  const widths = headings.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

export function markdown({ time, machine, rounds, seconds, figures, failures }: Report): string {
  const row = (columns: readonly string[]) => `| ${columns.join(' | ')} |`;
  return `${[
    '# Benchmark',
    '',
    `Measured ${time.slice(0, 10)} in ${Math.round(seconds)} s with \`npm run bench\`: medians of ${rounds} rounds in which hub and peer take turns.`,
    'Where a figure has a peer, it is the ratio hub ÷ peer within one round. `hub` and `peer` are medians, per second or in ms.',
    '',
    `${machine.cpus}, ${machine.memoryGib} GiB, ${machine.system}, Node.js ${machine.node}, ${machine.postgres}; a durable write of 4 KiB takes ${machine.fsyncMs} ms.`,
    '',
    row(headings),
    row(headings.map(() => '---')),
    ...figures.map((figure) => row(cells(figure))),
    ...Object.entries(failures).map(([name, reason]) => `\n**${name} failed:** ${reason}`),
  ].join('\n')}\n`;
}

/** Writes `<date>.json` and `latest.md` into a folder, which is made when it is not there. */
export function write(folder: URL, report: Report): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(new URL(`${report.time.slice(0, 10)}.json`, folder), `${JSON.stringify(report, null, 2)}\n`);
  writeFileSync(new URL('latest.md', folder), markdown(report));
}

function cells(figure: Figure): string[] {
  const { what, unit, hub, peer, target } = figure;
  const absolute = { ms: milliseconds, KB: kilobytes, 'per second': count }[unit];
  const plain = peer ? ratio : absolute;
  const { median, min, max } = measured(figure);
  const met = isMet(figure);
  return [
    what,
    peer?.name ?? '',
    target ? targetText(target, plain) : '',
    plain(median),
    `${plain(min).replace(/\D+$/, '')}–${plain(max)}`,
    absolute(spreadOf(hub).median),
    peer ? absolute(spreadOf(peer.values).median) : '',
    met === undefined ? '' : met ? 'met' : 'missed',
  ];
}

function targetText(target: Target, text: (value: number) => string): string {
  return 'atLeast' in target ? `≥ ${text(target.atLeast)}` : `≤ ${text(target.atMost)}`;
}

const ratio = (value: number) => `${value.toFixed(2)} ×`;
const count = (value: number) => Math.round(value).toLocaleString('en');
const kilobytes = (value: number) => `${Math.round(value)} KB`;
const milliseconds = (value: number) => `${value < 100 ? value.toFixed(1) : Math.round(value)} ms`;
