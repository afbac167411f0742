/** The load: many nodes in one process, each with a socket of its own; joins the hub with real proofs, then heartbeats. */
import { percentile } from '../measure.ts';
import { answerParent } from '../processes.ts';
import { type Ack, ask, type Node, open } from './socket-node.ts';

export type Load = {
  /** Opens the sockets. `join`: they register, as a hub wants it; an echo does not. */
  connect(url: string, count: number, join: boolean): Promise<void>;
  /** Each node sends its next heartbeat when the last is acknowledged. Answers acknowledgements per second. */
  closedLoop(ms: number): Promise<number>;
  /** All sockets ask for events: of the hub those of entities; a bare server sends what it has to all. */
  subscribe(join: boolean): Promise<void>;
  /** One socket causes events, some at once, each again when all sockets have got it. Answers deliveries per second. */
  fanOut(join: boolean, ms: number): Promise<number>;
  /** All nodes together send so many a second, whether acknowledged or not, and the views are asked when they have them. */
  openLoop(options: OpenLoop): Promise<OpenLoopResult>;
};

export interface OpenLoop {
  readonly perSecond: number;
  readonly ms: number;
  readonly url: string;
  readonly adminToken: string;
  /** How often a sample of the lag is taken. */
  readonly sampleEveryMs: number;
}

export interface OpenLoopResult {
  readonly sent: number;
  readonly acknowledged: number;
  /** From sending to acknowledgement, milliseconds. */
  readonly ackP99: number;
  /** From acknowledgement to an answer of the views that holds it, milliseconds: a request over HTTP is in it. */
  readonly lagP50: number;
  readonly lagP99: number;
  readonly lagSamples: number;
}

const nodes: Node[] = [];

const load: Load = {
  async connect(url, count, join) {
    for (let from = 0; from < count; from += 20) {
      const some = Array.from({ length: Math.min(20, count - from) }, (_, at) => `bench-${from + at}`);
      nodes.push(...(await Promise.all(some.map((nodeId) => open(url, nodeId, join)))));
    }
  },
  async closedLoop(ms) {
    const began = performance.now();
    let acknowledged = 0;
    await Promise.all(
      nodes.map(async (node) => {
        while (performance.now() - began < ms) {
          await heartbeat(node);
          acknowledged++;
        }
      }),
    );
    return acknowledged / ((performance.now() - began) / 1000);
  },
  openLoop,
  async subscribe(join) {
    for (const { socket } of nodes) {
      socket.on('federation:event', () => delivered());
      if (join) await ask(socket, 'federation:subscribe', { patterns: ['entity.updated'] });
    }
    if (!join) return;
    for (let at = 0; at < eventsAtOnce; at++) await ask(nodes[0]!.socket, 'entity:register', entity(at));
  },
  async fanOut(join, ms) {
    const { socket } = nodes[0]!;
    const began = performance.now();
    received = 0;
    let caused = 0;
    const cause = async () => {
      const packet = entity(++changes);
      if (join) await ask(socket, 'entity:register', packet);
      else socket.emit('bench:event', packet);
    };
    await new Promise<void>((resolve, reject) => {
      delivered = () => {
        received++;
        if (received % nodes.length !== 0) return;
        if (performance.now() - began < ms) next();
        else if (received === caused * nodes.length) resolve();
      };
      const next = () => {
        caused++;
        cause().catch(reject);
      };
      for (let at = 0; at < eventsAtOnce; at++) next();
    });
    return received / ((performance.now() - began) / 1000);
  },
};

const eventsAtOnce = 32;
let received = 0;
let changes = eventsAtOnce; // those before were made when the sockets subscribed
let delivered = () => {};

/** Those that are under way at once are of different ones, which nothing makes wait for each other. */
function entity(change: number) {
  return {
    entity_id: `bench-${change % eventsAtOnce}`,
    kind: 'service',
    description: `change ${change} of a service that many watch`,
  };
}

answerParent(load);

let beats = 0;

function heartbeat({ nodeId, socket }: Node): Promise<Ack> {
  return ask(socket, 'federation:heartbeat', {
    node_id: nodeId,
    services: { chat: { status: 'running', version: '1.4.2' }, search: { status: 'running', version: '2.0.0' } },
    resources: { cpu_percent: 10 + (beats++ % 50), memory_percent: 40.5, disk_percent: 61.25 },
    active_tasks: beats % 7,
  });
}

async function openLoop({ perSecond, ms, url, adminToken, sampleEveryMs }: OpenLoop): Promise<OpenLoopResult> {
  const began = performance.now();
  const under: Promise<void>[] = [];
  const samples: Promise<number>[] = [];
  const acks: number[] = [];
  const refused: string[] = [];
  let sent = 0;
  let sampledAt = began;
  while (performance.now() - began < ms) {
    const due = Math.floor(((performance.now() - began) / 1000) * perSecond);
    for (; sent < due; sent++) {
      const node = nodes[sent % nodes.length]!;
      const at = performance.now();
      const answered = heartbeat(node).then(({ position }) => {
        acks.push(performance.now() - at);
        if (performance.now() - sampledAt < sampleEveryMs) return;
        sampledAt = performance.now();
        samples.push(seen(`${url}/api/federation/nodes/${node.nodeId}?min_position=${position}`, adminToken));
      });
      under.push(answered.catch((error: Error) => void refused.push(error.message)));
    }
    await new Promise((later) => setTimeout(later, 2));
  }
  const inTime = acks.length;
  await Promise.all(under);
  if (refused.length > 0) throw new Error(`${refused.length} of ${sent} were refused: ${refused[0]}`);
  const lags = await Promise.all(samples);
  return {
    sent,
    acknowledged: inTime,
    ackP99: percentile(acks, 99),
    lagP50: percentile(lags, 50),
    lagP99: percentile(lags, 99),
    lagSamples: lags.length,
  };
}

/** How long until the views answer with what was just acknowledged. An answer without it counts as what it took: two seconds. */
async function seen(url: string, adminToken: string): Promise<number> {
  const began = performance.now();
  const response = await fetch(url, { headers: { authorization: `Bearer ${adminToken}` } });
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`);
  await response.arrayBuffer();
  return performance.now() - began;
}
