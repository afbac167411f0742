/** The mail of the demo: messages to a node that is away, and what becomes of them. */
import type { HubClient } from './hub-client.ts';

interface Shown {
  readonly content: string;
  readonly recipients: readonly { readonly node_id: string; readonly state: string }[];
}

export class DemoMail {
  readonly #client: HubClient;
  /** States by message id, as they were last seen. */
  readonly #states = new Map<string, string>();

  constructor(client: HubClient) {
    this.#client = client;
  }

  async send(node: string, lines: readonly string[]): Promise<void> {
    for (const content of lines) {
      const { message_id } = await this.#client.post<{ message_id: string }>('/send', { to: { node }, content });
      this.#states.set(message_id, '');
    }
  }

  /** Every message was read. */
  allRead(): boolean {
    return [...this.#states.values()].every((state) => state === 'read');
  }

  /** Says what changed since the last look. */
  async look(say: (value: object, line: string) => void): Promise<void> {
    for (const [id, before] of this.#states) {
      if (before === 'read') continue;
      const { message } = await this.#client
        .get<{ message: Shown }>(`/messages/${id}`)
        .catch(() => ({ message: undefined }));
      const [to] = message?.recipients ?? []; // a moment after it was sent, the views may not have it
      if (!message || !to || to.state === before) continue;
      this.#states.set(id, to.state);
      say({ message: message.content, ...to }, `  “${message.content}” is ${to.state} for ${to.node_id}`);
    }
  }
}
