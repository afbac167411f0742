/** Opening, closing, opening again; and what is too much. */
import { afterEach, expect, it } from 'vitest';
import type { Open, Opened } from '../conformance.ts';
import { fact, facts, ids, kernel, readOn, stream, written } from './facts.ts';

export function lifecycle(open: Open): void {
  let opened: Opened;
  afterEach(() => opened?.close());

  async function fresh(options: { queueLimit?: number } = {}) {
    opened = await open({ segmentSize: 10, ...options });
    return opened.log;
  }

  it('is empty when it is new', async () => {
    const log = await fresh();
    expect(log.id).toMatch(/^[0-9a-f-]{36}$/);
    expect(await log.head()).toBe(0);
    expect(await log.readAll(0, 10)).toEqual({ events: [], through: 0 });
    expect(await log.segments()).toEqual([]);
  });

  it('keeps its id, segment size, head, events, revisions and commands when opened again', async () => {
    const log = await fresh();
    const name = stream();
    const command = { id: kernel.uuid(), bodyHash: 'h', reply: 'null', time: '2030-01-01T00:00:00.000Z' };
    const created = fact();
    await written(log.append(name, 'noStream', [created, ...facts(2)], command));
    await written(log.append(stream('heartbeat'), 'any', facts(12)));
    const before = await readOn(log, 0);
    const { id, segmentSize } = log;

    const again = await opened.reopen();
    expect(again).toMatchObject({ id, segmentSize });
    expect(await again.head()).toBe(15);
    expect(await readOn(again, 0)).toEqual(before);
    expect(await again.segments()).toHaveLength(2);
    expect(await again.findCommand(command.id)).toEqual({ ...command, position: 3 });
    expect(await again.append(name, 'noStream', [fact()])).toEqual({ status: 'conflict', revision: 2 });
    expect(await again.append(name, 'any', [created])).toMatchObject({ status: 'duplicate', position: 1 });
    expect(await written(again.append(name, 2, [fact()]))).toMatchObject({ revision: 3, position: 16 });
  });

  it('hands over what was written before it was opened, and after', async () => {
    const log = await fresh();
    const past = facts(12);
    await written(log.append(stream(), 'any', past));
    const again = await opened.reopen();
    const seen: string[] = [];
    const subscription = again.subscribe(0, (page) => void seen.push(...ids(page.events)));
    const coming = facts(3);
    const { position } = await written(again.append(stream(), 'any', coming));
    while (subscription.position < position) await kernel.sleep(2);
    await subscription.close();
    expect(seen).toEqual(ids([...past, ...coming]));
  });

  it('finishes the appends under way when it is closed', async () => {
    const log = await fresh();
    const appends = Array.from({ length: 300 }, () => written(log.append(stream(), 'noStream', [fact()])));
    const closing = log.close();
    const verdicts = await Promise.all(appends);
    await closing;
    expect(new Set(verdicts.map((verdict) => verdict.position)).size).toBe(300);
    expect(await (await opened.reopen()).head()).toBe(300);
  });

  it('answers log_unavailable to whatever is asked after it was closed', async () => {
    const log = await fresh();
    await log.close();
    const unavailable = expect.objectContaining({ code: 'log_unavailable' });
    await expect(log.append(stream(), 'any', [fact()])).rejects.toEqual(unavailable);
    await expect(log.readAll(0, 1)).rejects.toEqual(unavailable);
    await expect(log.readStream('node-a', 0, 1)).rejects.toEqual(unavailable);
    await expect(log.head()).rejects.toEqual(unavailable);
  });

  it('may be closed twice', async () => {
    const log = await fresh();
    await written(log.append(stream(), 'any', [fact()]));
    await Promise.all([log.close(), log.close()]);
    await log.close();
  });

  it('ends its subscriptions when it is closed', async () => {
    const log = await fresh();
    let running = 0;
    log.subscribe(0, async () => {
      running++;
      await kernel.sleep(50);
      running--;
    });
    await written(log.append(stream(), 'any', [fact()]));
    while (running === 0) await kernel.sleep(1);
    await log.close();
    expect(running).toBe(0);
  });

  it('answers overloaded at once when too many appends wait, and writes those that waited', async () => {
    const log = await fresh({ queueLimit: 50 });
    const settled = await Promise.allSettled(
      Array.from({ length: 80 }, () => log.append(stream(), 'noStream', [fact()])),
    );
    const overloaded = settled.filter((one) => one.status === 'rejected');
    expect(overloaded).toHaveLength(30);
    for (const { reason } of overloaded) expect(reason).toMatchObject({ code: 'overloaded' });
    expect(await log.head()).toBe(50);
    await written(log.append(stream(), 'noStream', [fact()]));
  });
}
