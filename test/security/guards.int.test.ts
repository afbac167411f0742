/** A guard that is down or late shuts its doors: 503, never "allowed". In this process, as no setting takes a guard away. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { readConfig } from '../../src/config.ts';
import type { Slot } from '../../src/doors.ts';
import type { Hub } from '../../src/hub.ts';
import { createKernel } from '../../src/kernel.ts';
import { type RunningHub, startHub } from '../../src/main.ts';
import { identityAuth } from '../../src/services/identity-auth.ts';
import { manifest } from '../../src/services/manifest.ts';
import type { AnyService } from '../../src/services/service.ts';
import { RawSocket } from './raw-socket.ts';
import { call, joinByHttp, joinBySocket } from './visitor.ts';

const services = manifest as AnyService[]; // the array itself, which `startHub` reads; restored after each test
const whole = [...services];
let folder: string | undefined;
let running: RunningHub | undefined;

afterEach(async () => {
  await running?.stop();
  services.splice(0, services.length, ...whole);
  if (folder) await rm(folder, { recursive: true, force: true });
});

async function start(): Promise<{ url: string; federationId: string; adminToken: string }> {
  folder = await mkdtemp(path.join(tmpdir(), 'fedhub-guards-'));
  const config = readConfig({ PORT: '0', FEDERATION_DATA_DIR: folder });
  running = await startHub(config, createKernel({ logLevel: 'silent' }));
  const { url, federationId, adminToken } = running;
  return { url, federationId, adminToken: adminToken! };
}

describe('without identity-auth', () => {
  test('no packet is taken, and HTTP lets in nobody who must prove who he is', async () => {
    services.splice(services.indexOf(identityAuth), 1, {
      ...identityAuth,
      start: () => Promise.reject(new Error('it cannot start')),
    });
    const hub = await start();
    const socket = await RawSocket.open(hub.url);
    const register = { protocol_version: 1, node_id: 'a', public_key: 'A'.repeat(43) };
    for (const [name, packet] of [
      ['federation:challenge', { node_id: 'a', purpose: 'register' }],
      ['federation:register', { ...register, nonce: 'A'.repeat(72), signature: 'A'.repeat(86) }],
    ] as const) {
      expect((await socket.ask(name, packet)).error?.code).toBe('service_unavailable');
    }
    expect((await socket.ask('federation:heartbeat', { node_id: 'a' })).error?.code).toBe('unauthenticated');
    for (const token of [undefined, hub.adminToken]) {
      for (const [path, code] of [
        ['/nodes', 'guard_unavailable'],
        ['/governance', 'guard_unavailable'],
        ['/auth/challenge', 'service_unavailable'],
      ] as const) {
        const { status, body } = await call(hub, 'GET', path, { token });
        expect([status, body.code], path).toEqual([503, code]);
      }
      expect((await call(hub, 'GET', '/status', { token })).status).toBe(200);
    }
    socket.close();
  });
});

/** Starts a hub, and shows it from inside. */
async function startSeen(): Promise<{ seen: Hub; hub: Awaited<ReturnType<typeof start>> }> {
  let seen: Hub | undefined;
  services.push({
    name: 'observer',
    tier: 'Nexus',
    purpose: 'Sees the hub from inside',
    needs: {},
    start: async (hub) => {
      seen = hub;
      return { api: {}, stop: async () => {} };
    },
  });
  const hub = await start();
  return { seen: seen!, hub }; // the hub started it
}

/** As when the service that guards there has gone. */
function empty<Guard>(slot: Slot<Guard>): void {
  vi.spyOn(slot, 'find').mockReturnValue(undefined);
}

describe('when a guard goes away under a running hub', () => {
  test('without identity every door that needs to know who asks answers 503, to operators too; those for anyone stay open', async () => {
    const { seen, hub } = await startSeen();
    const token = hub.adminToken;
    expect((await call(hub, 'GET', '/governance', { token })).status).toBe(200);
    empty(seen.doors.identity);
    for (const [method, path] of [
      ['GET', '/nodes'],
      ['GET', '/nodes/a'],
      ['DELETE', '/nodes/a'],
      ['GET', '/governance'],
      ['POST', '/governance/mode'],
      ['POST', '/views/rebuild'],
      ['POST', '/auth/renew'],
      ['GET', '/hub/alerts'],
    ] as const) {
      for (const shown of [undefined, token]) {
        const body = method === 'POST' ? {} : undefined;
        const answer = await call(hub, method, path, { token: shown, body });
        expect([answer.status, answer.body.code], `${method} ${path}`).toEqual([503, 'guard_unavailable']);
      }
    }
    for (const path of ['/status', '/health', '/hub/health', '/auth/jwks']) {
      expect((await call(hub, 'GET', path)).status, path).toBe(200);
    }
  });

  test.each(['bans', 'access'] as const)('without %s nobody who proved who it is passes any door', async (name) => {
    const { seen, hub } = await startSeen();
    const { socket, token } = await joinBySocket(hub, 'ada');
    empty(seen.doors[name]);
    for (const shown of [token, hub.adminToken]) {
      const { status, body } = await call(hub, 'GET', '/nodes', { token: shown });
      expect([status, body.code]).toEqual([503, 'guard_unavailable']);
    }
    expect((await socket.ask('federation:heartbeat', { node_id: 'ada' })).error?.code).toBe('guard_unavailable');
    await expect(joinByHttp(hub, 'bob')).rejects.toThrow('guard_unavailable');
    socket.close();
  });

  test('without admission nobody joins, nor comes back', async () => {
    const { seen, hub } = await startSeen();
    const { key } = await joinByHttp(hub, 'ada');
    empty(seen.doors.admission);
    await expect(joinByHttp(hub, 'ada', {}, key)).rejects.toThrow('guard_unavailable');
    await expect(joinByHttp(hub, 'bob')).rejects.toThrow('guard_unavailable');
    expect((await call(hub, 'GET', '/nodes', { token: hub.adminToken })).status).toBe(200);
  });

  test('without limits only the probes of the infrastructure are answered', async () => {
    const { seen, hub } = await startSeen();
    const socket = await RawSocket.open(hub.url);
    empty(seen.doors.limits);
    for (const path of ['/status', '/nodes', '/auth/jwks']) {
      const { status, body } = await call(hub, 'GET', path, { token: hub.adminToken });
      expect([status, body.code], path).toEqual([503, 'guard_unavailable']);
    }
    for (const path of ['/health', '/ready']) expect((await call(hub, 'GET', path)).status, path).toBe(200);
    const challenge = { node_id: 'ada', purpose: 'register' };
    expect((await socket.ask('federation:challenge', challenge)).error?.code).toBe('guard_unavailable');
    socket.close();
  });

  test('without the audit log what it must tell of is not read', async () => {
    const { seen, hub } = await startSeen();
    empty(seen.doors.audit);
    for (const path of ['/audit/export?format=ndjson', '/audit/1', '/backup/log']) {
      const { status, body } = await call(hub, 'GET', path, { token: hub.adminToken });
      expect([status, body.code], path).toEqual([503, 'guard_unavailable']);
    }
    expect((await call(hub, 'GET', '/nodes', { token: hub.adminToken })).status).toBe(200);
  });
});
