/**
 * From which measure on a replica sheds how much: one table, with reasons.
 *
 * A measure raises the level when it reaches a threshold, and holds it up until it is below seven tenths of that, so that one
 * which trembles around a threshold does not make the level tremble.
 */
import { type Level, type LoadSignal, levels, type RaisedSignal } from '../../events/degradation.ts';

/** What was measured in one window; what could not be measured is left out. */
export type Measured = { readonly [S in LoadSignal]?: number };

export interface Threshold {
  readonly unit: 'ms' | 'percent' | 'appends' | 'positions';
  /** From here on; a level that is left out is never asked for by this measure. */
  readonly reduced: number;
  readonly essential?: number;
  readonly core?: number;
  readonly means: string;
}

export const thresholds: { readonly [S in LoadSignal]: Threshold } = {
  // Heartbeats are to be answered within 500 ms, and wait for the loop twice: when they come and when they are on disk.
  loop_delay: {
    unit: 'ms',
    reduced: 150,
    essential: 250,
    core: 400,
    means: 'nine of ten turns of the event loop in half a second were late by less',
  },
  // Near the limit V8 does little but collect garbage, and beyond it the process ends.
  heap: { unit: 'percent', reduced: 75, essential: 85, core: 92, means: 'heap in use, of its limit' },
  // The door already keeps what is under way at bounds; a level makes room for the services above. The last one would serve nobody more.
  door: {
    unit: 'percent',
    reduced: 5,
    essential: 25,
    means: 'requests and packets that the door had no place for, of those that it may refuse',
  },
  // At 10,000 appends are refused, heartbeats among them.
  log_queue: {
    unit: 'appends',
    reduced: 2_000,
    essential: 5_000,
    core: 8_000,
    means: 'appends that wait or are being written',
  },
  // The disk or the database is slow. Nodes count a heartbeat as missed after ten seconds.
  append: {
    unit: 'ms',
    reduced: 1_000,
    essential: 2_500,
    core: 5_000,
    means: 'from an append coming in to its being on disk, on average',
  },
  // At 10,000 the replica is not ready any more. What is read is old then, but reading costs no P1 service its place.
  views_lag: {
    unit: 'positions',
    reduced: 7_500,
    essential: 30_000,
    means: 'positions that the views are behind the log',
  },
  // The head is asked for twice a second. At two seconds writes are refused, at ten the sessions go.
  log_away: {
    unit: 'ms',
    reduced: 3_000,
    essential: 5_000,
    core: 8_000,
    means: 'since the head of the log was confirmed',
  },
  views_away: { unit: 'ms', reduced: 3_000, essential: 10_000, means: 'since the views answered, beyond two seconds' },
  // Replicas count limits alone then, and what jobs owe comes all at once when it is back.
  redis_away: { unit: 'ms', reduced: 10_000, means: 'since Redis was there, where there is one' },
};

const holds = 0.7;

/** What the measures of one window ask for. */
export interface Asked {
  /** The level that they raise to. */
  readonly raise: Level;
  /** The level that they would not leave. At least `raise`. */
  readonly hold: Level;
  /** The measures beyond a threshold, the worst first. */
  readonly signals: readonly RaisedSignal[];
}

export function asks(measured: Measured): Asked {
  const signals: RaisedSignal[] = [];
  let hold = 0;
  for (const [signal, value] of Object.entries(measured) as [LoadSignal, number][]) {
    const level = levelAt(thresholds[signal], value);
    if (level > 0) signals.push({ signal, value: Math.round(value * 10) / 10, level: levels[level]! });
    hold = Math.max(hold, levelAt(thresholds[signal], value / holds));
  }
  signals.sort((a, b) => levels.indexOf(b.level) - levels.indexOf(a.level));
  return { raise: signals[0]?.level ?? 'normal', hold: levels[hold]!, signals };
}

function levelAt({ reduced, essential = Infinity, core = Infinity }: Threshold, value: number): number {
  return value >= core ? 3 : value >= essential ? 2 : value >= reduced ? 1 : 0;
}
