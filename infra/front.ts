/** A door before several replicas: each connection goes to the next of them that takes it. What passes is not looked at. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface Front {
  readonly url: string;
  /** Cuts all connections. Twice is harmless. */
  close(): Promise<void>;
}

/** Listens on 127.0.0.1, on any free port when it is 0. Rejects when the port is taken. */
export async function openFront(port: number, targets: readonly number[]): Promise<Front> {
  const open = new Set<Socket>();
  let next = 0;
  const server = createServer((client) => {
    open.add(client);
    client.once('close', () => open.delete(client));
    client.on('error', () => client.destroy());
    forward(client, targets, next++ % targets.length, targets.length);
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, // a TCP server's address is an AddressInfo
    async close() {
      const closed = new Promise((done) => server.close(done));
      for (const client of open) client.destroy();
      await closed;
    },
  };
}

/** Tries each target once, beginning `at` one of them. A client that no target takes is cut. */
function forward(client: Socket, targets: readonly number[], at: number, left: number): void {
  const target = connect({ host: '127.0.0.1', port: targets[at]! });
  const refused = () => {
    if (left > 1 && !client.destroyed) forward(client, targets, (at + 1) % targets.length, left - 1);
    else client.destroy();
  };
  target.once('error', refused);
  target.once('connect', () => {
    target.off('error', refused);
    target.on('error', () => client.destroy());
    client.pipe(target).pipe(client);
    client.once('close', () => target.destroy());
    target.once('close', () => client.destroy());
    if (client.destroyed) target.destroy();
  });
}
