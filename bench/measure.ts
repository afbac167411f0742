/**
 * What a figure is, and how it is come by: contestants take turns within one run, so that what slows the machine slows all of
 * them, and a figure is the median of the rounds with its least and its greatest beside it.
 */

export interface Figure {
  /** What was measured, in words. */
  readonly what: string;
  /** Of `hub` and `peer`. */
  readonly unit: 'per second' | 'ms' | 'KB';
  /** One value a round. */
  readonly hub: readonly number[];
  /** Whom the hub is measured against; absent where the target is absolute. */
  readonly peer?: { readonly name: string; readonly values: readonly number[] };
  /** Of hub ÷ peer, round by round, where there is a peer; else of the hub's values. Absent: shown beside the others, not judged. */
  readonly target?: Target;
}

export type Target = { readonly atLeast: number } | { readonly atMost: number };

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Everything a scenario is given. */
export interface Bench {
  /** How many rounds; fewer in a quick run. */
  readonly rounds: number;
  /** An empty folder of its own, removed afterwards. */
  readonly folder: string;
  /** An empty database of its own on the PostgreSQL server of this run. */
  database(): Promise<string>;
}

export type Scenario = (bench: Bench) => Promise<readonly Figure[]>;

/** Runs for so many milliseconds, and answers a rate per second or a duration. */
export type Contestant = (ms: number) => Promise<number>;

/** Warms each contestant up, then lets all take turns `count` times, forwards and backwards by turns. Gives the values of each. */
export async function takeTurns<const N extends string>(
  count: number,
  ms: number,
  contestants: Readonly<Record<N, Contestant>>,
): Promise<Readonly<Record<N, readonly number[]>>> {
  const entries = Object.entries(contestants) as [N, Contestant][]; // the record has no other keys
  const values = Object.fromEntries(entries.map(([name]) => [name, []])) as unknown as Record<N, number[]>; // the same keys
  for (const [, run] of entries) await run(Math.min(ms, 500));
  for (let round = 0; round < count; round++) {
    for (const [name, run] of round % 2 === 0 ? entries : entries.toReversed()) values[name].push(await run(ms));
  }
  return values;
}

/** `writers` at once, each starting the next piece of work when its last is done. Answers pieces per second. */
export async function closedLoop(
  writers: number,
  ms: number,
  work: (writer: number) => Promise<unknown>,
): Promise<number> {
  const began = performance.now();
  let done = 0;
  const write = async (writer: number) => {
    while (performance.now() - began < ms) {
      await work(writer);
      done++;
    }
  };
  await Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)));
  return done / ((performance.now() - began) / 1000);
}

/** What the target of a figure is held against. */
export function measured({ hub, peer }: Figure): Spread {
  return spreadOf(peer ? hub.map((value, round) => value / peer.values[round]!) : hub);
}

/** Judged by the median. */
export function isMet(figure: Figure): boolean | undefined {
  if (!figure.target) return undefined;
  const { median } = measured(figure);
  return 'atLeast' in figure.target ? median >= figure.target.atLeast : median <= figure.target.atMost;
}

export function spreadOf(values: readonly number[]): Spread {
  if (values.length === 0) throw new RangeError('nothing was measured');
  return { median: percentile(values, 50), min: Math.min(...values), max: Math.max(...values) };
}

/** The nearest-rank percentile. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  if (percent === 50 && sorted.length % 2 === 0) {
    return (sorted[sorted.length / 2 - 1]! + sorted[sorted.length / 2]!) / 2;
  }
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)]!;
}
