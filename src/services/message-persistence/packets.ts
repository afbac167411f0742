/** What nodes say of messages and channels over their sockets. */
import { bodyHash, commandId } from '../../commands/command-id.ts';
import type { About } from '../../commands/execute.ts';
import type { Identity } from '../../doors.ts';
import { isRefusal } from '../../errors.ts';
import type { MessagePersistence } from '../message-persistence.ts';
import type { Client, WebsocketPool } from '../websocket-pool.ts';

/** Takes the packets; what is returned stops it. */
export function handlePackets(sockets: WebsocketPool, messages: MessagePersistence): () => void {
  const stops = [
    sockets.handle('federation:message', async (client, { key, ...asked }) => {
      const about = aboutOf(client);
      const command = key === undefined ? {} : { command: commandOf(about.actor, key, asked) };
      return messages.send(asked, identityOf(client), { ...about, ...command });
    }),
    sockets.handle('federation:message:read', async (client, { message_ids }) => {
      const done = await messages.read(message_ids, nodeOf(client), aboutOf(client));
      return { read: done.filter((each) => !isRefusal(each)).length };
    }),
    sockets.handle('federation:message:refuse', async (client, { message_id, reason = 'declined' }) => {
      const done = await messages.refuse(message_id, nodeOf(client), reason, aboutOf(client));
      return isRefusal(done) ? done : { position: done.position };
    }),
    sockets.handle('federation:channel:join', async (client, { channel }) => {
      const done = await messages.channels.join(channel, nodeOf(client), aboutOf(client));
      return isRefusal(done) ? done : { position: done.position };
    }),
    sockets.handle('federation:channel:leave', async (client, { channel }) => {
      const done = await messages.channels.leave(channel, nodeOf(client), 'itself', aboutOf(client));
      return isRefusal(done) ? done : { position: done.position };
    }),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}

/** Packets of these names are of nodes with a session. */
function nodeOf({ session }: Client): string {
  return session!.nodeId;
}

/** Its right to act was checked at the door. */
function identityOf({ session }: Client): Identity {
  const { nodeId, sessionId } = session!; // as above
  return { kind: 'node', nodeId, sessionId, role: 'member' };
}

function aboutOf(client: Client): About {
  return { actor: `node:${nodeOf(client)}`, address: client.address };
}

function commandOf(actor: string, key: string, asked: object) {
  return { id: commandId(actor, 'federation:message', key), bodyHash: bodyHash(asked) };
}
