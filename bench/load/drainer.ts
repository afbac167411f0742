/** A node of the SDK that goes away, is written to, and comes back. */
import { built } from '../built.ts';
import { answerParent } from '../processes.ts';

export type Drainer = {
  /** Answers the milliseconds from coming back until all was handled and acknowledged. */
  drain(url: string, adminToken: string, count: number): Promise<number>;
};

let drained = 0;

const answers: Drainer = {
  async drain(url, adminToken, count) {
    const { FederationNode, generateKey } = await built('client/node');
    const nodeId = `drained-${drained++}`;
    const key = await generateKey();
    const before = await new FederationNode({ url, nodeId, key }).connect();
    await before.leave();
    const headers = { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' };
    const send = async (at: number) => {
      const body = JSON.stringify({ to: { node: nodeId }, content: { text: 'while you were away', at } });
      const response = await fetch(`${url}/api/federation/send`, { method: 'POST', headers, body });
      if (!response.ok) throw new Error(`a message was refused: ${await response.text()}`);
      await response.arrayBuffer();
    };
    for (let at = 0; at < count; at += 50) await Promise.all(Array.from({ length: 50 }, (_, more) => send(at + more)));
    const node = new FederationNode({ url, nodeId, key });
    let got = 0;
    const all = new Promise<void>((resolve) => {
      node.messages(() => {
        if (++got === count) resolve();
      });
    });
    const began = performance.now();
    await node.connect();
    await all;
    await node.leave(); // says first what it has
    return performance.now() - began;
  },
};

answerParent(answers);
