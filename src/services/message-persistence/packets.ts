/** What nodes say of messages and channels over their sockets. */
import { isRefusal } from '../../errors.ts';
import type { MessagePersistence } from '../message-persistence.ts';
import { once, speakerOf, type WebsocketPool } from '../websocket-pool.ts';

/** Takes the packets; what is returned stops it. */
export function handlePackets(sockets: WebsocketPool, messages: MessagePersistence): () => void {
  const stops = [
    sockets.handle('federation:message', async (client, { key, ...asked }) => {
      const { identity, about } = speakerOf(client);
      return messages.send(asked, identity, once(about, 'federation:message', key, asked));
    }),
    sockets.handle('federation:message:read', async (client, { message_ids }) => {
      const { nodeId, about } = speakerOf(client);
      const done = await messages.read(message_ids, nodeId, about);
      return { read: done.filter((each) => !isRefusal(each)).length };
    }),
    sockets.handle('federation:message:refuse', async (client, { message_id, reason = 'declined' }) => {
      const { nodeId, about } = speakerOf(client);
      const done = await messages.refuse(message_id, nodeId, reason, about);
      return isRefusal(done) ? done : { position: done.position };
    }),
    sockets.handle('federation:channel:join', async (client, { channel }) => {
      const { nodeId, about } = speakerOf(client);
      const done = await messages.channels.join(channel, nodeId, about);
      return isRefusal(done) ? done : { position: done.position };
    }),
    sockets.handle('federation:channel:leave', async (client, { channel }) => {
      const { nodeId, about } = speakerOf(client);
      const done = await messages.channels.leave(channel, nodeId, 'itself', about);
      return isRefusal(done) ? done : { position: done.position };
    }),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}
