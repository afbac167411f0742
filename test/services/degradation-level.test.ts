/** When the level of a replica goes up and down: fast up, slow down, and not to and fro while the load stays. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Level, levels } from '../../src/events/degradation.ts';
import { calm, dwellOf, type LevelState, next, pace } from '../../src/services/degradation/level.ts';
import { asks, type Measured, type Threshold, thresholds } from '../../src/services/degradation/thresholds.ts';

const windowMs = 500;
const rank = (level: Level) => levels.indexOf(level);
const level = fc.constantFrom(...levels);

interface Window {
  readonly raise: Level;
  readonly hold: Level;
  readonly pressed: boolean;
}
const quiet: Window = { raise: 'normal', hold: 'normal', pressed: false };
const loud = (raise: Level): Window => ({ raise, hold: raise, pressed: true });

/** Any window; what raises holds as well. */
const anyWindow: fc.Arbitrary<Window> = fc
  .record({ raise: level, hold: level, pressed: fc.boolean() })
  .map((window) => ({
    ...window,
    hold: rank(window.hold) > rank(window.raise) ? window.hold : window.raise,
  }));

interface Change {
  readonly at: number;
  readonly from: Level;
  readonly to: Level;
}

/** Runs windows one after another; `load` may look at the level it meets. */
function run(windows: number, load: (at: number, level: Level) => Window): { changes: Change[]; state: LevelState } {
  let state = calm(0);
  const changes: Change[] = [];
  for (let n = 1; n <= windows; n++) {
    const at = n * windowMs;
    const before = state.level;
    state = next(state, load(at, before), at);
    if (state.level !== before) changes.push({ at, from: before, to: state.level });
  }
  return { changes, state };
}

describe('the level', () => {
  it('rises within a second, as far as was asked for all that time', () => {
    fc.assert(
      fc.property(level, level, (first, second) => {
        const { state } = run(2, (at) => loud(at === windowMs ? first : second));
        expect(state.level).toBe(rank(first) < rank(second) ? first : second);
      }),
    );
  });

  it('does not rise by a spike, however high', () => {
    const { changes } = run(100, (at) => (at % 2_000 === 0 ? loud('core') : quiet));
    expect(changes).toEqual([]);
  });

  it('goes down one step at a time, never before a dwell of calm', () => {
    fc.assert(
      fc.property(fc.array(anyWindow, { minLength: 20, maxLength: 400 }), (windows) => {
        const { changes } = run(windows.length, (at) => windows[at / windowMs - 1]!);
        for (const { at, from, to } of changes) {
          if (rank(to) > rank(from)) continue;
          expect(rank(from) - rank(to)).toBe(1);
          const last = windows.slice(Math.max(0, (at - pace.dwell) / windowMs), at / windowMs);
          for (const { raise, hold } of last) {
            expect(rank(raise)).toBeLessThan(rank(from));
            expect(rank(hold)).toBeLessThan(rank(from));
          }
        }
      }),
    );
  });

  it('stays while a measure trembles around its threshold', () => {
    const { changes } = run(1_200, (at) => ({
      raise: at % 3_000 < 1_500 ? 'reduced' : 'normal',
      hold: 'reduced',
      pressed: false,
    }));
    expect(changes).toEqual([{ at: 1_000, from: 'normal', to: 'reduced' }]);
  });

  it('is back at normal within thirty seconds of the end of any load', () => {
    fc.assert(
      fc.property(fc.array(anyWindow, { maxLength: 300 }), (windows) => {
        const after = 30_000 / windowMs;
        const { state } = run(windows.length + after, (at) => windows[at / windowMs - 1] ?? quiet);
        expect(state.level).toBe('normal');
      }),
    );
  });

  it.each(['reduced', 'essential', 'core'] as const)(
    'tries ever more seldom while a load stays that only %s holds',
    (needed) => {
      const minutes = 30;
      const { changes, state } = run((minutes * 60_000) / windowMs, (_at, met) => {
        const enough = rank(met) >= rank(needed);
        return { raise: enough ? 'normal' : needed, hold: enough ? 'normal' : needed, pressed: enough };
      });
      expect(changes.length).toBeLessThan(2 * (6 + (minutes * 60_000) / pace.longestPressed));
      const downs = changes.filter(({ from, to }) => rank(to) < rank(from)).map(({ at }) => at);
      const waits = downs.slice(1).map((at, n) => at - downs[n]!);
      expect(waits.at(-1)).toBeGreaterThanOrEqual(pace.longestPressed);
      expect(rank(state.level)).toBeGreaterThanOrEqual(rank(needed) - 1);
    },
  );

  it('forgets relapses after a minute at normal', () => {
    const shaken: LevelState = { ...calm(0), relapses: 4 };
    expect(next(shaken, quiet, pace.forgive - 1).relapses).toBe(4);
    expect(next(shaken, quiet, pace.forgive).relapses).toBe(0);
  });

  it('waits no longer than the bounds, however often the load came back', () => {
    fc.assert(
      fc.property(fc.nat({ max: 100 }), (relapses) => {
        expect(dwellOf(relapses, true)).toBeLessThanOrEqual(pace.longestPressed);
        expect(dwellOf(relapses, false)).toBeLessThanOrEqual(pace.longestQuiet);
        expect(dwellOf(relapses, false)).toBeGreaterThanOrEqual(pace.dwell);
      }),
    );
  });
});

describe('the thresholds', () => {
  const each = Object.entries(thresholds) as [keyof Measured, Threshold][];

  it.each(each)('of %s grow with the level', (_signal, { reduced, essential = Infinity, core = Infinity }) => {
    expect(reduced).toBeGreaterThan(0);
    expect(essential).toBeGreaterThan(reduced);
    expect(core).toBeGreaterThanOrEqual(essential);
  });

  it.each(each)('of %s raise when they are reached, and hold until seven tenths', (signal, { reduced, essential }) => {
    expect(asks({ [signal]: reduced * 0.69 })).toMatchObject({ raise: 'normal', hold: 'normal', signals: [] });
    expect(asks({ [signal]: reduced * 0.71 })).toMatchObject({ raise: 'normal', hold: 'reduced', signals: [] });
    expect(asks({ [signal]: reduced }).signals).toEqual([{ signal, value: reduced, level: 'reduced' }]);
    if (essential !== undefined) expect(asks({ [signal]: essential }).raise).toBe('essential');
  });

  it('take the worst of all measures, and name those that are beyond, the worst first', () => {
    const { raise, signals } = asks({ heap: 80, loop_delay: 1_000, append: 3, log_queue: 6_000 });
    expect(raise).toBe('core');
    expect(signals.map(({ signal }) => signal)).toEqual(['loop_delay', 'log_queue', 'heap']);
  });
});
