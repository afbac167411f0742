/** A node is removed while nobody can do the duty of ending its secrets: those that it shared them with read them no more. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { call, joinByHttp, type Visitor } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

it('what a removed node shared is there for nobody, though the replica with the duty hangs', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-vault-left-'));
  const env = { FEDERATION_VAULT_KEY_FILE: path.join(folder, 'vault.key') };
  const first = await startTestHub({ database: 'postgres', env });
  let second: TestHub | undefined;
  try {
    second = await startTestHub({ env: { ...env, DATABASE_URL: first.databaseUrl! } });
    const metrics = await (await fetch(`${first.url}/metrics`)).text();
    expect(metrics).toContain('federation_lease_held{duty="secrets-vault"} 1');
    const [ada, bob] = [await joinByHttp(first, 'ada'), await joinByHttp(second, 'bob')];
    const at = (hub: TestHub, method: string, route: string, visitor?: Visitor, body?: unknown) =>
      call(hub, method, route, { token: visitor?.token ?? first.adminToken, body });
    const made = { value: 'x', readers: { nodes: ['bob'] } };
    expect((await at(first, 'PUT', '/secrets/ada:shared', ada, made)).status).toBe(200);
    expect((await at(second, 'GET', '/secrets/ada:shared', bob)).body.value).toBe('x');

    process.kill(first.pid, 'SIGSTOP');
    expect((await at(second, 'DELETE', '/nodes/ada')).status).toBe(200);
    expect((await at(second, 'GET', '/secrets/ada:shared', bob)).body.code).toBe('not_found');
    expect((await at(second, 'GET', '/secrets', bob)).body.secrets).toEqual([]);
  } finally {
    process.kill(first.pid, 'SIGCONT');
    await second?.stop();
    await first.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
