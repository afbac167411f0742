/**
 * Words between replicas that are not in the log: of a routed call whose node has its socket elsewhere. Carried by the
 * cluster adapter of Socket.IO, over Redis, or over PostgreSQL where there is none. Nothing rests on it: a word that is lost is a
 * call that fails.
 */
import { Slot } from '../../doors.ts';
import { type Fault, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { Carrier } from './cluster-adapter.ts';
import type { PoolServer } from './pool.ts';

/** Answers a word of another replica; undefined when it is not for this one to answer. */
export type WordHandler = (word: unknown, from: string) => Promise<object | Refusal> | undefined;

export interface Cluster {
  /**
   * Asks one replica, or with `to` undefined all others, of which the first that has an answer gives it. Refuses
   * `target_unreachable` when none came in time, `overloaded`, and what the other refuses.
   */
  ask(to: string | undefined, topic: string, word: object, timeoutMs: number): Promise<unknown>;
  handle(topic: string, handler: WordHandler): Cancel;
  close(): Promise<void>;
}

/** What goes over the wire. */
type Envelope =
  | { readonly from: string; readonly to?: string; readonly id: string; readonly topic: string; readonly word: object }
  | { readonly from: string; readonly to: string; readonly re: string; readonly answer: object };

/** Questions of this replica that wait for an answer. */
const mostAsked = 4_096;
const event = 'replica';

/** Speaks with the other replicas through `io`, which has its adapter by now. */
export function joinCluster(hub: Hub, io: PoolServer, carrier: Carrier | undefined): Cluster {
  if (!carrier) return alone;
  const { kernel } = hub;
  const asked = new Map<string, (answer: unknown) => void>();
  const handlers = new Map<string, Slot<WordHandler>>();
  const say = (envelope: Envelope) => io.serverSideEmit(event, envelope);

  io.on(event, (envelope: Envelope) => {
    if (envelope.to !== undefined && envelope.to !== kernel.replica) return;
    if ('re' in envelope) return asked.get(envelope.re)?.(envelope.answer);
    const { from, id, topic, word } = envelope;
    handlers
      .get(topic)
      ?.find()?.(word, from)
      ?.catch((error: Fault) => refuse(error.code ?? 'internal_error', error.message))
      .then((answer) => say({ from: kernel.replica, to: from, re: id, answer }));
  });

  return {
    ask(to, topic, word, timeoutMs) {
      if (asked.size >= mostAsked)
        return Promise.resolve(refuse('overloaded', `${mostAsked} questions to other replicas are under way`));
      const id = kernel.uuid();
      return new Promise((resolve) => {
        const settle = (answer: unknown) => {
          late();
          asked.delete(id);
          resolve(answer);
        };
        const late = kernel.after(timeoutMs, () =>
          settle(refuse('target_unreachable', `no other replica answered within ${timeoutMs} ms`)),
        );
        asked.set(id, settle);
        say({ from: kernel.replica, ...(to !== undefined && { to }), id, topic, word });
      });
    },
    handle(topic, handler) {
      const slot = handlers.get(topic) ?? new Slot(topic);
      handlers.set(topic, slot);
      return slot.fill(handler);
    },
    async close() {
      for (const settle of [...asked.values()]) settle(refuse('target_unreachable', 'this replica stops'));
      void io.of('/').adapter.close();
      await carrier.close();
    },
  };
}

/** Of a hub that is one process. */
const alone: Cluster = {
  ask: async () => refuse('target_unreachable', 'there is no other replica'),
  handle: () => () => {},
  close: async () => {},
};
