/** Downloads under way at this replica, and which of their files were taken away meanwhile. */
import { decode, type LogEvent } from '../../events/catalog.ts';
import type { Hub } from '../../hub.ts';

interface Open {
  downloads: number;
  /** It was taken away, or is over. */
  gone: boolean;
  /** So that its downloads are not to go on either. */
  cut: boolean;
}

export class Downloads {
  /** At most as many as there are transfers. */
  readonly #open = new Map<string, Open>();
  readonly #following: { close(): Promise<void> };

  /** @param head of the log, from where it is followed. */
  constructor(hub: Pick<Hub, 'log'>, head: number) {
    const types = ['file.removed', 'file.expired'] as const;
    this.#following = hub.log.subscribe(
      head,
      ({ events }) => {
        for (const recorded of events) {
          const { data } = decode(recorded) as LogEvent<(typeof types)[number]>; // only those were asked for
          const open = this.#open.get(data.file_id);
          const wasFetched = 'cause' in data && data.cause === 'fetched'; // its other parts may be on their way still
          if (!open) continue;
          open.gone = true;
          open.cut ||= !wasFetched;
        }
      },
      { types },
    );
  }

  /** One begins; what is answered ends it, once, and says whether the file was gone by then. */
  begin(fileId: string): () => boolean {
    const open = this.#open.get(fileId) ?? { downloads: 0, gone: false, cut: false };
    this.#open.set(fileId, open);
    open.downloads++;
    let ended = false;
    return () => {
      if (!ended && --open.downloads === 0) this.#open.delete(fileId);
      ended = true;
      return open.gone;
    };
  }

  /** Whether a file whose download is under way was taken from whoever fetches it. */
  isCut(fileId: string): boolean {
    return this.#open.get(fileId)?.cut === true;
  }

  close(): Promise<void> {
    return this.#following.close();
  }
}
