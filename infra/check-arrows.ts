/** `npm run check:arrows`: fails when src/ breaks a rule of .dependency-cruiser.cjs, or when no file of it was looked at. */
import { execFileSync } from 'node:child_process';

interface Cruise {
  readonly modules: readonly { readonly source: string; readonly dependencies: readonly { resolved: string }[] }[];
  readonly summary: {
    readonly totalCruised: number;
    readonly violations: readonly { rule: { name: string }; from: string; to: string }[];
  };
}

const report = execFileSync('depcruise', ['--config', '.dependency-cruiser.cjs', '--output-type', 'json', 'src'], {
  encoding: 'utf8',
  maxBuffer: 64 * 1024 * 1024,
});
const { modules, summary } = JSON.parse(report) as Cruise; // the shape that --output-type json promises
const sources = modules.filter(({ source }) => /^src\/.+\.ts$/.test(source));
const arrows = sources.flatMap(({ dependencies }) =>
  dependencies.filter(({ resolved }) => resolved.startsWith('src/')),
);

for (const { rule, from, to } of summary.violations) console.error(`${rule.name}: ${from} → ${to}`);
console.log(
  `${sources.length} files, ${arrows.length} arrows between them, ${summary.violations.length} against the rules`,
);
if (sources.length === 0 || arrows.length === 0) console.error('nothing was looked at: the rules were not tried');
process.exitCode = summary.violations.length > 0 || sources.length === 0 || arrows.length === 0 ? 1 : 0;
