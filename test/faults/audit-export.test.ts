/** A million rows of the audit log go out in flat memory, no faster than they are taken, and no further than someone takes them. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { v7 } from 'uuid';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openLog, openViews } from '../../src/backends.ts';
import { encode } from '../../src/events/catalog.ts';
import { createKernel } from '../../src/kernel.ts';
import { call } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

const rows = 1_000_000;
const kernel = createKernel({ logLevel: 'silent' });
/** Above what the hub took when it had exported a little: a page of rows is a third of a megabyte. */
const flatMb = 100;

let hub: TestHub;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fedhub-million-'));
  const env = { FEDERATION_DATA_DIR: folder, FEDERATION_LIMIT_MEGABYTES: '10000000' };
  hub = await startTestHub({ env });
  process.kill(hub.pid, 'SIGTERM'); // founded; its log is filled while nobody serves it
  while (hub.alive()) await sleep(20);
  await fillLog();
  const { adminToken } = hub;
  await hub.stop();
  hub = { ...(await startTestHub({ env })), adminToken };
}, 400_000);
afterAll(async () => {
  await hub?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Appends straight to the log, and brings the views up with it. */
async function fillLog(): Promise<void> {
  const url = `sqlite:${folder}`;
  const log = await openLog(url, kernel);
  const who = { actor: 'node:many', address: '192.0.2.9' };
  const meta = JSON.stringify({ ...who, correlation: v7(), replica: v7() });
  const data = { ...who, action: 'GET /audit/:position', target: '7' };
  for (let told = 0; told < rows; told += 10_000) {
    const appends = Array.from({ length: 20 }, (_, n) => {
      const events = Array.from({ length: 500 }, (_, at) => {
        const time = new Date(Date.UTC(2026, 0, 1) + (told + 500 * n + at) * 10).toISOString();
        return encode({ type: 'audit.read', data }, { id: v7(), time, meta });
      });
      return log.append('audit', 'any', events);
    });
    await Promise.all(appends);
  }
  const views = await openViews({ url, logUrl: url, log, kernel, logLevel: 'silent' });
  while ((await views.state()).position < rows) await sleep(200);
  await views.close();
  await log.close();
}

/** Resident memory of the hub, MB. */
function residentMb(): number {
  const status = readFileSync(`/proc/${hub.pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) / 1_000;
}

async function openExport(query: string) {
  const headers = { authorization: `Bearer ${hub.adminToken}` };
  const asked = request(`${hub.url}/api/federation/audit/export?${query}`, { headers });
  asked.end();
  const [answer] = (await once(asked, 'response')) as [import('node:http').IncomingMessage];
  expect(answer.statusCode).toBe(200);
  return { asked, answer };
}

async function exportLines(query: string, seen: (lines: number) => void = () => {}): Promise<number> {
  const { answer } = await openExport(query);
  let lines = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    for (const byte of chunk) if (byte === 10) lines++;
    seen(lines);
  }
  return lines;
}

const exported = () =>
  hub
    .stderr()
    .split('\n')
    .filter((line) => line.includes('the audit log was exported'))
    .map((line) => JSON.parse(line) as { rows: number; complete: boolean });

describe('an export of a million rows', () => {
  it.each(['ndjson', 'csv'])(
    'is whole as %s, and takes no memory to speak of',
    { timeout: 300_000 },
    async (format) => {
      await exportLines(`format=${format}&since=${rows - 50_000}`); // warm
      const before = residentMb();
      let most = before;
      let looked = 0;
      const lines = await exportLines(`format=${format}`, (sofar) => {
        if (sofar - looked < 20_000) return;
        looked = sofar;
        most = Math.max(most, residentMb());
      });
      expect(lines).toBeGreaterThan(rows);
      expect(most - before).toBeLessThan(flatMb);
    },
  );

  it('waits for a reader who does not read', { timeout: 120_000 }, async () => {
    const before = residentMb();
    const { asked, answer } = await openExport('');
    answer.pause();
    await sleep(5_000);
    const { status } = await call(hub, 'GET', '/audit?limit=1', { token: hub.adminToken }); // others go on
    expect(status).toBe(200);
    expect(residentMb() - before).toBeLessThan(flatMb);
    const ended = exported().length;
    asked.destroy();
    await expect.poll(() => exported().length, { timeout: 10_000 }).toBe(ended + 1);
    const last = exported().at(-1)!;
    expect(last.complete).toBe(false);
    expect(last.rows).toBeLessThan(100_000); // what the buffers between the two hold, and no more was read
  });

  it('stops when its reader goes', { timeout: 120_000 }, async () => {
    const ended = exported().length;
    const { asked, answer } = await openExport('');
    await once(answer, 'data');
    asked.destroy();
    await expect.poll(() => exported().length, { timeout: 10_000 }).toBe(ended + 1);
    expect(exported().at(-1)!.rows).toBeLessThan(rows / 2);
  });
});
