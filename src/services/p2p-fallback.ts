/** So that nodes go on without the hub: the roster that they go by when it is silent, and what they did when it is back. */
import type { About } from '../commands/execute.ts';
import type { HubKeys } from '../protocol/p2p.ts';
import type { ClientPacket } from '../protocol.ts';
import { messagePersistence } from './message-persistence.ts';
import { type Home, Returning } from './p2p-fallback/returning.ts';
import { type Issued, Rosters } from './p2p-fallback/rosters.ts';
import { Standings } from './p2p-fallback/standings.ts';
import { service } from './service.ts';
import { speakerOf, websocketPool } from './websocket-pool.ts';

export interface P2pFallback {
  /** The newest roster; undefined before the first, or while this replica has not made it yet. */
  roster(): Issued | undefined;
  /** Public keys to check it with. */
  keys(): HubKeys;
  /** What a node hands in. Throws a `Fault`. */
  take(nodeId: string, handed: ClientPacket<'federation:p2p:return'>, about: About): Promise<Home>;
}

export const p2pFallback = service({
  name: 'p2p-fallback',
  purpose: 'Signed rosters by which nodes talk directly while the hub is silent, and the return of what they said',
  needs: { sockets: websocketPool, messages: messagePersistence },
  async start(hub, { sockets, messages }) {
    const lease = hub.leases.acquire('p2p-fallback');
    const rosters = new Rosters(hub, lease);
    const returning = new Returning(hub, messages, new Standings(hub));
    const api: P2pFallback = {
      roster: () => rosters.newest,
      keys: () => ({ keys: [...hub.keyring.jwks().keys] }),
      take: (nodeId, handed, about) => returning.take(nodeId, handed, about),
    };
    const stops = [
      sockets.handle('federation:p2p:roster', async (_client, { known }) => {
        const newest = rosters.newest;
        const roster = newest && newest.roster.roster_id !== known ? newest.document : null;
        return { roster, keys: api.keys(), federation_id: hub.federationId };
      }),
      sockets.handle('federation:p2p:return', async (client, handed) => {
        const { nodeId, about } = speakerOf(client);
        return api.take(nodeId, handed, about);
      }),
    ];
    return {
      api,
      async stop() {
        for (const stop of stops) stop();
        rosters.close();
        await lease.release();
      },
    };
  },
});
