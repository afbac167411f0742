/** `fedhub top` and `fedhub degradation`, as they are typed, against a real hub; and in a terminal. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Picture } from '../../src/cli/top/picture.ts';
import { FederationNode, generateKey } from '../../src/client/node.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

const program = process.env.FEDHUB_PROGRAM ?? path.resolve(import.meta.dirname, '../../dist/cli/fedhub.js');
let hub: TestHub;
let node: FederationNode;

beforeAll(async () => {
  hub = await startTestHub({ env: { FEDERATION_HEARTBEAT_SECONDS: '0.2', FEDERATION_METRICS_ALLOW: '192.0.2.1' } });
  const reading = () => ({ resources: { cpu_percent: 42 }, active_tasks: 2 });
  node = new FederationNode({ url: hub.url, nodeId: 'ada', key: await generateKey(), reading });
  await node.connect();
  await node.submit({ type: 'nobody-does-it' });
});
afterAll(async () => {
  node?.close();
  await hub?.stop();
});

function fedhub(args: readonly string[], token = hub.adminToken): Promise<{ code: number; out: string; err: string }> {
  const env = { PATH: process.env.PATH, FEDHUB_URL: hub.url, ...(token && { FEDHUB_TOKEN: token }) };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [program, ...args], { env }, (_error, out, err) =>
      resolve({ code: child.exitCode ?? -1, out, err }),
    );
  });
}
const json = async <T>(...args: string[]) => JSON.parse((await fedhub(['--json', ...args])).out) as T;

describe('fedhub top', () => {
  it('prints one picture, with rates of the second before', async () => {
    const picture = await json<Picture>('top');
    expect(picture).toMatchObject({
      federation_id: hub.federationId,
      nodes_online: 1,
      tasks: { pending: 1, assigned: 0, running: 0 },
      mail_waiting: 0,
      replicas: [{ level: 'normal' }],
      services_down: [],
      missing: [],
    });
    expect(picture.nodes).toEqual([expect.objectContaining({ node_id: 'ada', cpu_percent: 42, active_tasks: 2 })]);
    expect(picture.nodes![0]!.silent_seconds).toBeLessThan(5);
    expect(picture.log_per_second).toBeGreaterThan(0.5); // heartbeats
    expect(picture.busiest!.map(({ what }) => what)).toContain('federation:heartbeat');
    const { code, out } = await fedhub(['top', '--once']);
    expect(code).toBe(0);
    expect(out).toMatch(/^fedhub top {2}/);
    expect(out).toMatch(/^ada +online/m);
    expect(out).not.toContain('\u001b');
  });

  it('shows what anyone may see without a token, and says what is missing', async () => {
    const { code, out } = await fedhub(['--json', 'top', '--once'], '');
    const picture = JSON.parse(out) as Picture;
    expect(code).toBe(0);
    expect(picture).toMatchObject({ nodes_online: 1 });
    expect(picture.missing.toSorted()).toEqual([
      'levels: unauthenticated',
      'metrics: unauthenticated',
      'nodes: unauthenticated',
    ]);
    expect(picture.nodes).toBeUndefined();
  });

  it('fails where no hub answers', async () => {
    const { code, err } = await fedhub(['--url', 'http://127.0.0.1:1', 'top', '--once']);
    expect([code, err]).toEqual([1, expect.stringContaining('no hub answers')]);
  });

  it('lives in a terminal on a screen of its own, and leaves it as it was', async () => {
    const command = `stty rows 12 cols 50; ${process.execPath} ${program} --url ${hub.url} --token ${hub.adminToken} top`;
    const child = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
    let out = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
    });
    const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
    await vi.waitFor(() => expect(out.split('\u001b[H').length).toBeGreaterThan(3), 20_000); // drawn three times
    child.stdin.write('q');
    expect(await exited).toBe(0);
    expect(out).toContain('\u001b[?1049h\u001b[?25l');
    expect(out.trimEnd().endsWith('\u001b[?25h\u001b[?1049l')).toBe(true);
    const last = out.split('\u001b[H').at(-1)!.split('\u001b[J')[0]!;
    const words = last.split('\u001b').map((part) => part.replace(/^\[[\d;]*m/, ''));
    const lines = words
      .join('')
      .split(/\[K\r*\n/)
      .filter(Boolean);
    expect(lines.length).toBeLessThanOrEqual(12);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(50);
    expect(lines[0]).toMatch(/^fedhub top/);
  });
});

describe('fedhub top of a hub that hangs', () => {
  it('is left at once', async () => {
    const hanging = createServer(() => {}).listen(0, '127.0.0.1');
    await once(hanging, 'listening');
    const { port } = hanging.address() as AddressInfo;
    const command = `${process.execPath} ${program} --url http://127.0.0.1:${port} --token x top`;
    const child = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      let out = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        out += text;
      });
      const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
      await once(hanging, 'request');
      const left = performance.now();
      child.stdin.write('q');
      expect(await exited).toBe(0);
      expect(performance.now() - left).toBeLessThan(5_000);
      expect(out.trimEnd().endsWith('\u001b[?25h\u001b[?1049l')).toBe(true);
    } finally {
      child.kill();
      hanging.closeAllConnections();
      hanging.close();
    }
  });
});

describe('fedhub degradation', () => {
  it('shows the level, orders one for a time with a reason, and takes it back', async () => {
    expect((await fedhub(['degradation'])).out).toMatch(/^level +normal since .*\naside +nothing$/m);
    const set = await fedhub(['degradation', 'set', 'reduced', '--for', '10m', '--reason', 'a move']);
    expect([set.code, set.err]).toEqual([0, '']);
    expect(set.out).toMatch(/^all replicas are at reduced until 20/);
    const { out } = await fedhub(['degradation']);
    expect(out).toMatch(/^level +reduced since .*\(order\)/m);
    expect(out).toMatch(/^aside +knowledge-sync, file-transfer$/m);
    expect(out).toMatch(/^order +reduced until .* by operator:\w+: a move$/m);
    expect(out).toMatch(/^loop_delay +[\d.]+ +ms +normal +150 +250 +400$/m);
    const picture = await json<Picture>('top');
    expect(picture.replicas).toEqual([expect.objectContaining({ level: 'reduced', cause: 'order' })]);
    expect((await fedhub(['degradation', 'clear'])).out).toBe('each replica is at the level that it measures\n');
    expect((await fedhub(['degradation', 'clear'])).out).toBe('there was no order\n');
  });

  it('says what is wrong', async () => {
    expect((await fedhub(['degradation', 'set', 'reduced', '--for', 'ever'])).code).toBe(2);
    const wrong = await fedhub(['degradation', 'set', 'none']);
    expect([wrong.code, wrong.err]).toEqual([1, expect.stringContaining('invalid_input')]);
    expect((await fedhub(['degradation', 'clear'], '')).code).toBe(1);
  });
});
