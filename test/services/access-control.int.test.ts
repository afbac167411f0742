/** The lists as the hub holds them: the last administrator, and lists that are full. In this process, to reach the service itself. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { dismiss } from '../../src/admins.ts';
import { accessStream, mostEntries } from '../../src/commands/access.ts';
import { readConfig } from '../../src/config.ts';
import { type DomainEvent, encode } from '../../src/events/catalog.ts';
import type { Hub } from '../../src/hub.ts';
import { createKernel, isoTime } from '../../src/kernel.ts';
import { type RunningHub, startHub } from '../../src/main.ts';
import { type AccessControl, accessControl } from '../../src/services/access-control.ts';
import { manifest } from '../../src/services/manifest.ts';
import type { AnyService } from '../../src/services/service.ts';
import { freshPlace } from '../projections/backends.ts';
import { joinByHttp, post } from '../security/visitor.ts';

const services = manifest as AnyService[]; // the array itself, which `startHub` reads; restored afterwards
const kernel = createKernel({ logLevel: 'silent' });
const about = { actor: 'operator:test' };

describe.each(['sqlite', 'postgres'] as const)('on %s', (kind) => {
  let place: Awaited<ReturnType<typeof freshPlace>>;
  let running: RunningHub;
  let hub: Hub;
  let access: AccessControl;

  beforeAll(async () => {
    place = await freshPlace(kind);
    services.push({
      name: 'observer',
      tier: 'Nexus',
      purpose: 'Sees the hub from inside',
      needs: { access: accessControl },
      async start(seen, others) {
        hub = seen;
        access = (others as { access: AccessControl }).access; // as it needs it
        return { api: {}, stop: async () => {} };
      },
    });
    running = await startHub(readConfig({ PORT: '0', DATABASE_URL: place.url, FEDERATION_MODE: 'open' }), kernel);
    services.pop();
  });
  afterAll(async () => {
    await running.stop();
    await place.drop();
  });

  it('does not block the last administrator that is not blocked, by id or key', async () => {
    const doorOf = { url: running.url, federationId: running.federationId, adminToken: running.adminToken! };
    const ada = await joinByHttp(doorOf, 'ada');
    await joinByHttp(doorOf, 'bob');
    for (const id of ['ada', 'bob'])
      await post(doorOf, `/governance/roles/${id}`, { role: 'admin' }, doorOf.adminToken);
    const operators = [...hub.live.admins.values()]
      .map(({ admin }) => admin)
      .filter((who) => who.startsWith('operator:'));
    for (const operator of operators) await dismiss(hub, operator, about);
    await vi.waitFor(() =>
      expect([...hub.live.admins.values()].map(({ admin }) => admin)).toEqual(['node:ada', 'node:bob']),
    );
    expect(await access.block('bob', 'one of two', about)).toMatchObject({ reply: { changed: true } });
    expect(await access.block('ada', 'the other', about)).toMatchObject({ refused: 'last_admin' });
    expect(await access.block(ada.key.publicKey, 'the other', about)).toMatchObject({ refused: 'last_admin' });
    expect(await access.block('eve', 'no admin', about)).toMatchObject({ reply: { changed: true } });
    await access.unblock('bob', about);
    expect(await access.block('ada', 'one of two', about)).toMatchObject({ reply: { changed: true } });
  });

  it('empties full lists in one go, and every map follows', async () => {
    await access.reset(about);
    const facts = Array.from(
      { length: mostEntries },
      (_, n): DomainEvent =>
        n % 2
          ? { type: 'access.blocked', data: { subject: `n-${n}`, reason: 'x'.repeat(500) } }
          : { type: 'access.allowed', data: { subject: `n-${n}` } },
    );
    const about2 = {
      time: isoTime(kernel.now()),
      meta: JSON.stringify({ actor: 'operator:test', correlation: 'x', replica: 'x' }),
    };
    for (let from = 0; from < facts.length; from += 1_000) {
      const events = facts.slice(from, from + 1_000).map((fact) => encode(fact, { id: kernel.uuid(), ...about2 }));
      expect((await hub.log.append(accessStream, 'any', events)).status).toBe('written');
    }
    await hub.live.access.waitFor(await hub.log.head());
    expect(access.blocked('n-1')).toHaveLength(500);
    expect(await access.block('one-more', 'x', about)).toMatchObject({ refused: 'limit_reached' });
    expect(await access.reset(about)).toMatchObject({ reply: { removed: mostEntries } });
    expect(access.blocked('n-1')).toBeUndefined();
    expect(hub.live.access.size).toBe(0);
    expect(await access.block('one-more', 'x', about)).toMatchObject({ reply: { changed: true } });
  });
});
