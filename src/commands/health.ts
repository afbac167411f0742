/** The federation's health, read and written down. */
import type { HealthReading } from '../events/health.ts';
import type { Decide } from './execute.ts';

/** Where the readings lie: a transient stream. */
export const healthStream = 'health-federation';

export const measure: Decide<unknown, HealthReading, undefined> = (_state, reading) => ({
  events: [{ type: 'health.measured', data: reading }],
  reply: undefined,
});
