/** A hub that is killed again and again while its master key is rotated: no secret is lost, and the old key goes in the end. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { expect, it, vi } from 'vitest';
import { call } from '../security/visitor.ts';
import { type HubProcess, startHubProcess } from '../setup/hub-process.ts';
import { noLimits } from '../setup/no-limits.ts';

const secrets = 200;

it('a rotation of the master key that is killed is gone on with, and reads go on', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-vault-kill-'));
  let hub: HubProcess | undefined;
  let token = '';
  const start = async () => {
    hub = await startHubProcess(folder, { PORT: '0', ...noLimits });
    token = hub.adminToken ?? token;
  };
  const ask = (method: string, route: string, body?: unknown) =>
    call({ url: hub!.url, federationId: '', adminToken: '' }, method, route, { token, body });
  const read = async (at: number) => (await ask('GET', `/secrets/@federation:s${at}`)).body.value;
  /** How many keys each master key wraps. */
  const wrapped = () => {
    const db = new Database(path.join(folder, 'data', 'keyring.db'), { readonly: true });
    try {
      return db
        .prepare<[], { master_id: string; keys: number }>(
          'SELECT master_id, count(*) AS keys FROM federation_vault_keys GROUP BY master_id',
        )
        .all();
    } finally {
      db.close();
    }
  };
  try {
    await start();
    for (let at = 0; at < secrets; at++)
      expect((await ask('PUT', `/secrets/@federation:s${at}`, { value: `value ${at}` })).status).toBe(200);
    const old = await readFile(path.join(folder, 'data', 'vault.key'), 'utf8');
    const [, oldKey] = /^current (.+)$/m.exec(old)!;
    expect((await ask('POST', '/secrets/master/rotate')).status).toBe(202);
    let mixed = 0;
    for (let kills = 0; kills < 3; kills++) {
      for (let waits = 0; waits < 2_000 && wrapped().length === 1 && mixed === kills; waits++) await sleep(1);
      hub!.child.kill('SIGKILL');
      await hub!.exited;
      if (wrapped().length === 2) mixed++;
      await start();
      expect(await read(0)).toBe('value 0');
      expect(await read(secrets - 1)).toBe(`value ${secrets - 1}`);
    }
    expect(mixed).toBeGreaterThan(0); // else it was never killed in the middle
    await vi.waitFor(async () => {
      expect((await ask('GET', '/secrets/master')).body).toMatchObject({
        rotating: false,
        remaining: 0,
        keys: secrets,
      });
    }, 60_000);
    expect(wrapped()).toHaveLength(1);
    expect(await readFile(path.join(folder, 'data', 'vault.key'), 'utf8')).not.toContain(oldKey);
    for (let at = 0; at < secrets; at++) expect(await read(at)).toBe(`value ${at}`);
  } finally {
    hub?.child.kill('SIGKILL');
    await hub?.exited;
    await rm(folder, { recursive: true, force: true });
  }
});
