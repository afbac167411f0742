/** A Socket.IO server that sends what one socket gives it to every socket: the most that the hub's fan-out could do. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server } from 'socket.io';
import { answerParent } from '../processes.ts';

export type Fanout = { listen(): Promise<string> };

const http = createServer();
const io = new Server(http, { transports: ['websocket'], serveClient: false, perMessageDeflate: false });
const event = {
  specversion: '1.0',
  id: '018f0000-0000-7000-8000-000000000000',
  source: '/federations/018f0000-0000-7000-8000-000000000000',
  type: 'entity.updated',
  subject: 'bench',
  time: '2026-01-01T00:00:00.000Z',
  datacontenttype: 'application/json',
  sequence: '0000000000000001',
  position: 1,
};
io.on('connection', (socket) => {
  socket.on('bench:event', (data: object) => {
    io.emit('federation:event', { subscription: 's', event: { ...event, data } });
  });
});

const answers: Fanout = {
  listen: () =>
    new Promise((resolve) => {
      http.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(http.address() as AddressInfo).port}`)); // TCP
    }),
};

answerParent(answers);
