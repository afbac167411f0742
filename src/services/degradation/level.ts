/**
 * When the level goes up and down. Pure: what is asked for, and the time, give the next state.
 *
 * Up: as soon as it was asked for over half a second, at once as far as it was asked for all that time. Down: one step after a dwell of
 * calm. A step down is a trial: when the load is back soon after, the dwell before the next doubles. How long it may become depends on
 * whether there is anyone to serve: while many are turned away the load is still there, and there is no use in trying often; when
 * hardly anybody is, full service is back within half a minute.
 */
import { type Level, levels } from '../../events/degradation.ts';

/** Milliseconds. */
export const pace = {
  /** What is asked for less long than this is a spike. */
  raiseAfter: 450,
  /** Calm before a step down, at first. */
  dwell: 3_000,
  /** At most, while hardly anybody is turned away: three steps are less than thirty seconds. */
  longestQuiet: 8_000,
  /** At most, while many are turned away. */
  longestPressed: 96_000,
  /** A level that rises so soon after it fell makes the dwell longer. */
  relapse: 15_000,
  /** After so long at normal, relapses are forgotten. */
  forgive: 60_000,
} as const;
const mostRelapses = 5;

export interface LevelState {
  readonly level: Level;
  /** When it became this, by a clock that never goes back. */
  readonly since: number;
  /** Since when more is asked for, and the least of what was asked for since. */
  readonly hot: { readonly since: number; readonly level: Level } | undefined;
  /** Since when the level is not held up. */
  readonly calmSince: number | undefined;
  readonly loweredAt: number;
  /** How often in a row the load was back soon after a step down. */
  readonly relapses: number;
}

export function calm(now: number): LevelState {
  return { level: 'normal', since: now, hot: undefined, calmSince: now, loweredAt: -Infinity, relapses: 0 };
}

/** `pressed`: many are turned away because of the level. */
export function next(
  state: LevelState,
  { raise, hold, pressed }: { readonly raise: Level; readonly hold: Level; readonly pressed: boolean },
  now: number,
): LevelState {
  if (above(raise, state.level)) return heated(state, raise, now);
  const cooled = { ...state, hot: undefined };
  if (state.level === 'normal') {
    return now - state.since >= pace.forgive && state.relapses > 0 ? { ...cooled, relapses: 0 } : cooled;
  }
  if (!above(state.level, hold)) return { ...cooled, calmSince: undefined };
  const calmSince = state.calmSince ?? now;
  if (now - Math.max(calmSince, state.since) < dwellOf(state.relapses, pressed)) return { ...cooled, calmSince };
  const level = levels[levels.indexOf(state.level) - 1]!; // it is not the first
  return { ...cooled, level, since: now, loweredAt: now, calmSince: now };
}

/** How long it must be calm before the next step down, milliseconds. */
export function dwellOf(relapses: number, pressed: boolean): number {
  return Math.min(pace.dwell * 2 ** relapses, pressed ? pace.longestPressed : pace.longestQuiet);
}

function above(a: Level, b: Level): boolean {
  return levels.indexOf(a) > levels.indexOf(b);
}

function heated(state: LevelState, raise: Level, now: number): LevelState {
  const hot = state.hot && above(raise, state.hot.level) ? state.hot : { since: state.hot?.since ?? now, level: raise };
  if (now - hot.since < pace.raiseAfter) return { ...state, hot, calmSince: undefined };
  const again = now - state.loweredAt < pace.relapse;
  return {
    ...state,
    level: hot.level,
    since: now,
    hot: undefined,
    calmSince: undefined,
    relapses: again ? Math.min(mostRelapses, state.relapses + 1) : state.relapses,
  };
}
