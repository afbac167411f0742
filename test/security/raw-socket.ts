/** A Socket.IO client made by hand on a bare TCP connection, so that it can do what no decent client would. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export type Answer = { ok: boolean; error?: { code: string; message: string } } & Record<string, unknown>;

export interface Pushed {
  readonly name: string;
  readonly packet: Record<string, unknown>;
}

/** Opcodes of WebSocket frames (RFC 6455). */
export const text = 1;
export const binary = 2;

export class RawSocket {
  readonly tcp: Socket;
  /** Packets that the hub pushed. */
  readonly pushed: Pushed[] = [];
  /** The response head of the upgrade. */
  head = '';
  /** Code of the close frame, when one came. */
  closeCode: number | undefined;
  #pending: Buffer = Buffer.alloc(0);
  readonly #answers = new Map<number, (answer: Answer) => void>();
  #lastId = 0;
  #opened = false;
  #connected = false;
  #ended = false;

  private constructor(tcp: Socket) {
    this.tcp = tcp;
    tcp.on('data', (bytes) => this.#take(bytes));
    tcp.on('error', () => {}); // what counts is that it closes
    tcp.on('close', () => {
      this.#ended = true;
      for (const answer of this.#answers.values()) answer({ ok: false, error: { code: 'closed', message: '' } });
    });
  }

  /** Upgrades, and nothing more: no Socket.IO connection yet. */
  static async upgrade(url: string, headers: Record<string, string> = {}): Promise<RawSocket> {
    const { hostname, port } = new URL(url);
    const tcp = connect({ host: hostname, port: Number(port), noDelay: true });
    const socket = new RawSocket(tcp);
    await once(tcp, 'connect');
    const lines = Object.entries({
      Host: `${hostname}:${port}`,
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
      'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits',
      ...headers,
    }).map(([name, value]) => `${name}: ${value}`);
    tcp.write(`GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
    await socket.until(() => socket.#opened || socket.#ended);
    return socket;
  }

  /** A connection as a decent client has it; `ended` tells whether the hub took it. */
  static async open(url: string, headers: Record<string, string> = {}): Promise<RawSocket> {
    const socket = await RawSocket.upgrade(url, headers);
    socket.send('40');
    await socket.until(() => socket.#connected || socket.#ended);
    return socket;
  }

  /** The hub has closed the connection, or this has. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Asks with an acknowledgement. Code `closed`: the connection ended before the answer; `silence`: none came in 5 s. */
  ask(name: unknown, ...args: unknown[]): Promise<Answer> {
    return this.askRaw((id) => `42${id}${JSON.stringify([name, ...args])}`);
  }

  /** Asks with whatever text; attachments follow as binary frames. */
  askRaw(packet: (id: number) => string, attachments: readonly Buffer[] = []): Promise<Answer> {
    if (this.#ended) return Promise.resolve({ ok: false, error: { code: 'closed', message: '' } });
    const id = ++this.#lastId;
    return new Promise((resolve) => {
      const late = setTimeout(() => answer({ ok: false, error: { code: 'silence', message: '' } }), 5_000);
      const answer = (given: Answer) => {
        clearTimeout(late);
        this.#answers.delete(id);
        resolve(given);
      };
      this.#answers.set(id, answer);
      this.send(packet(id));
      for (const attachment of attachments) this.frame(binary, attachment);
    });
  }

  /** Sends a text frame. */
  send(message: string): void {
    this.frame(text, Buffer.from(message));
  }

  /** Sends one frame of any kind. */
  frame(opcode: number, payload: Buffer, { final = true, rsv1 = false, masked = true } = {}): void {
    const size = payload.length;
    const long = size > 0xffff ? 8 : size > 125 ? 2 : 0;
    const head = Buffer.alloc(2 + long + (masked ? 4 : 0));
    head[0] = (final ? 0x80 : 0) | (rsv1 ? 0x40 : 0) | opcode;
    head[1] = (masked ? 0x80 : 0) | (long === 8 ? 127 : long === 2 ? 126 : size);
    if (long === 2) head.writeUInt16BE(size, 2);
    if (long === 8) head.writeBigUInt64BE(BigInt(size), 2);
    this.tcp.write(Buffer.concat([head, payload])); // a mask of zeros leaves the payload as it is
  }

  /** Waits for something to become true; answers whether it did in time. */
  async until(condition: () => boolean, ms = 5_000): Promise<boolean> {
    const end = performance.now() + ms;
    while (!condition()) {
      if (performance.now() > end) return false;
      await sleep(2);
    }
    return true;
  }

  /** Packets of one name that the hub pushed. */
  of(name: string): Record<string, unknown>[] {
    return this.pushed.filter((push) => push.name === name).map(({ packet }) => packet);
  }

  close(): void {
    this.tcp.destroy();
  }

  #take(bytes: Buffer): void {
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    if (this.head === '') {
      const end = this.#pending.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.head = this.#pending.subarray(0, end).toString('latin1');
      this.#pending = this.#pending.subarray(end + 4);
    }
    for (let frame = this.#nextFrame(); frame; frame = this.#nextFrame()) this.#hear(frame.opcode, frame.payload);
  }

  #nextFrame(): { opcode: number; payload: Buffer } | undefined {
    const bytes = this.#pending;
    if (bytes.length < 2) return undefined;
    const short = bytes[1]! & 0x7f;
    const start = short === 127 ? 10 : short === 126 ? 4 : 2;
    if (bytes.length < start) return undefined;
    const size = short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short;
    if (bytes.length < start + size) return undefined;
    this.#pending = bytes.subarray(start + size);
    return { opcode: bytes[0]! & 0x0f, payload: bytes.subarray(start, start + size) };
  }

  #hear(opcode: number, payload: Buffer): void {
    if (opcode === 8) {
      this.closeCode = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
      this.frame(8, payload);
      this.tcp.end(); // the hub hangs up when the goodbye was returned
    }
    if (opcode !== text) return;
    const message = payload.toString();
    if (message === '2') this.send('3'); // Engine.IO's ping
    if (message.startsWith('0')) this.#opened = true;
    if (message.startsWith('40')) this.#connected = true;
    const event = /^4([23])(\d*)(\[.*)$/s.exec(message);
    if (!event) return;
    const data = JSON.parse(event[3]!) as unknown[]; // the pattern requires an array
    if (event[1] === '3') this.#answers.get(Number(event[2]))?.(data[0] as Answer);
    else this.pushed.push({ name: String(data[0]), packet: data[1] as Pushed['packet'] });
  }
}
