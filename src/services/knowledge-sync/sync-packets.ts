/** Syncs over the sockets of nodes: each packet to what does it, and what rests when a socket goes. */
import { isRefusal } from '../../errors.ts';
import type { Cancel } from '../../kernel.ts';
import { speakerOf, type WebsocketPool } from '../websocket-pool.ts';
import type { Syncs } from './sync.ts';

/** What is returned stops it. */
export function handleSyncs(sockets: WebsocketPool, syncs: Syncs): Cancel {
  const stops = [
    sockets.handle('federation:knowledge:sync', async (client, packet) => {
      const { nodeId, about } = speakerOf(client);
      return syncs.begin(nodeId, packet, about);
    }),
    sockets.handle('federation:knowledge:reconcile', async (client, { sync_id, frame }) => {
      return syncs.reconcile(speakerOf(client).nodeId, sync_id, frame);
    }),
    sockets.handle('federation:knowledge:pull', async (client, { sync_id, versions }) => {
      const { nodeId, about } = speakerOf(client);
      return syncs.pull(nodeId, sync_id, versions, about);
    }),
    sockets.handle('federation:knowledge:push', async (client, { sync_id, documents }) => {
      const { nodeId, about } = speakerOf(client);
      return syncs.push(nodeId, sync_id, documents, about);
    }),
    sockets.handle('federation:knowledge:pause', async (client, { sync_id }) => {
      const { nodeId, about } = speakerOf(client);
      const done = await syncs.pause(nodeId, sync_id, about);
      return isRefusal(done) ? done : { position: done.position };
    }),
    sockets.handle('federation:knowledge:end', async (client, { sync_id, outcome, error }) => {
      const { nodeId, about } = speakerOf(client);
      const done = await syncs.end(nodeId, sync_id, { outcome, error }, about);
      return isRefusal(done) ? done : { position: done.position, cursor: done.reply.cursor };
    }),
    sockets.onGone((nodeId) => void syncs.nodeGone(nodeId)),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}
