/** Syncs over the sockets of nodes: each packet to what does it, and what rests when a socket goes. */
import type { About } from '../../commands/execute.ts';
import { isRefusal } from '../../errors.ts';
import type { Cancel } from '../../kernel.ts';
import type { Client, WebsocketPool } from '../websocket-pool.ts';
import type { Syncs } from './sync.ts';

/** What is returned stops it. */
export function handleSyncs(sockets: WebsocketPool, syncs: Syncs): Cancel {
  const stops = [
    sockets.handle('federation:knowledge:sync', async (client, packet) => {
      return syncs.begin(nodeOf(client), packet, aboutOf(client));
    }),
    sockets.handle('federation:knowledge:reconcile', async (client, { sync_id, frame }) => {
      return syncs.reconcile(nodeOf(client), sync_id, frame);
    }),
    sockets.handle('federation:knowledge:pull', async (client, { sync_id, versions }) => {
      return syncs.pull(nodeOf(client), sync_id, versions, aboutOf(client));
    }),
    sockets.handle('federation:knowledge:push', async (client, { sync_id, documents }) => {
      return syncs.push(nodeOf(client), sync_id, documents, aboutOf(client));
    }),
    sockets.handle('federation:knowledge:pause', async (client, { sync_id }) => {
      const done = await syncs.pause(nodeOf(client), sync_id, aboutOf(client));
      return isRefusal(done) ? done : { position: done.position };
    }),
    sockets.handle('federation:knowledge:end', async (client, { sync_id, outcome, error }) => {
      const done = await syncs.end(nodeOf(client), sync_id, { outcome, error }, aboutOf(client));
      return isRefusal(done) ? done : { position: done.position, cursor: done.reply.cursor };
    }),
    sockets.onGone((nodeId) => void syncs.nodeGone(nodeId)),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}

function nodeOf({ session }: Client): string {
  return session!.nodeId; // packets of these names are of nodes with a session
}

function aboutOf(client: Client): About {
  return { actor: `node:${nodeOf(client)}`, address: client.address };
}
