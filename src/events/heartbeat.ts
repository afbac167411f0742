/** Readings that a node sends of itself, in the transient stream `heartbeat-<node id>`, and what is left of them when a segment goes. */
import { Type } from 'typebox';
import { kept, transient } from './define.ts';
import { NodeId, ServiceClaims } from './node.ts';

const Percent = Type.Number({ minimum: 0, maximum: 100 });

export const Resources = Type.Object({
  cpu_percent: Type.Optional(Percent),
  memory_percent: Type.Optional(Percent),
  disk_percent: Type.Optional(Percent),
  gpu_percent: Type.Optional(Percent),
});
export type Resources = Type.Static<typeof Resources>;

const ModelReading = Type.Object({
  model_id: Type.String({ minLength: 1, maxLength: 128 }),
  status: Type.Optional(Type.String({ maxLength: 32 })),
  queue_depth: Type.Optional(Type.Integer({ minimum: 0 })),
});

/** What one heartbeat says. It is whole: what it leaves out is not known. */
export const Reading = Type.Object({
  services: Type.Optional(ServiceClaims),
  resources: Type.Optional(Resources),
  models: Type.Optional(Type.Array(ModelReading, { maxItems: 256 })),
  active_tasks: Type.Optional(Type.Integer({ minimum: 0 })),
  running_tasks: Type.Optional(
    Type.Array(Type.String({ maxLength: 64 }), {
      maxItems: 1_000,
      description:
        'Ids of the tasks it works on: their leases are renewed, and no others. Unsaid: all that it was given; what it claimed before it opened its newest session over HTTP only when it says how far it is since then',
    }),
  ),
});
export type Reading = Type.Static<typeof Reading>;

/** Count, sum and maximum of one measure over an hour, in hundredths, so that sums are exact on every database. */
const Measure = Type.Object({ count: Type.Integer(), sum: Type.Integer(), max: Type.Integer() });
export type Measure = Type.Static<typeof Measure>;

/** All heartbeats of one node in one hour of one segment, folded. */
export const HeartbeatHour = Type.Object({
  /** First position of the segment it was folded from. */
  segment: Type.Integer(),
  node_id: NodeId,
  /** Start of the hour, ISO 8601 UTC. */
  hour: Type.String(),
  count: Type.Integer(),
  cpu: Measure,
  memory: Measure,
  disk: Measure,
  gpu: Measure,
  /** The newest heartbeat folded in. */
  last: Type.Object({ position: Type.Integer(), time: Type.String(), reading: Reading }),
});
export type HeartbeatHour = Type.Static<typeof HeartbeatHour>;

export const heartbeatEvents = {
  'heartbeat.received': transient(Type.Object({ node_id: NodeId, ...Reading.properties })),
  /** Written when the segment is dropped, in its stream `segment-<from>`; replaces the heartbeats it was folded from. */
  'heartbeat.rolled-up': kept(HeartbeatHour),
} as const;
