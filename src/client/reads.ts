/** Tells the hub which messages were read, many at a time. */
import { HubRefusal } from './connection.ts';
import type { Line, Sender } from './sender.ts';

interface Read {
  readonly messageId: string;
  done(): void;
  failed(error: Error): void;
}

const mostAtOnce = 256;
const afterMs = 25;
/** Messages of which the hub has not answered yet that they were read. */
const mostWaiting = 10_000;
const patienceMs = 60_000;

export class Reads {
  readonly #line: Line;
  readonly #sender: Sender;
  #batch: Read[] = [];
  #waiting = 0;

  constructor(line: Line, sender: Sender) {
    this.#line = line;
    this.#sender = sender;
  }

  /** Resolves when the hub has it; nobody need wait for that. Throws `HubRefusal` or `HubUnreachable`. */
  read(messageId: string): Promise<void> {
    const told = new Promise<void>((done, failed) => {
      if (this.#waiting >= mostWaiting)
        return failed(new HubRefusal('overloaded', `${mostWaiting} messages wait to be told as read`));
      this.#waiting++;
      this.#batch.push({ messageId, done, failed });
      if (this.#batch.length === 1) this.#line.clock.after(afterMs, () => void this.#tell());
      else if (this.#batch.length >= mostAtOnce) void this.#tell();
    });
    told.catch(() => {}); // the program need not look
    return told;
  }

  /** Tells at once what waits for more. */
  flush(): void {
    void this.#tell();
  }

  async #tell(): Promise<void> {
    const batch = this.#batch.splice(0, mostAtOnce);
    if (batch.length === 0) return;
    const message_ids = [...new Set(batch.map(({ messageId }) => messageId))];
    try {
      await this.#sender.send('federation:message:read', { message_ids }, patienceMs);
      for (const { done } of batch) done();
    } catch (error) {
      for (const { failed } of batch) failed(error as Error); // what is thrown here is one
    } finally {
      this.#waiting -= batch.length;
    }
  }
}
