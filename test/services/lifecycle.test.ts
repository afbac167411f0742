import { describe, expect, it } from 'vitest';
import { Slot } from '../../src/doors.ts';
import type { Hub } from '../../src/hub.ts';
import { createKernel, type Kernel } from '../../src/kernel.ts';
import { Lifecycle } from '../../src/lifecycle.ts';
import { Metrics } from '../../src/metrics.ts';
import { manifest } from '../../src/services/manifest.ts';
import type { AnyService, Standing } from '../../src/services/service.ts';
import type { Tier } from '../../src/tiers.ts';

/** A kernel whose timers run when the test says so. */
function handCranked() {
  const due: { readonly ms: number; readonly fn: () => void }[] = [];
  const kernel: Kernel = createKernel(
    { logLevel: 'silent' },
    {
      after: (ms, fn) => {
        const one = { ms, fn };
        due.push(one);
        return () => {
          if (due.includes(one)) due.splice(due.indexOf(one), 1);
        };
      },
    },
  );
  /** Runs those that are due within this time. */
  const crank = async (withinMs = Number.POSITIVE_INFINITY) => {
    const now = due.filter(({ ms }) => ms <= withinMs);
    due.splice(0, due.length, ...due.filter(({ ms }) => ms > withinMs));
    for (const { fn } of now) fn();
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
  return {
    name,
    tier,
    purpose: `${name} for tests`,
    needs,
    async start() {
      if (left-- > 0) throw new Error('not today');
      told.push(`${name} started`);
      return { api: { name }, stop: async () => void told.push(`${name} stopped`) };
    },
  };
}

/** The same, with what it may say of itself. */
function outspoken(made: AnyService): { service: AnyService; standing: () => Standing } {
  let said: Standing | undefined;
  const service: AnyService = {
    ...made,
    start(hub, others, standing) {
      said = standing;
      return made.start(hub, others, standing);
    },
  };
  return { service, standing: () => said! };
}

const settled = () => new Promise((done) => setTimeout(done, 5));

describe('the slot of a guard', () => {
  it('is not empty when one that came late goes again, and shuts the door when the last goes', () => {
    const slot = new Slot<string>('identity');
    expect(slot.get()).toMatchObject({ refused: 'guard_unavailable' });
    const first = slot.fill('first');
    const late = slot.fill('late');
    expect(slot.get()).toBe('late');
    late();
    expect(slot.get()).toBe('first');
    first();
    first();
    expect(slot.get()).toMatchObject({ refused: 'guard_unavailable' });
  });
});

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
      await crank();
      expect(lifecycle.status()[0]).toMatchObject({ state: 'failed' });
      await crank();
      expect(lifecycle.status()[0]).toMatchObject({ state: 'running' });
      expect(lifecycle.status()[0]).not.toHaveProperty('reason');
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

  it('that fail later take those with them that need them, and all come back in order', async () => {
    const told: string[] = [];
    const { hub, crank } = handCranked();
    const a = outspoken(make('a', 'P1', told));
    const b = make('b', 'P2', told, { a: a.service });
    const c = make('c', 'P2', told, { b });
    const d = make('d', 'P2', told);
    const lifecycle = new Lifecycle(hub, [a.service, b, c, d]);
    await lifecycle.start();
    told.length = 0;
    a.standing().failed(new Error('its disk is gone'));
    await settled();
    expect(told).toEqual(['c stopped', 'b stopped', 'a stopped']);
    expect(lifecycle.status().map(({ state, reason }) => [state, reason])).toEqual([
      ['failed', 'its disk is gone'],
      ['failed', 'it needs a, which is not running'],
      ['failed', 'it needs b, which is not running'],
      ['running', undefined],
    ]);
    told.length = 0;
    await crank();
    expect(told).toEqual(['a started', 'b started', 'c started']);
    await lifecycle.stop();
  });

  it('that want one are started anew when it comes or goes, and serve all the while', async () => {
    const told: string[] = [];
    const { hub, crank } = handCranked();
    const a = outspoken(make('a', 'P2', told, {}, 1));
    let serving = 0;
    const door: AnyService = {
      ...make('door', 'Nexus', told),
      wants: { a: a.service },
      async start(_hub, others) {
        serving++;
        told.push(`door started ${'a' in others && others.a ? 'with' : 'without'} a`);
        return {
          api: {},
          async stop() {
            serving--;
            expect(serving).toBeGreaterThan(0);
          },
        };
      },
    };
    const lifecycle = new Lifecycle(hub, [a.service, door]);
    await lifecycle.start();
    await crank();
    a.standing().failed(new Error('again'));
    await settled();
    expect(told).toEqual([
      'door started without a',
      'a started',
      'door started with a',
      'a stopped',
      'door started without a',
    ]);
    expect(lifecycle.status()[1]).toMatchObject({ state: 'running' });
    serving++; // the stop of all is no change of guard
    await lifecycle.stop();
  });

  it('of tier P0 that fail later end the hub', async () => {
    const told: string[] = [];
    const fatal: string[] = [];
    const a = outspoken(make('a', 'P0', told));
    const lifecycle = new Lifecycle(handCranked().hub, [a.service], ({ message }) => fatal.push(message));
    await lifecycle.start();
    a.standing().failed(new Error('its thread died'));
    a.standing().failed(new Error('once more'));
    expect(fatal).toEqual(['a is needed and failed: its thread died']);
    await lifecycle.stop();
  });

  it('that lack something are shown as degraded until they do not', async () => {
    const told: string[] = [];
    const a = outspoken(make('a', 'P2', told));
    const lifecycle = new Lifecycle(handCranked().hub, [a.service]);
    await lifecycle.start();
    a.standing().degraded('the cache is away');
    expect(lifecycle.status()[0]).toMatchObject({ state: 'degraded', reason: 'the cache is away' });
    a.standing().degraded(undefined);
    expect(lifecycle.status()[0]).toMatchObject({ state: 'running' });
    expect(lifecycle.status()[0]).not.toHaveProperty('reason');
    await lifecycle.stop();
  });

  it('that do not come up in time have failed, and are let go of when they come late', async () => {
    const told: string[] = [];
    const { hub, crank } = handCranked();
    let come = () => {};
    const late: AnyService = {
      ...make('late', 'P2', told),
      start: () =>
        new Promise((resolve) => {
          come = () => resolve({ api: {}, stop: async () => void told.push('late stopped') });
        }),
    };
    const next = make('next', 'P2', told);
    const lifecycle = new Lifecycle(hub, [late, next]);
    const starting = lifecycle.start();
    await crank();
    await starting;
    expect(lifecycle.status().map(({ state }) => state)).toEqual(['failed', 'running']);
    come();
    await settled();
    expect(told).toEqual(['next started', 'late stopped']);
    await lifecycle.stop();
  });

  it('are all tried once before one that failed is tried again, and none is started twice', async () => {
    const told: string[] = [];
    const { hub, crank } = handCranked();
    let come = () => {};
    const slow: AnyService = {
      ...make('slow', 'P2', told),
      start() {
        told.push('slow begins');
        return new Promise((resolve) => {
          come = () => resolve({ api: {}, stop: async () => {} });
        });
      },
    };
    const lifecycle = new Lifecycle(hub, [make('a', 'P2', told, {}, 1), slow, make('next', 'P2', told)]);
    const starting = lifecycle.start();
    await settled();
    await crank(1_000);
    come();
    await starting;
    await settled();
    expect(told).toEqual(['slow begins', 'next started', 'a started']);
    await lifecycle.stop();
  });

  it('that start while all stop are not waited for, and let go of when they come late', async () => {
    const told: string[] = [];
    const { hub, crank } = handCranked();
    let come: (() => void) | undefined;
    let tries = 0;
    const late: AnyService = {
      ...make('late', 'P2', told),
      start: () =>
        new Promise((resolve, reject) => {
          if (tries++ === 0) reject(new Error('not today'));
          come = () => resolve({ api: {}, stop: async () => void told.push('late stopped') });
        }),
    };
    const lifecycle = new Lifecycle(hub, [make('a', 'P0', told), late]);
    await lifecycle.start();
    await crank(1_000);
    expect(tries).toBe(2);
    await lifecycle.stop();
    expect(told).toEqual(['a started', 'a stopped']);
    come!();
    await settled();
    expect(told.at(-1)).toBe('late stopped');
  });

  it('that do not come to an end do not keep the others from stopping', async () => {
    const told: string[] = [];
    const { hub, crank } = handCranked();
    const stuck: AnyService = {
      ...make('stuck', 'P2', told),
      start: async () => ({ api: {}, stop: () => new Promise(() => {}) }),
    };
    const lifecycle = new Lifecycle(hub, [make('a', 'P0', told), stuck]);
    await lifecycle.start();
    const stopping = lifecycle.stop();
    await settled();
    await crank(4_000); // `fedhub serve` waits no longer
    await stopping;
    expect(told).toEqual(['a started', 'a stopped']);
    expect(lifecycle.status().map(({ state }) => state)).toEqual(['stopped', 'stopped']);
  });

  it('may need only those above them', () => {
    const told: string[] = [];
    const a = make('a', 'P0', told);
    const b = make('b', 'P0', told, { a });
    expect(() => new Lifecycle(handCranked().hub, [b, a])).toThrow('b needs a, which is not above it');
    expect(() => new Lifecycle(handCranked().hub, manifest)).not.toThrow();
  });
});
