/** What was sealed in this process a moment ago, in the clear: whoever is here gets it without its being opened again. */
import { LRUCache } from 'lru-cache';

/** Of all texts together, about. */
const mostBytes = 16 * 1024 * 1024;
/** Of what stands around a text. */
const aroundBytes = 128;

export class OpenTexts {
  /** By the nonce that they were sealed with, which no other was. */
  readonly #texts = new LRUCache<string, string>({
    maxSize: mostBytes,
    sizeCalculation: (text) => 2 * text.length + aroundBytes,
  });

  remember(nonce: string, text: string): void {
    this.#texts.set(nonce, text);
  }

  find(nonce: string): string | undefined {
    return this.#texts.get(nonce);
  }

  /** Keys were destroyed: nothing is known without them. */
  clear(): void {
    this.#texts.clear();
  }
}
