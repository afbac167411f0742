/** A Socket.IO server that hands what one socket sends to another, and the acknowledgement back: the most that messages could be. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server, type Socket } from 'socket.io';
import { answerParent } from '../processes.ts';

export type Relay = { listen(): Promise<string> };

const http = createServer();
const io = new Server(http, { transports: ['websocket'], serveClient: false, perMessageDeflate: false });
const names = new Map<string, Socket>();
io.on('connection', (socket) => {
  socket.on('bench:name', (name: string, done: (answer: object) => void) => {
    names.set(name, socket);
    done({ ok: true });
  });
  socket.on('federation:message', (message: { to: { node: string } }, done: (answer: object) => void) => {
    names.get(message.to.node)!.emit('federation:message', message, (answer: object) => done(answer));
  });
});

const answers: Relay = {
  listen: () =>
    new Promise((resolve) => {
      http.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(http.address() as AddressInfo).port}`)); // TCP
    }),
};

answerParent(answers);
