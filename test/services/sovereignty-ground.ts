/** Log, views, keys and memories as a hub has them, without its doors: what is judged here is judged by the same parts. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openLog, openViews } from '../../src/backends.ts';
import { Executor } from '../../src/commands/execute.ts';
import { nodeStream } from '../../src/commands/node.ts';
import { sovereigntyStream } from '../../src/commands/sovereignty.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import type { NodeRole } from '../../src/events/node.ts';
import type { Sovereignty } from '../../src/events/sovereignty.ts';
import { createKernel } from '../../src/kernel.ts';
import { sqliteKeyring } from '../../src/keyring/store-sqlite.ts';
import { openKeyring } from '../../src/keyring.ts';
import { soleLeases } from '../../src/lease.ts';
import { nodes } from '../../src/projections/nodes.ts';
import { sovereignty } from '../../src/projections/sovereignty.ts';
import { Memories } from '../../src/services/knowledge-sync/memories.ts';
import { Members } from '../../src/services/knowledge-sync/standing.ts';

/** The moment that everything is judged at; it can be set. */
export const clock = { now: Date.parse('2026-06-01T12:00:00.000Z') };

export interface Attributes {
  readonly role: NodeRole;
  readonly owner?: string;
  readonly region?: string;
}

export type Ground = Awaited<ReturnType<typeof openGround>>;

export async function openGround() {
  const kernel = createKernel({ logLevel: process.env.GROUND_LOG ?? 'silent' }, { now: () => clock.now });
  const folder = await mkdtemp(join(tmpdir(), 'fedhub-sovereignty-'));
  const url = `sqlite:${folder}`;
  const log = await openLog(url, kernel);
  const views = await openViews({ url, logUrl: url, log, kernel, logLevel: 'silent' });
  const leases = soleLeases(1);
  const keyring = await openKeyring(sqliteKeyring(folder), kernel);
  const executor = await Executor.start(log, kernel);
  const live = await views.live({ nodes, sovereignty }, log);
  const hub = { kernel, log, views, leases, keyring, executor, live: live.maps, federationId: 'here' };
  const members = new Members(hub.live);
  const memories = new Memories(hub, members);
  /** Writes facts as they are, and waits until memory and views hold them. */
  const tell = async (stream: string, ...facts: DomainEvent[]) => {
    const position = await executor.note(stream, facts, { actor: 'hub' });
    await Promise.all([live.maps.nodes.waitFor(position), live.maps.sovereignty.waitFor(position)]);
    return position;
  };
  return {
    ...hub,
    url,
    members,
    memories,
    tell,
    join: (nodeId: string, { role, owner, region }: Attributes) =>
      tell(nodeStream(nodeId), {
        type: 'node.registered',
        data: {
          node_id: nodeId,
          public_key: 'A'.repeat(43),
          role,
          profile: { ...(owner && { owner }), ...(region && { labels: { region } }) },
        },
      }),
    remove: (nodeId: string) =>
      tell(nodeStream(nodeId), { type: 'node.removed', data: { node_id: nodeId, cause: 'operator' } }),
    declare: (subject: string, version: number, policy: Sovereignty) =>
      tell(sovereigntyStream(subject), { type: 'sovereignty.declared', data: { subject, version, ...policy } }),
    async close() {
      members.close();
      await live.close();
      await executor.close();
      await views.close();
      await keyring.close();
      await log.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
