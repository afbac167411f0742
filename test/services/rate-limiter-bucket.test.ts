/** The law of an allowance, held against a model that counts in whole numbers of any size. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { networkOf } from '../../src/network.ts';
import { add, type Bucket, leak, parts, waitFor } from '../../src/services/rate-limiter/bucket.ts';
import { Model, steps } from './rate-limiter-model.ts';

it('a bucket holds the law exactly, whatever happens to it', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000 }), steps, (allowed, happened) => {
      const model = new Model(allowed);
      const bucket: Bucket = { level: 0, atMs: 0 };
      let nowMs = 0;
      for (const step of happened) {
        nowMs += step.passMs;
        const level = leak(bucket, allowed, nowMs);
        const waitMs = step.what === 'take' ? waitFor(level, step.amount, allowed) : 0;
        if (waitMs === 0) add(bucket, step.what === 'give back' ? -step.amount : step.amount, allowed);
        expect([waitMs, bucket.level]).toEqual([model.step(step), model.level]);
      }
    }),
    { numRuns: 500 },
  );
});

it('what has to wait fits after the wait that was told, and not a millisecond before', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000 }), fc.nat(10_000), fc.nat(10_000), (allowed, used, amount) => {
      fc.pre(amount <= allowed);
      const bucket: Bucket = { level: 0, atMs: 0 };
      add(bucket, used, allowed);
      const waitMs = waitFor(bucket.level, amount, allowed);
      fc.pre(waitMs > 0);
      expect(waitFor(leak({ ...bucket }, allowed, waitMs - 1), amount, allowed)).toBeGreaterThan(0);
      expect(waitFor(leak({ ...bucket }, allowed, waitMs), amount, allowed)).toBe(0);
    }),
  );
});

it('an allowance that is cut leaves a debt of one minute at most', () => {
  const bucket: Bucket = { level: 0, atMs: 0 };
  add(bucket, 6_000, 6_000);
  expect(leak(bucket, 10, 0)).toBe(2 * 10 * parts);
  expect(waitFor(bucket.level, 0, 10)).toBe(60_000);
});

it('strangers are told apart by their IPv4 address, or by 64 bits of IPv6', () => {
  const names = {
    '192.0.2.7': '192.0.2.7',
    '::ffff:192.0.2.7': '192.0.2.7',
    '2001:db8:1:2:3:4:5:6': '2001:db8:1:2::/64',
    '2001:db8:1:2::9': '2001:db8:1:2::/64',
    '2001:DB8:0001:2:ffff::': '2001:db8:1:2::/64',
    '2001:db8::1': '2001:db8:0:0::/64',
    '::1': '0:0:0:0::/64',
    'fe80::1%eth0': 'fe80:0:0:0::/64',
    '': 'unknown',
  };
  for (const [address, name] of Object.entries(names)) expect(networkOf(address), address).toBe(name);
});
