/** How the projector paces itself: it rests after small work, and whoever waits for a position ends the rest. */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { decode } from '../../src/events/decode.ts';
import type { EventLog } from '../../src/events/log.ts';
import { openSqliteLog } from '../../src/events/log-sqlite.ts';
import { createKernel } from '../../src/kernel.ts';
import { soleLeases } from '../../src/lease.ts';
import { allProjections } from '../../src/projections/catalog.ts';
import { Projector } from '../../src/projections/projector.ts';
import { openSource } from '../../src/projections/source.ts';
import { SqliteViewStore } from '../../src/projections/views-sqlite.ts';
import { kernel, until } from './backends.ts';
import { registered, tell } from './facts.ts';

/** Of a projector whose rests, but not its waits for work, last for ever. */
const endlessRests = createKernel(
  { logLevel: 'silent' },
  { after: (ms, fn) => (ms <= 50 ? () => {} : kernel.after(ms, fn)) },
);

describe('the pace of the projector', () => {
  let folder: string;
  let log: EventLog;
  let projector: Projector;
  let close: () => Promise<void>;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'fedhub-pace-'));
    log = await openSqliteLog({ folder, kernel });
    const source = await openSource(`sqlite:${folder}`, kernel);
    const store = new SqliteViewStore(folder, allProjections);
    const leases = soleLeases(store.nextEpoch());
    const ignore = () => {};
    const options = { source, store, leases, views: allProjections, onMoved: ignore, onRebuilt: ignore };
    projector = new Projector({ ...options, kernel: endlessRests });
    await until('the views are claimed', () => projector.state().projecting);
    close = async () => {
      await projector.close();
      await store.close();
      await source.close();
      await log.close();
      await rm(folder, { recursive: true });
    };
  });
  afterEach(() => close());

  it('begins at once with what comes after a pause, and rests when that is done', async () => {
    const first = await tell(log, registered('n1'));
    projector.wake();
    await until('it took the first', () => projector.state().position === first);
    await tell(log, registered('n2'));
    projector.wake();
    await kernel.sleep(100);
    expect(projector.state().position).toBe(first);
  });

  it('ends its rest when someone waits for a position', async () => {
    const first = await tell(log, registered('n1'));
    projector.wake();
    await until('it took the first', () => projector.state().position === first);
    const second = await tell(log, registered('n2'));
    projector.hurry();
    await until('it took the second', () => projector.state().position === second, 1_000);
  });

  it('ends its rest when it is closed', async () => {
    const first = await tell(log, registered('n1'));
    projector.wake();
    await until('it took the first', () => projector.state().position === first);
    await projector.close();
    expect(projector.state().projecting).toBe(false);
  });
});

describe('an event out of the log', () => {
  const recorded = {
    position: 7,
    stream: 'node-n1',
    revision: 2,
    id: randomUUID(),
    type: 'node.cleared',
    version: 1,
    time: '2026-03-01T10:00:00.000Z',
    data: '{"node_id":"n1"}',
    meta: '{"actor":"hub","correlation":"c","replica":"r"}',
  };

  it('has its data and its meta as values', () => {
    const event = decode(recorded);
    expect(event.data).toEqual({ node_id: 'n1' });
    expect(event.meta).toEqual({ actor: 'hub', correlation: 'c', replica: 'r' });
    expect(event.meta).toBe(event.meta);
  });

  it('can be read without its meta, which is refused when asked for', () => {
    const event = decode({ ...recorded, meta: 'not JSON' });
    expect(event.data).toEqual({ node_id: 'n1' });
    expect(() => event.meta).toThrow(SyntaxError);
  });
});
