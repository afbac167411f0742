/** Dropping a segment of readings: what is left of it goes into the log first, in one append. */
import type { DomainEvent } from '../events/catalog.ts';
import type { HealthHour } from '../events/health.ts';
import type { HeartbeatHour } from '../events/heartbeat.ts';
import type { Aggregate, Decide } from './execute.ts';

export const segmentStream = (from: number): string => `segment-${from}`;

export const segment: Aggregate<{ rolledUp: boolean }> = {
  initial: { rolledUp: false },
  evolve: (state, event) => (event.type === 'log.segment-dropped' ? { rolledUp: true } : state),
};

export interface RolledUp {
  readonly from: number;
  readonly to: number;
  readonly count: number;
  /** Merkle tree hash of the events it held, hex. */
  readonly root: string;
  readonly heartbeats: readonly HeartbeatHour[];
  readonly health: readonly HealthHour[];
}

/** Writes down what a segment held, once. */
export const rollUp: Decide<{ rolledUp: boolean }, RolledUp, undefined> = (state, command) => {
  if (state.rolledUp) return { events: [], reply: undefined };
  const { from, to, count, root, heartbeats, health } = command;
  const events: DomainEvent[] = [
    ...heartbeats.map((data) => ({ type: 'heartbeat.rolled-up', data }) as const),
    ...health.map((data) => ({ type: 'health.rolled-up', data }) as const),
    { type: 'log.segment-dropped', data: { from, to, count, root } },
  ];
  return { events, reply: undefined };
};
