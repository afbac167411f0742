/** A node's measures against their thresholds: alerts open, change level and close, with a margin against flapping. */
import type { DomainEvent } from '../events/catalog.ts';
import type { AlertLevel, AlertMeasure } from '../events/health.ts';
import type { Resources } from '../events/heartbeat.ts';
import type { Aggregate, Decide } from './execute.ts';

export const alertStream = (nodeId: string): string => `alert-${nodeId}`;

/** Percent at which an alert of each level opens. */
export const thresholds: Readonly<Record<AlertMeasure, Readonly<Record<AlertLevel, number>>>> = {
  cpu: { warning: 80, critical: 95 },
  memory: { warning: 85, critical: 95 },
  disk: { warning: 80, critical: 90 },
  gpu: { warning: 80, critical: 95 },
};

/** A level ends only this many percent below where it began. */
const margin = 3;

type Levels = Readonly<Partial<Record<AlertMeasure, AlertLevel>>>;

export const alert: Aggregate<Levels> = {
  initial: {},
  evolve(levels, event) {
    switch (event.type) {
      case 'alert.opened':
      case 'alert.changed':
        return { ...levels, [event.data.measure]: event.data.level };
      case 'alert.closed': {
        const { [event.data.measure]: _, ...others } = levels;
        return others;
      }
      default:
        return levels;
    }
  },
};

/** Which alerts a reading opens, changes or closes. `gone` closes all: nothing is known of a node that left. */
export const observe: Decide<
  Levels,
  { nodeId: string; resources: Resources } | { nodeId: string; gone: true },
  undefined
> = (levels, command) => {
  const events: DomainEvent[] = [];
  for (const measure of Object.keys(thresholds) as AlertMeasure[]) {
    const percent = 'gone' in command ? undefined : command.resources[`${measure}_percent`];
    const event = change(command.nodeId, measure, levels[measure], percent, 'gone' in command);
    if (event) events.push(event);
  }
  return { events, reply: undefined };
};

/** The level of a measure at `percent`, given the level it is at. */
export function levelAt(
  measure: AlertMeasure,
  percent: number,
  current: AlertLevel | undefined,
): AlertLevel | undefined {
  const { warning, critical } = thresholds[measure];
  if (percent >= critical || (current === 'critical' && percent > critical - margin)) return 'critical';
  if (percent >= warning || (current !== undefined && percent > warning - margin)) return 'warning';
  return undefined;
}

function change(
  nodeId: string,
  measure: AlertMeasure,
  current: AlertLevel | undefined,
  percent: number | undefined,
  gone: boolean,
): DomainEvent | undefined {
  if (percent === undefined) {
    return gone && current ? { type: 'alert.closed', data: { node_id: nodeId, measure, percent: null } } : undefined;
  }
  const level = levelAt(measure, percent, current);
  if (level === current) return undefined;
  if (level === undefined) return { type: 'alert.closed', data: { node_id: nodeId, measure, percent } };
  const data = { node_id: nodeId, measure, level, percent, threshold: thresholds[measure][level] };
  return { type: current === undefined ? 'alert.opened' : 'alert.changed', data };
}
