/** Memories, what each node shares and takes of them, and bringing nodes and other hubs to the same state. */
import type { HubPacket } from '../protocol.ts';
import { Asks } from './knowledge-sync/asks.ts';
import { Endings } from './knowledge-sync/endings.ts';
import { Holdings } from './knowledge-sync/holdings.ts';
import { Memories } from './knowledge-sync/memories.ts';
import { Peers } from './knowledge-sync/peers.ts';
import { createReading, type Reading } from './knowledge-sync/reading.ts';
import { createSovereignty, type SovereigntyDesk } from './knowledge-sync/sovereignty.ts';
import { Members } from './knowledge-sync/standing.ts';
import { Syncs } from './knowledge-sync/sync.ts';
import { Offers } from './knowledge-sync/sync-offers.ts';
import { handleSyncs } from './knowledge-sync/sync-packets.ts';
import { Withdrawals } from './knowledge-sync/withdrawals.ts';
import { service } from './service.ts';
import { websocketPool } from './websocket-pool.ts';

export { keySubject as memoryKey } from './knowledge-sync/content.ts';

export interface KnowledgeSync {
  readonly memories: Memories;
  readonly reading: Reading;
  readonly sovereignty: SovereigntyDesk;
  readonly holdings: Holdings;
  /** A holder says what became of copies that it was asked for. */
  readonly answer: Asks['answer'];
  readonly syncs: Syncs;
  readonly offers: Offers;
  readonly peers: Peers;
}

export const knowledgeSync = service({
  name: 'knowledge-sync',
  purpose: 'Memories, moved by range fingerprints and only where sovereignty lets them',
  needs: { sockets: websocketPool },
  async start(hub, { sockets }) {
    const head = await hub.log.head(); // all that may fail: what comes now is stopped with the service
    const members = new Members(hub.live);
    const asks = new Asks(hub, sockets, members, head);
    const withdrawals = new Withdrawals(hub, members, head);
    const memories = new Memories(hub, members);
    const holdings = new Holdings(hub, members);
    const tell = (nodeId: string, progress: HubPacket<'federation:knowledge:progress'>) =>
      void sockets.tell(nodeId, 'federation:knowledge:progress', progress);
    const syncs = new Syncs({ hub, members, memories, holdings, tell }, head);
    const offers = new Offers(sockets);
    const endings = new Endings(hub, memories);
    const peers = new Peers({ hub, members, memories, holdings }, head);
    const stopHandling = handleSyncs(sockets, syncs);
    const api: KnowledgeSync = {
      memories,
      reading: createReading(hub, members),
      sovereignty: createSovereignty(hub, members),
      holdings,
      syncs,
      offers,
      peers,
      answer: (holder, memoryIds, outcome, about) => asks.answer(holder, memoryIds, outcome, about),
    };
    return {
      api,
      async stop() {
        stopHandling();
        offers.close();
        await peers.close();
        await syncs.stop();
        await asks.close();
        await endings.close();
        await withdrawals.close();
        members.close();
      },
    };
  },
});
