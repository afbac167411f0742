/** HTTP over bare connections, at a constant rate whatever the answers are: a client that costs little, so that it is the hub that is measured. */
import { connect, type Socket } from 'node:net';

export interface Answered {
  readonly status: number;
  readonly body: string;
}

interface Asked {
  readonly bytes: string;
  readonly settle: (answer: Answered | undefined) => void;
}

/** Connections that are kept; a request that finds none free opens one, up to so many, then waits. */
export class Connections {
  readonly #host: string;
  readonly #port: number;
  readonly #most: number;
  readonly #idle: Line[] = [];
  readonly #queue: Asked[] = [];
  #open = 0;

  constructor(url: string, most: number) {
    const { hostname, port } = new URL(url);
    this.#host = hostname;
    this.#port = Number(port);
    this.#most = most;
  }

  /** Undefined when the connection went before the answer. */
  ask(method: string, path: string, token: string, body?: object): Promise<Answered | undefined> {
    const text = body === undefined ? '' : JSON.stringify(body);
    const more =
      body === undefined ? '' : `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n`;
    const head = `${method} /api/federation${path} HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer ${token}\r\n${more}\r\n`;
    return new Promise((settle) => {
      this.#queue.push({ bytes: head + text, settle });
      this.#next();
    });
  }

  close(): void {
    for (const line of this.#idle) line.end();
  }

  #next(): void {
    if (this.#queue.length === 0) return;
    const line = this.#idle.pop() ?? (this.#open < this.#most ? this.#connect() : undefined);
    if (!line) return;
    const { bytes, settle } = this.#queue.shift()!;
    line.ask(bytes, (answer) => {
      settle(answer);
      if (line.alive) this.#idle.push(line);
      else this.#open--;
      this.#next();
    });
  }

  #connect(): Line {
    this.#open++;
    const line = new Line(this.#host, this.#port, () => {
      const at = this.#idle.indexOf(line);
      if (at < 0) return; // whoever waits for its answer is told
      this.#idle.splice(at, 1);
      this.#open--;
    });
    return line;
  }
}

class Line {
  readonly #socket: Socket;
  #pending = '';
  #settle: ((answer: Answered | undefined) => void) | undefined;
  alive = true;

  constructor(host: string, port: number, onGone: () => void) {
    this.#socket = connect({ host, port, noDelay: true });
    this.#socket.setEncoding('latin1').on('data', (text: string) => this.#take(text));
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => {
      this.alive = false;
      onGone();
      this.#answer(undefined);
    });
  }

  ask(bytes: string, settle: (answer: Answered | undefined) => void): void {
    this.#settle = settle;
    this.#socket.write(bytes);
  }

  end(): void {
    this.#socket.destroy();
  }

  #take(text: string): void {
    this.#pending += text;
    const end = this.#pending.indexOf('\r\n\r\n');
    if (end < 0) return;
    const head = this.#pending.slice(0, end);
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
    if (this.#pending.length < end + 4 + length) return;
    const body = this.#pending.slice(end + 4, end + 4 + length);
    this.#pending = this.#pending.slice(end + 4 + length);
    if (/\r\nconnection: *close/i.test(head)) this.alive = false;
    this.#answer({ status: Number(head.slice(9, 12)), body });
  }

  #answer(answer: Answered | undefined): void {
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.(answer);
  }
}
