/**
 * Fills the index: follows the log from where the index is, opens what is sealed and hands it to the store, in transactions that move the
 * index's position along. While it has trouble it begins again, from that position, after a pause that doubles up to half a minute.
 */
import { Fault } from '../errors.ts';
import { decode } from '../events/decode.ts';
import type { EventLog, Page } from '../events/log.ts';
import type { Cancel, Kernel } from '../kernel.ts';
import type { Keyring } from '../keyring.ts';
import { unseal } from '../sealed.ts';
import { changeBy, followedTypes, type SealedDocument } from './documents.ts';
import type { Gone, SearchDocument } from './store.ts';

/** The store as it is reached from here. */
export interface IndexedStore {
  begin(head: number): Promise<number>;
  apply(documents: readonly SearchDocument[], from: number, to: number): Promise<void>;
  remove(what: Gone, most: number): Promise<number>;
  settle(): Promise<void>;
}

export interface IndexerOptions {
  readonly store: IndexedStore;
  readonly log: EventLog;
  /** Of the log when the hub opened it. An index beyond it is of a log that was restored since. */
  readonly head: () => Promise<number>;
  readonly keyring: Keyring;
  readonly kernel: Kernel;
  /** Whether the replica has more to do than it can: then transactions are fewer and larger. */
  readonly slowly?: () => boolean;
}

/** What one transaction takes in: on SQLite a question waits for it, and ten thousand words take some ten milliseconds. */
const batch = { documents: 250, letters: 64 * 1_024 };
/** Rest after fewer than that: under load a transaction is then of more of them. Who waits for a position ends it. */
const restMs = 100;
const slowRestMs = 2_000;
/** Documents that are removed at once: questions are answered in between. */
const removedAtOnce = 100;
/** A position that nothing was indexed for is written down this much later. */
const noteMs = 500;
const pauseMs = { first: 250, most: 30_000 };

/** Fills the index from when it is made until it is closed. */
export class Indexer {
  readonly #options: IndexerOptions;
  readonly #running: Promise<void>;
  #begun: () => void = () => {};
  /** The index was looked at once, with or without success. */
  readonly begun = new Promise<void>((done) => {
    this.#begun = done;
  });
  #stop: () => void = () => {};
  #closed = false;
  #position = 0;
  /** As it stands in the store. */
  #written = 0;
  /** Writes of batches and of notes, one after the other. */
  #writing: Promise<void> = Promise.resolve();
  #cancelNote: Cancel | undefined;
  #hurried = false;
  #endRest: () => void = () => {};
  #fault: string | null = null;

  constructor(options: IndexerOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  /** Everything up to here is in the index. */
  get position(): number {
    return this.#position;
  }

  get fault(): string | null {
    return this.#fault;
  }

  /** Resolves when what is under way is done. Twice is harmless. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#stop();
    await this.#running;
  }

  /** Somebody waits for a position: no rest. */
  hurry(): void {
    this.#hurried = true;
    this.#endRest();
  }

  async #run(): Promise<void> {
    const { kernel } = this.#options;
    let pause = pauseMs.first;
    while (!this.#closed) {
      const before = this.#position;
      try {
        await this.#follow();
      } catch (error) {
        this.#fault = error instanceof Error ? error.message : String(error);
        kernel.log.warn({ err: error, position: this.#position }, 'the search index could not be filled; trying again');
      }
      this.#begun();
      if (this.#closed) return;
      pause = this.#position > before ? pauseMs.first : Math.min(pause * 2, pauseMs.most);
      await new Promise<void>((done) => {
        this.#stop = done;
        kernel.after(pause, done);
      });
    }
  }

  /** Until it is closed. Throws what went wrong, with nothing under way any more. */
  async #follow(): Promise<void> {
    const { store, log, head } = this.#options;
    this.#position = this.#written = await store.begin(await head());
    this.#begun();
    if (this.#closed) return;
    let over = false;
    let fail: (error: unknown) => void = () => {};
    const ended = new Promise<void>((resolve, reject) => {
      this.#stop = resolve;
      fail = reject;
    });
    const work = async (page: Page) => {
      if (over) return;
      try {
        await this.#inTurn(() => this.#take(page));
        this.#noteLater(fail);
        if (page.events.length < batch.documents || this.#options.slowly?.()) await this.#rest();
      } catch (error) {
        over = true;
        fail(error);
      }
    };
    const following = log.subscribe(this.#position, work, { types: followedTypes, batch: batch.documents });
    try {
      await ended;
    } finally {
      over = true;
      this.hurry();
      await following.close();
      this.#cancelNote?.();
      this.#cancelNote = undefined;
      await this.#writing;
    }
  }

  async #take(page: Page): Promise<void> {
    const documents: SearchDocument[] = [];
    let letters = 0;
    for (const recorded of page.events) {
      const change = changeBy(decode(recorded));
      if (!change) continue;
      if ('put' in change) {
        const document = await this.#opened(change.put);
        if (!document) continue;
        documents.push(document);
        letters += document.title.length + document.text.length;
        if (letters < batch.letters) continue;
        await this.#write(documents.splice(0), recorded.position);
        letters = 0;
      } else {
        await this.#write(documents.splice(0), recorded.position - 1);
        await this.#remove(change.remove);
      }
    }
    if (documents.length > 0) await this.#write(documents, page.through);
    this.#position = page.through;
    this.#fault = null;
  }

  /** Undefined for what need not be there: a message that is over, or whose key is gone. */
  async #opened(document: SearchDocument | SealedDocument): Promise<SearchDocument | undefined> {
    const { kernel, keyring } = this.#options;
    if (document.expiresAt !== undefined && document.expiresAt <= kernel.now()) return undefined;
    if (!('sealed' in document)) return document;
    const { sealed, ...about } = document;
    try {
      const text = await unseal(sealed.kind, { keyring }, sealed.content);
      if (text !== undefined) return { ...about, ...sealed.read(JSON.parse(text)) };
    } catch (error) {
      if (error instanceof Fault) throw error;
      kernel.log.error({ err: error, position: document.position }, 'what is sealed in an event cannot be read');
    }
    return about.rank === '' ? undefined : { ...about, subject: '', labels: [], title: '', text: '', gone: true };
  }

  async #remove(what: Gone): Promise<void> {
    const { store } = this.#options;
    while ((await store.remove(what, removedAtOnce)) === removedAtOnce && !this.#closed);
    await store.settle();
  }

  async #write(documents: readonly SearchDocument[], to: number): Promise<void> {
    const { store } = this.#options;
    if (documents.length === 0 && to <= this.#written) return;
    await store.apply(documents, this.#written, to);
    this.#written = to;
    if (documents.length > 0) await store.settle();
  }

  async #rest(): Promise<void> {
    if (!this.#hurried && !this.#closed) {
      await new Promise<void>((done) => {
        const { kernel, slowly } = this.#options;
        const cancel = kernel.after(slowly?.() ? slowRestMs : restMs, done);
        this.#endRest = () => {
          cancel();
          done();
        };
      });
    }
    this.#hurried = false;
  }

  /** Others see how far it is, though what came meant nothing to it. */
  #noteLater(fail: (error: unknown) => void): void {
    if (this.#written === this.#position) return;
    this.#cancelNote ??= this.#options.kernel.after(noteMs, () => {
      this.#cancelNote = undefined;
      this.#inTurn(() => this.#write([], this.#position)).catch(fail);
    });
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#writing.then(work);
    this.#writing = done.catch(() => {});
    return done;
  }
}
