import { describe, expect, it } from 'vitest';
import type { Hub } from '../../src/hub.ts';
import { createKernel, type Kernel } from '../../src/kernel.ts';
import { Lifecycle } from '../../src/lifecycle.ts';
import { Metrics } from '../../src/metrics.ts';
import { manifest } from '../../src/services/manifest.ts';
import { type AnyService, service, type Tier } from '../../src/services/service.ts';

/** A kernel whose timers run when the test says so. */
function handCranked() {
  const due: (() => void)[] = [];
  const kernel: Kernel = createKernel(
    { logLevel: 'silent' },
    {
      after: (_ms, fn) => {
        due.push(fn);
        return () => void due.splice(due.indexOf(fn), 1);
      },
    },
  );
  const crank = async () => {
    for (const fn of due.splice(0)) fn();
    await new Promise((done) => setTimeout(done, 5));
  };
  return { hub: { kernel, metrics: new Metrics(kernel) } as Hub, crank, due };
}

/** A service that writes what happens to it; `failures` is how often it does not start. */
function make(
  name: string,
  tier: Tier,
  told: string[],
  needs: Record<string, AnyService> = {},
  failures = 0,
): AnyService {
  let left = failures;
  return service({
    name,
    tier,
    purpose: `${name} for tests`,
    needs,
    async start() {
      if (left-- > 0) throw new Error('not today');
      told.push(`${name} started`);
      return { api: { name }, stop: async () => void told.push(`${name} stopped`) };
    },
  });
}

describe('services', () => {
  it('start in the order of the manifest and stop in reverse', async () => {
    const told: string[] = [];
    const a = make('a', 'P0', told);
    const b = make('b', 'P1', told, { a });
    const lifecycle = new Lifecycle(handCranked().hub, [a, b]);
    await lifecycle.start();
    expect(lifecycle.status().map(({ state }) => state)).toEqual(['running', 'running']);
    await lifecycle.stop();
    await lifecycle.stop();
    expect(told).toEqual(['a started', 'b started', 'b stopped', 'a stopped']);
  });

  it('of tier P0 that fail stop the start, and what had started', async () => {
    const told: string[] = [];
    const a = make('a', 'P0', told);
    const b = make('b', 'P0', told, { a }, 1);
    const lifecycle = new Lifecycle(handCranked().hub, [a, b]);
    await expect(lifecycle.start()).rejects.toThrow('b is needed and did not start: not today');
    expect(told).toEqual(['a started', 'a stopped']);
  });

  it.each(['P1', 'P2', 'Nexus'] as const)(
    'of tier %s that fail are shown, tried again, and do not stop the others',
    async (tier) => {
      const told: string[] = [];
      const { hub, crank } = handCranked();
      const a = make('a', tier, told, {}, 2);
      const b = make('b', 'P2', told);
      const lifecycle = new Lifecycle(hub, [a, b]);
      await lifecycle.start();
      expect(lifecycle.status()[0]).toMatchObject({ state: 'failed', reason: 'not today' });
      expect(lifecycle.degraded).toBe(true);
      await crank();
      expect(lifecycle.status()[0]).toMatchObject({ state: 'failed' });
      await crank();
      expect(lifecycle.status()[0]).toMatchObject({ state: 'running' });
      expect(lifecycle.status()[0]).not.toHaveProperty('reason');
      expect(lifecycle.degraded).toBe(false);
      expect(told).toEqual(['b started', 'a started']);
    },
  );

  it('that need one that is not running wait for it', async () => {
    const told: string[] = [];
    const { hub, crank } = handCranked();
    const a = make('a', 'P2', told, {}, 1);
    const b = make('b', 'P2', told, { a });
    const lifecycle = new Lifecycle(hub, [a, b]);
    await lifecycle.start();
    expect(lifecycle.status()[1]).toMatchObject({ state: 'failed', reason: 'it needs a, which is not running' });
    await crank();
    await crank();
    expect(told).toEqual(['a started', 'b started']);
  });

  it('are not tried again after the stop', async () => {
    const told: string[] = [];
    const { hub, crank, due } = handCranked();
    const lifecycle = new Lifecycle(hub, [make('a', 'P2', told, {}, 1)]);
    await lifecycle.start();
    await lifecycle.stop();
    expect(due).toEqual([]);
    await crank();
    expect(told).toEqual([]);
  });

  it('may need only those above them', () => {
    const told: string[] = [];
    const a = make('a', 'P0', told);
    const b = make('b', 'P0', told, { a });
    expect(() => new Lifecycle(handCranked().hub, [b, a])).toThrow('b needs a, which is not above it');
    expect(() => new Lifecycle(handCranked().hub, manifest)).not.toThrow();
  });
});
