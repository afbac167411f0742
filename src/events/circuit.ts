/** Facts of the circuit to one service of a node, in the stream `circuit-<node id>`: calls that failed too often are not tried for a while. */
import { Type } from 'typebox';
import { kept } from './define.ts';
import { NodeId } from './node.ts';

const target = { node_id: NodeId, service: Type.String({ maxLength: 64 }) };

export const circuitEvents = {
  'circuit.opened': kept(Type.Object({ ...target, failures: Type.Integer(), error: Type.String({ maxLength: 512 }) })),
  'circuit.closed': kept(Type.Object(target)),
} as const;
