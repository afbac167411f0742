/**
 * Health of nodes and of the federation. Alerts are kept, in `alert-<node id>`; the federation's readings are transient,
 * in `health-federation`, and are folded by the hour when their segment goes.
 */
import { Type } from 'typebox';
import { kept, transient } from './define.ts';
import { NodeId } from './node.ts';

export const AlertMeasure = Type.Union([
  Type.Literal('cpu'),
  Type.Literal('memory'),
  Type.Literal('disk'),
  Type.Literal('gpu'),
]);
export type AlertMeasure = Type.Static<typeof AlertMeasure>;
export const AlertLevel = Type.Union([Type.Literal('warning'), Type.Literal('critical')]);
export type AlertLevel = Type.Static<typeof AlertLevel>;

const count = Type.Integer({ minimum: 0 });

/** The federation at one moment. */
export const HealthReading = Type.Object({
  online: count,
  suspect: count,
  offline: count,
  /** Services that nodes reported, by what they said of them. */
  services_running: count,
  services_degraded: count,
  services_stopped: count,
  alerts_warning: count,
  alerts_critical: count,
  /** Mean over the nodes that report it, hundredths of a percent; null when none does. */
  cpu: Type.Union([Type.Integer(), Type.Null()]),
  memory: Type.Union([Type.Integer(), Type.Null()]),
});
export type HealthReading = Type.Static<typeof HealthReading>;

/** All readings of one hour of one segment, folded. */
export const HealthHour = Type.Object({
  segment: Type.Integer(),
  hour: Type.String(),
  count: Type.Integer(),
  online_min: count,
  online_max: count,
  offline_max: count,
  alerts_max: count,
  cpu_count: count,
  cpu_sum: Type.Integer(),
  memory_count: count,
  memory_sum: Type.Integer(),
});
export type HealthHour = Type.Static<typeof HealthHour>;

export const healthEvents = {
  'alert.opened': kept(
    Type.Object({
      node_id: NodeId,
      measure: AlertMeasure,
      level: AlertLevel,
      percent: Type.Number(),
      threshold: Type.Number(),
    }),
  ),
  /** The same measure crossed its other threshold. */
  'alert.changed': kept(
    Type.Object({
      node_id: NodeId,
      measure: AlertMeasure,
      level: AlertLevel,
      percent: Type.Number(),
      threshold: Type.Number(),
    }),
  ),
  'alert.closed': kept(
    Type.Object({ node_id: NodeId, measure: AlertMeasure, percent: Type.Union([Type.Number(), Type.Null()]) }),
  ),
  'health.measured': transient(HealthReading),
  /** Written when the segment is dropped; replaces the readings it was folded from. */
  'health.rolled-up': kept(HealthHour),
} as const;
