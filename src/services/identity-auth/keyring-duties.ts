/** Keeps this replica's keyring as new as the store, drops erased subjects (also those whose erasure nobody came to tell), and destroys keys that are done with. */
import { decode } from '../../events/catalog.ts';
import type { Hub } from '../../hub.ts';

/** How often the store is read when nothing is heard of it: a new key is published for as long before it is used. */
const lookEveryMs = 30_000;

/** Starts; `head` is where the log was then. What is returned stops it. */
export function followKeyring({ kernel, keyring, log }: Hub, head: number): () => Promise<void> {
  const warn = (what: string) => (error: unknown) => kernel.log.warn({ err: error }, what);
  const reload = () => keyring.reload().catch(warn('the keyring could not be read; it is tried again'));
  const cancel = kernel.every(lookEveryMs, () => {
    void reload().then(() => keyring.sweep().catch(warn('old keys could not be destroyed; it is tried again')));
  });
  const subscription = log.subscribe(
    head,
    ({ events }) => {
      for (const recorded of events) {
        const event = decode(recorded);
        if (event.type === 'keyring.rotated') void reload();
        if (event.type === 'keyring.subject-erased') keyring.forget(event.data.subject);
      }
    },
    { types: ['keyring.rotated', 'keyring.subject-erased'] },
  );
  return async () => {
    cancel();
    await subscription.close();
  };
}
