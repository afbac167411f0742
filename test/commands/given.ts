/** Tests of deciders read as: given these facts, when this is asked, it gives these facts, or this refusal. */
import { expect } from 'vitest';
import type { Aggregate, Decide, Happened } from '../../src/commands/execute.ts';
import { type Code, isRefusal } from '../../src/errors.ts';
import { type DomainEvent, encode } from '../../src/events/catalog.ts';

/** When the given facts happened, and when the decision is made. */
export const past = '2026-01-01T00:00:00.000Z';
export const now = Date.parse('2026-01-01T00:10:00.000Z');

export function given<State>(aggregate: Aggregate<State>, ...facts: DomainEvent[]) {
  const state = facts.reduce<State>(
    (known, fact, revision) => aggregate.evolve(known, { ...fact, time: past, revision } as Happened),
    aggregate.initial,
  );
  return whenAt(state, now);
}

function whenAt<State>(state: State, at: number) {
  return {
    /** The same, decided at another moment (milliseconds since 1970). */
    at: (moment: number) => whenAt(state, moment),
    when<Command, Reply>(decide: Decide<State, Command, Reply>, command: Command) {
      const decision = decide(state, command, { now: at, id: '00000000-0000-7000-8000-000000000001' });
      return {
        gives(...events: DomainEvent[]) {
          if (isRefusal(decision)) throw new Error(`refused: ${decision.refused}`);
          expect(decision.events).toEqual(events);
          for (const event of events) encode(event, { id: 'x', time: past, meta: '{}' }); // fits its schema
        },
        answers(reply: Reply) {
          if (isRefusal(decision)) throw new Error(`refused: ${decision.refused}`);
          expect(decision.reply).toEqual(reply);
        },
        refused(code: Code) {
          expect(isRefusal(decision) && decision.refused).toBe(code);
        },
      };
    },
  };
}
