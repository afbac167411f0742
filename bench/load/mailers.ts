/** Nodes that send each other messages over bare sockets, in pairs; a message is done when it was acknowledged and has arrived. */
import { answerParent } from '../processes.ts';
import { ask, type Node, open } from './socket-node.ts';

export type Mailers = {
  /** Opens the sockets. `join`: of a hub; else of a bare relay. */
  connect(url: string, count: number, join: boolean): Promise<void>;
  /** Each node has so many messages to its partner under way. Answers messages per second. */
  exchange(options: { readonly persist: boolean; readonly each: number }, ms: number): Promise<number>;
};

/** Acknowledged together, as the SDK does it. */
const window = { messages: 64, ms: 25 };

const content = { text: 'a short message between two nodes, as agents send them', at: 1 };
const nodes: Node[] = [];
/** Told when a message arrived, by the node that it is for and its number. */
const arrivals = new Map<string, () => void>();
let sent = 0;

const answers: Mailers = {
  async connect(url, count, join) {
    for (let from = 0; from < count; from += 20) {
      const some = Array.from({ length: Math.min(20, count - from) }, (_, at) => `bench-${from + at}`);
      nodes.push(...(await Promise.all(some.map((nodeId) => open(url, nodeId, join)))));
    }
    for (const node of nodes) {
      if (!join) await ask(node.socket, 'bench:name', node.nodeId as never); // a bare server takes what it is given
      receive(node);
    }
  },
  async exchange({ persist, each }, ms) {
    const began = performance.now();
    let done = 0;
    const talk = async (at: number) => {
      const [from, to] = [nodes[at]!, nodes[at ^ 1]!];
      while (performance.now() - began < ms) {
        const name = `m${sent++}`;
        const arrived = new Promise<void>((resolve) => arrivals.set(name, resolve));
        const packet = { to: { node: to.nodeId }, content, correlation_id: name, ...(!persist && { persist }) };
        await Promise.all([ask(from.socket, 'federation:message', packet), arrived]);
        arrivals.delete(name);
        done++;
      }
    };
    await Promise.all(nodes.flatMap((_, at) => Array.from({ length: each }, () => talk(at))));
    return done / ((performance.now() - began) / 1000);
  },
};

function receive({ socket }: Node): void {
  let through = 0;
  let unacknowledged = 0;
  let timer: NodeJS.Timeout | undefined;
  const acknowledge = () => {
    clearTimeout(timer);
    timer = undefined;
    unacknowledged = 0;
    void ask(socket, 'federation:message:ack', { through });
  };
  type Came = { correlation_id: string; position?: number };
  socket.on('federation:message', ({ correlation_id, position }: Came, done?: (answer: object) => void) => {
    done?.({ ok: true });
    arrivals.get(correlation_id)?.();
    if (position === undefined) return;
    through = position;
    unacknowledged++;
    timer ??= setTimeout(acknowledge, window.ms);
    if (unacknowledged >= window.messages) acknowledge();
  });
}

answerParent(answers);
