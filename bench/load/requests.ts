/** The load over HTTP: connections that each send the same request again as soon as it is answered. Bare TCP, to cost less than the hub. */
import { connect, type Socket } from 'node:net';
import { answerParent } from '../processes.ts';

export type Requests = {
  /** Sends `GET url` with a bearer token over so many connections. Answers requests per second; throws unless each is answered 200. */
  closedLoop(url: string, token: string, connections: number, ms: number): Promise<number>;
};

const answers: Requests = {
  async closedLoop(url, token, connections, ms) {
    const { host, hostname, port, pathname } = new URL(url);
    const request = `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${token}\r\n\r\n`;
    const began = performance.now();
    const ends = began + ms;
    const counts = await Promise.all(
      Array.from({ length: connections }, () => repeat(connect(Number(port), hostname), request, ends)),
    );
    return counts.reduce((sum, count) => sum + count, 0) / ((performance.now() - began) / 1000);
  },
};

answerParent(answers);

/** One connection: one request at a time, until the moment comes. */
function repeat(socket: Socket, request: string, ends: number): Promise<number> {
  return new Promise((resolve, reject) => {
    let received = '';
    let count = 0;
    socket.setNoDelay(true).setEncoding('latin1');
    socket.on('connect', () => socket.write(request));
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the hub closed the connection')));
    socket.on('data', (text: string) => {
      received += text;
      const head = received.indexOf('\r\n\r\n');
      if (head === -1) return;
      const length = Number(/content-length: (\d+)/i.exec(received)?.[1]);
      if (received.length < head + 4 + length) return;
      if (!received.startsWith('HTTP/1.1 200')) return reject(new Error(received));
      received = '';
      count++;
      if (performance.now() < ends) return void socket.write(request);
      resolve(count);
      socket.destroy();
    });
  });
}
