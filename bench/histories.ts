/** Logs to replay: what a federation of a thousand nodes leaves behind, with heartbeats or without. */
import { createHash } from 'node:crypto';
import { v7 } from 'uuid';
import type { DomainEvent } from '../src/events/catalog.ts';
import type { EventLog } from '../src/events/log.ts';
import { built } from './built.ts';

const nodes = 1_000;
/** Heartbeats of a thousand nodes, each every 15 s: an event each 15 ms. */
const betweenMs = 15;
const appendsAtOnce = 1_000;

type Happened = { readonly stream: string; readonly event: DomainEvent };

/** Fills an empty log with `count` events. `heartbeats`: how many of ten events are heartbeats. */
export async function fill(log: EventLog, count: number, heartbeats: number): Promise<void> {
  const { encode } = await built('events/catalog');
  const meta = JSON.stringify({ actor: 'node:bench', correlation: v7(), replica: v7() });
  const began = Date.parse('2026-01-01T00:00:00.000Z');
  let others = 0;
  for (let from = 0; from < count; from += appendsAtOnce) {
    const appends = [];
    for (let at = from; at < Math.min(count, from + appendsAtOnce); at++) {
      const { stream, event } = at % 10 < heartbeats ? heartbeat(at) : life(others++);
      const time = new Date(began + at * betweenMs).toISOString();
      appends.push(log.append(stream, 'any', [encode(event, { id: v7(), time, meta })]));
    }
    await Promise.all(appends);
  }
}

function heartbeat(at: number): Happened {
  const node_id = nodeId(at);
  return {
    stream: `heartbeat-${node_id}`,
    event: {
      type: 'heartbeat.received',
      data: {
        node_id,
        services: { chat: { status: 'running', version: '1.4.2' }, search: { status: 'running', version: '2.0.0' } },
        resources: { cpu_percent: 10 + (at % 50), memory_percent: 40.5, disk_percent: 61.25 },
        active_tasks: at % 7,
      },
    },
  };
}

/** Nodes in turn; each takes the next step of its life. The first steps make it a member, the others go round. */
function life(at: number): Happened {
  const node_id = nodeId(at);
  const turn = Math.floor(at / nodes);
  const step = turn < joining.length ? joining[turn]! : living[(turn - joining.length) % living.length]!;
  return step(node_id, turn);
}

type Step = (node_id: string, turn: number) => Happened;

const profile = {
  display_name: 'A node of the benchmark',
  owner: 'ada',
  capabilities: ['chat', 'search'],
  models: ['small', 'large'],
};

const joining: readonly Step[] = [
  (node_id) =>
    ofKey(node_id, { type: 'key.reserved', data: { ...keyOf(node_id), expires_at: '2026-01-01T00:01:00.000Z' } }),
  (node_id) =>
    ofNode(node_id, {
      type: 'node.registered',
      data: { node_id, public_key: publicKey(node_id), role: 'member', profile },
    }),
  (node_id) => ofKey(node_id, { type: 'key.confirmed', data: keyOf(node_id) }),
];

const living: readonly Step[] = [
  (node_id, turn) =>
    ofSession(node_id, {
      type: 'session.opened',
      data: { node_id, session_id: `${node_id}-${turn}`, transport: 'socket', address: '192.0.2.7' },
    }),
  (node_id, turn) =>
    ofNode(node_id, { type: 'node.updated', data: { node_id, profile: { ...profile, owner: `owner ${turn}` } } }),
  (node_id) =>
    ofAlert(node_id, {
      type: 'alert.opened',
      data: { node_id, measure: 'cpu', level: 'warning', percent: 83, threshold: 80 },
    }),
  (node_id, turn) =>
    ofSession(node_id, {
      type: 'session.renewed',
      data: { node_id, session_id: `${node_id}-${turn - 3}`, expires_at: '2026-01-01T01:00:00.000Z' },
    }),
  (node_id) => ofAlert(node_id, { type: 'alert.closed', data: { node_id, measure: 'cpu', percent: 61 } }),
  (node_id) => ofNode(node_id, { type: 'node.suspected', data: { node_id, phi: 9.2, silent_ms: 41_000 } }),
  (node_id) => ofNode(node_id, { type: 'node.cleared', data: { node_id } }),
  (node_id, turn) =>
    ofSession(node_id, {
      type: 'session.ended',
      data: { node_id, session_id: `${node_id}-${turn - 7}`, cause: 'transport close' },
    }),
];

const nodeId = (at: number) => `bench-${at % nodes}`;
const hash = (text: string) => createHash('sha256').update(text).digest('base64url');
const publicKey = (node_id: string) => hash(`key of ${node_id}`);
const keyOf = (node_id: string) => ({ thumbprint: hash(publicKey(node_id)), node_id });
const ofKey = (node_id: string, event: DomainEvent) => ({ stream: `key-${keyOf(node_id).thumbprint}`, event });
const ofNode = (node_id: string, event: DomainEvent) => ({ stream: `node-${node_id}`, event });
const ofSession = (node_id: string, event: DomainEvent) => ({ stream: `session-${node_id}`, event });
const ofAlert = (node_id: string, event: DomainEvent) => ({ stream: `alert-${node_id}`, event });
