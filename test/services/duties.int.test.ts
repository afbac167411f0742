/** Who does the duties of a federation: one replica each, wherever the replicas keep their views. */
import { randomBytes } from 'node:crypto';
import { afterEach, expect, it } from 'vitest';
import { readExposition } from '../setup/exposition.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

const open: TestHub[] = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map((hub) => hub.stop()));
});

/** Two replicas that share a log in PostgreSQL. */
async function startPair(views: Record<string, string> = {}): Promise<[TestHub, TestHub]> {
  const more = { ...views, FEDERATION_VAULT_KEY: randomBytes(32).toString('hex') }; // a shut vault has no duties
  const first = await startTestHub({ database: 'postgres', env: more });
  open.unshift(first);
  const second = await startTestHub({ env: { DATABASE_URL: first.databaseUrl!, ...more } });
  open.unshift(second); // ended first: the database goes with the other
  return [first, second];
}

async function heldAt({ url }: TestHub): Promise<string[]> {
  const duties = readExposition(await (await fetch(`${url}/metrics`)).text()).get('federation_lease_held')!;
  return duties.samples.filter(({ value }) => value === 1).map(({ labels }) => labels.duty!);
}

it('has one holder each among replicas that keep their views each in a folder of its own', async () => {
  const pair = await startPair({ FEDERATION_VIEWS_URL: 'sqlite:data' });
  const beside = 'search-index'; // of what lies beside the views, so each has its own
  await expect
    .poll(async () => (await Promise.all(pair.map(heldAt))).filter((held) => held.includes(beside)))
    .toHaveLength(2);
  const held = (await Promise.all(pair.map(heldAt))).flat().filter((duty) => duty !== beside);
  expect(held).toContain('node-registry');
  expect(held).toEqual([...new Set(held)]);
  process.kill(pair[0].pid, 'SIGKILL');
  await expect.poll(() => heldAt(pair[1])).toEqual(expect.arrayContaining(held));
});

it('has one holder each among replicas that share their views', async () => {
  const [first, second] = await startPair();
  await expect.poll(async () => [...(await heldAt(first)), ...(await heldAt(second))]).toContain('search-index');
  const held = [...(await heldAt(first)), ...(await heldAt(second))];
  expect(held).toContain('node-registry');
  expect(held).toEqual([...new Set(held)]);
});
