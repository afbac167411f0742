/** Lengths of time as they are typed. */
import { InvalidArgumentError } from 'commander';

const unitSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };

/** Of `90s`, `15m`, `12h` or `2d`. Throws what makes a wrong use of it. */
export function seconds(text: string): number {
  const [, count = '', unit = ''] = /^([1-9]\d{0,6})([smhd])$/.exec(text) ?? [];
  const perUnit = unitSeconds[unit];
  if (!perUnit) throw new InvalidArgumentError('Give a time such as 90s, 15m, 12h or 2d.');
  return Number(count) * perUnit;
}
