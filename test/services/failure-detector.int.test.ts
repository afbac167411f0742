/** The failure detector over a real log and real views, on a clock that the test moves. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openLog, openViews } from '../../src/backends.ts';
import { Executor } from '../../src/commands/execute.ts';
import { heartbeat, heartbeatStream, node, nodeStream, register } from '../../src/commands/node.ts';
import { readConfig } from '../../src/config.ts';
import type { EventLog } from '../../src/events/log.ts';
import type { Hub } from '../../src/hub.ts';
import { createKernel } from '../../src/kernel.ts';
import { soleLeases } from '../../src/lease.ts';
import type { LiveViews } from '../../src/projections/live.ts';
import { type NodeRow, nodes } from '../../src/projections/nodes.ts';
import type { Views } from '../../src/projections/views.ts';
import { FailureDetector } from '../../src/services/node-registry/failure-detector.ts';

const about = { actor: 'hub' };
const real = createKernel({ logLevel: 'silent' });
const config = readConfig({});
const { heartbeatMs, silenceMs } = config;
let folder: string;
let log: EventLog;
let views: Views;
let executor: Executor;
let live: LiveViews<{ nodes: NodeRow }>;
let detector: FailureDetector;
let elapsed: number;
let looks: (() => void)[];
let readable: boolean;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fedhub-detector-'));
  const url = `sqlite:${folder}`;
  log = await openLog(url, real);
  views = await openViews({ url, logUrl: url, log, kernel: real, logLevel: 'silent' });
  executor = await Executor.start(log, real);
  live = await views.live({ nodes }, log);
  elapsed = 0;
  looks = [];
  readable = true;
  const kernel = createKernel(
    { logLevel: 'silent' },
    {
      monotonicMs: () => elapsed,
      every: (_ms, look) => {
        looks.push(look);
        return () => {};
      },
    },
  );
  const readiness = {
    get cutOffMs() {
      return readable ? 0 : 5_000;
    },
  };
  // The parts of a hub that the detector uses.
  const hub = { kernel, config, log, executor, live: live.maps, readiness } as unknown as Hub;
  detector = new FailureDetector(hub, soleLeases(1).acquire('node-registry'), await log.head());
});

afterEach(async () => {
  await detector.close();
  await live.close();
  await executor.close();
  await views.close();
  await log.close();
  await rm(folder, { recursive: true, force: true });
});

async function enlist(nodeId: string): Promise<void> {
  const asked = {
    nodeId,
    publicKey: 'A'.repeat(43),
    profile: {},
    grant: { role: 'member', admission: { by: 'open' } },
  } as const;
  await executor.execute(nodeStream(nodeId), node, register, asked, about);
  await expect.poll(() => live.maps.nodes.get(nodeId)).toBeDefined();
}

async function beat(nodeId: string): Promise<void> {
  const command = { nodeId, reading: {} };
  await executor.record(nodeStream(nodeId), node, heartbeat, command, heartbeatStream(nodeId), about);
  await expect.poll(() => detector.suspicion(nodeId)?.silent_ms).toBe(0);
}

/** Time goes by, and the detector looks each second of it. */
async function pass(ms: number): Promise<void> {
  for (const end = elapsed + ms; elapsed < end; ) {
    elapsed += 1_000;
    for (const look of looks) look();
    await real.sleep(2); // the look reads the log and writes to it
  }
  await real.sleep(30);
}

async function steady(nodeId: string, beats: number): Promise<void> {
  for (let count = 0; count < beats; count++) {
    await pass(heartbeatMs);
    await beat(nodeId);
  }
}

const status = (nodeId: string) => live.maps.nodes.get(nodeId)?.status;
const story = async (nodeId: string) => (await log.readStream(nodeStream(nodeId), 0, 100)).map(({ type }) => type);

describe('the failure detector', () => {
  it('leaves a node alone that keeps its rhythm', async () => {
    await enlist('ada');
    await steady('ada', 12);
    expect(await story('ada')).toEqual(['node.registered']);
  });

  it('doubts a silent node first, then loses it, once each', async () => {
    await enlist('ada');
    await steady('ada', 10);
    await pass(silenceMs + 10_000);
    expect(await story('ada')).toEqual(['node.registered', 'node.suspected', 'node.lost']);
  });

  it('clears a doubt with the first heartbeat', async () => {
    await enlist('ada');
    await steady('ada', 10);
    await pass(60_000);
    expect(status('ada')).toBe('suspect');
    await beat('ada');
    await expect.poll(() => status('ada')).toBe('online');
    expect((await story('ada')).at(-1)).toBe('node.cleared');
  });

  it('wants two heartbeats in rhythm of a node that was lost, and more of one that comes and goes', async () => {
    await enlist('ada');
    await steady('ada', 10);
    const beatsToReturn = async () => {
      await pass(silenceMs + 5_000);
      await expect.poll(() => status('ada')).toBe('offline');
      for (let beats = 1; ; beats++) {
        await beat('ada');
        await real.sleep(30);
        if (status('ada') === 'online') return beats;
        await pass(heartbeatMs);
      }
    };
    expect(await beatsToReturn()).toBe(2);
    expect(await beatsToReturn()).toBe(2);
    expect(await beatsToReturn()).toBe(4);
  });

  it('judges nobody for one hard limit after it took the duty', async () => {
    await enlist('ada'); // never heard
    await pass(silenceMs - 5_000);
    expect(await story('ada')).toEqual(['node.registered']);
    await pass(10_000);
    expect(await story('ada')).toContain('node.lost');
  });

  it('forgives all when it stood still itself', async () => {
    await enlist('ada');
    await steady('ada', 10);
    elapsed += 10 * silenceMs; // nobody looked in that time
    await pass(heartbeatMs);
    expect(status('ada')).toBe('online');
  });

  it('holds its judgement while the log does not answer', async () => {
    await enlist('ada');
    await steady('ada', 10);
    readable = false;
    await pass(silenceMs * 2);
    expect(status('ada')).toBe('online');
    readable = true;
    await pass(2_000);
    expect(status('ada')).toBe('offline');
  });
});
