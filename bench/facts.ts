/** The events that everyone writes: 300 bytes of data, and what an event carries besides. */
import { v7 } from 'uuid';
import type { NewEvent } from '../src/events/log.ts';

export const dataBytes = 300;

/** JSON text of exactly `dataBytes` bytes. */
const data = JSON.stringify({ node_id: 'bench', profile: { display_name: 'x'.repeat(dataBytes - 55) } }).padEnd(
  dataBytes,
);
const meta = JSON.stringify({ actor: 'node:bench', correlation: v7(), replica: v7() });

/** A new event with an id of its own. */
export function aFact(): NewEvent {
  return { id: v7(), type: 'node.updated', version: 1, time: new Date().toISOString(), data, meta };
}

let streams = 0;

/** The name of a stream that nobody has written to. */
export function aStream(): string {
  return `node-bench-${process.pid}-${streams++}`;
}
