import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { commandId } from '../../src/commands/command-id.ts';
import { type Decide, Executor } from '../../src/commands/execute.ts';
import { changeMode, federation } from '../../src/commands/governance.ts';
import { heartbeat, heartbeatStream, node, nodeStream, register, remove, update } from '../../src/commands/node.ts';
import type { EventLog } from '../../src/events/log.ts';
import { openSqliteLog } from '../../src/events/log-sqlite.ts';
import { createKernel } from '../../src/kernel.ts';

const about = { actor: 'hub' };
const kernel = createKernel({ logLevel: 'silent' });
const key = 'A'.repeat(43);
let folder: string;
let log: EventLog;
/** Two executors over one log stand for two replicas: neither sees what the other wrote but through the log. */
let one: Executor;
let two: Executor;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fedhub-execute-'));
  log = await openSqliteLog({ folder, kernel });
  one = await Executor.start(log, kernel);
  two = await Executor.start(log, kernel);
});

afterAll(async () => {
  await one.close();
  await two.close();
  await log.close();
  await rm(folder, { recursive: true, force: true });
});

const enlist = (executor: Executor, nodeId: string, extra = {}) =>
  executor.execute(
    nodeStream(nodeId),
    node,
    register,
    { nodeId, publicKey: key, profile: {}, grant: { role: 'member', admission: { by: 'open' } } },
    { ...about, ...extra },
  );

describe('execute', () => {
  it('appends what was decided and answers its position', async () => {
    const done = await enlist(one, 'n1');
    expect(done).toMatchObject({ reply: { role: 'member', known: false } });
    const [event] = await log.readStream('node-n1', 0, 10);
    expect(event).toMatchObject({ type: 'node.registered', revision: 0 });
    expect('position' in done && done.position).toBe(event?.position);
    expect(JSON.parse(event!.meta)).toMatchObject({ actor: 'hub', replica: kernel.replica });
  });

  it('answers a refusal and writes nothing', async () => {
    const done = await one.execute(nodeStream('nobody'), node, remove, { nodeId: 'nobody', cause: 'operator' }, about);
    expect(done).toMatchObject({ refused: 'not_found' });
    expect(await log.readStream('node-nobody', 0, 1)).toEqual([]);
  });

  it('decides again on what another replica wrote, so that fifty changes over two replicas are fifty events', async () => {
    await enlist(one, 'busy');
    const changes = Array.from({ length: 50 }, (_, at) =>
      (at % 2 ? one : two).execute(
        nodeStream('busy'),
        node,
        update,
        { nodeId: 'busy', changes: { [at % 3 ? 'owner' : 'display_name']: `v${at}` } },
        about,
      ),
    );
    for (const done of await Promise.all(changes)) expect(done).toHaveProperty('position');
    const events = await log.readStream('node-busy', 0, 100);
    expect(events).toHaveLength(51);
    expect(events.map((event) => event.revision)).toEqual(Array.from({ length: 51 }, (_, at) => at));
  });

  it('tells the caller when others keep changing the stream', async () => {
    await enlist(one, 'contended');
    let count = 0;
    const interfering: Decide<unknown, { nodeId: string }, undefined> = (_state, { nodeId }) => ({
      events: [{ type: 'node.updated', data: { node_id: nodeId, profile: { owner: `mine ${count++}` } } }],
      reply: undefined,
    });
    // Before each append of this executor, someone else is quicker.
    const racing = new Proxy(log, {
      get(target, name) {
        if (name !== 'append') return Reflect.get(target, name).bind?.(target) ?? Reflect.get(target, name);
        return async (...args: Parameters<EventLog['append']>) => {
          const changes = { owner: `theirs ${count}` };
          await two.execute(nodeStream('contended'), node, update, { nodeId: 'contended', changes }, about);
          return target.append(...args);
        };
      },
    });
    const loser = await Executor.start(racing, kernel);
    const done = await loser.execute(nodeStream('contended'), node, interfering, { nodeId: 'contended' }, about);
    await loser.close();
    expect(done).toMatchObject({ refused: 'conflict' });
    expect(count).toBe(10);
  });

  it('sees what another replica wrote before its next decision on readings', async () => {
    await enlist(one, 'gone');
    const beat = () =>
      two.record(nodeStream('gone'), node, heartbeat, { nodeId: 'gone', reading: {} }, heartbeatStream('gone'), about);
    expect(await beat()).toHaveProperty('position');
    await one.execute(nodeStream('gone'), node, remove, { nodeId: 'gone', cause: 'operator' }, about);
    await expect.poll(beat).toMatchObject({ refused: 'node_removed' });
  });

  it('reads streams longer than a page', async () => {
    await enlist(one, 'long');
    for (let from = 0; from < 1100; from += 100) {
      await Promise.all(
        Array.from({ length: 100 }, (_, at) =>
          one.execute(nodeStream('long'), node, update, { nodeId: 'long', changes: { owner: `${from + at}` } }, about),
        ),
      );
    }
    const fresh = await Executor.start(log, kernel);
    expect(await fresh.state(nodeStream('long'), node)).toMatchObject({ profile: { owner: '1099' } });
    await fresh.close();
  });

  it('reads of a stream that it knows only what is new to tell its state', async () => {
    await enlist(one, 'known');
    const change = (owner: string) =>
      two.execute(nodeStream('known'), node, update, { nodeId: 'known', changes: { owner } }, about);
    for (const owner of ['a', 'b', 'c']) await change(owner);
    let read = 0;
    const counting = new Proxy(log, {
      get(target, name) {
        if (name !== 'readStream') return Reflect.get(target, name).bind?.(target) ?? Reflect.get(target, name);
        return async (...args: Parameters<EventLog['readStream']>) => {
          const page = await target.readStream(...args);
          read += page.length;
          return page;
        };
      },
    });
    const executor = await Executor.start(counting, kernel);
    expect(await executor.state(nodeStream('known'), node)).toMatchObject({ profile: { owner: 'c' } });
    expect(read).toBe(4);
    await change('d');
    expect(await executor.state(nodeStream('known'), node)).toMatchObject({ profile: { owner: 'd' } });
    expect(read).toBeLessThanOrEqual(5);
    await executor.close();
  });
});

