/** A Socket.IO server that does nothing but answer each heartbeat with itself: the most that the hub's door could do. */
import { createServer } from 'node:http';
import { Server } from 'socket.io';
import { answerParent } from '../processes.ts';

const http = createServer();
const io = new Server(http, { transports: ['websocket'], serveClient: false, perMessageDeflate: false });
io.on('connection', (socket) => {
  socket.on('federation:heartbeat', (packet: object, acknowledge: (answer: object) => void) => {
    acknowledge({ ok: true, ...packet });
  });
});

answerParent({
  listen: () =>
    new Promise<string>((resolve, reject) => {
      http.on('error', reject);
      http.listen(0, '127.0.0.1', () => {
        const address = http.address();
        if (typeof address === 'object' && address) resolve(`http://127.0.0.1:${address.port}`);
      });
    }),
});
