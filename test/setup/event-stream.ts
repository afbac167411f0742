/** A reader of /events: keeps what comes, and says when the hub ended it. */
import { createParser, type EventSourceMessage } from 'eventsource-parser';

export interface Told {
  readonly id: string;
  readonly type: string;
  readonly position: number;
  readonly subject?: string;
  readonly data: Record<string, unknown>;
}

export class EventReader {
  readonly response: Response;
  readonly events: Told[] = [];
  readonly messages: EventSourceMessage[] = [];
  comments = 0;
  ended = false;
  readonly #abort: AbortController;

  private constructor(response: Response, abort: AbortController) {
    this.response = response;
    this.#abort = abort;
    void this.#read();
  }

  static async open(
    hub: { readonly url: string },
    token: string,
    query: Record<string, string> = {},
    headers: Record<string, string> = {},
  ): Promise<EventReader> {
    const abort = new AbortController();
    const response = await fetch(`${hub.url}/api/federation/events?${new URLSearchParams(query)}`, {
      headers: { authorization: `Bearer ${token}`, ...headers },
      signal: abort.signal,
    });
    return new EventReader(response, abort);
  }

  get types(): string[] {
    return this.events.map(({ type }) => type);
  }

  close(): void {
    this.#abort.abort();
  }

  async #read(): Promise<void> {
    const parser = createParser({
      onEvent: (message) => {
        this.messages.push(message);
        this.events.push(JSON.parse(message.data) as Told);
      },
      onComment: () => {
        this.comments++;
      },
    });
    const text = new TextDecoder();
    try {
      for await (const bytes of this.response.body ?? []) parser.feed(text.decode(bytes, { stream: true }));
    } catch {
      // cut, by either side
    }
    this.ended = true;
  }
}