describe('a command known by id', () => {
  const known = (key: string, bodyHash = 'same', once = false) => ({
    command: { id: commandId('hub', 'test', key), bodyHash, once },
  });
  const change = (executor: Executor, mode: 'open' | 'invite' | 'approval', extra: object) =>
    executor.execute('federation', federation, changeMode, { mode }, { ...about, ...extra });

  it('asked again answers as before and does nothing, on any replica', async () => {
    const first = await change(one, 'invite', known('k1'));
    const [again, elsewhere] = [await change(one, 'invite', known('k1')), await change(two, 'invite', known('k1'))];
    expect(first).toMatchObject({ reply: { mode: 'invite', previous: 'open' } });
    expect(again).toEqual(first);
    expect(elsewhere).toEqual(first);
  });

  it('asked twice at once is done once', async () => {
    const before = (await log.readStream('federation', 0, 100)).length;
    const answers = await Promise.all([change(one, 'open', known('k2')), change(two, 'open', known('k2'))]);
    expect(answers[0]).toEqual(answers[1]);
    expect(await log.readStream('federation', 0, 100)).toHaveLength(before + 1);
  });

  it('with another body is refused', async () => {
    await change(one, 'approval', known('k3'));
    expect(await change(two, 'open', known('k3', 'other'))).toMatchObject({ refused: 'idempotency_mismatch' });
  });

  it('whose reply held a secret says that it was done', async () => {
    await change(one, 'open', known('k4', 'same', true));
    expect(await change(one, 'open', known('k4', 'same', true))).toMatchObject({ refused: 'already_done' });
  });

  it('works for readings as well', async () => {
    await enlist(one, 'reader');
    const beat = () =>
      one.record(nodeStream('reader'), node, heartbeat, { nodeId: 'reader', reading: {} }, heartbeatStream('reader'), {
        ...about,
        ...known('k5'),
      });
    const first = await beat();
    expect(await beat()).toEqual(first);
    expect(await log.readStream(heartbeatStream('reader'), 0, 10)).toHaveLength(1);
  });
});
