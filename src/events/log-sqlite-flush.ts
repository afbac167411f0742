/**
 * A flush on its way to the writer thread and back, as flat arrays: a structured clone of few arrays of strings costs a
 * fraction of one of many objects, and the main thread has sockets to serve.
 */
import type { Append, CommandRecord, Expected, StoredCommand, Verdict } from './log.ts';
import { streamClass } from './stream-class.ts';

export interface FlatFlush {
  /** One an append. */
  readonly streams: string[];
  /** One an append: the revision expected, `noStream` as -1 and the others below. */
  readonly expected: number[];
  /** One an append: number of events, negative for a transient stream. */
  readonly counts: number[];
  /** Six an event: id, type, version, time, data, meta. */
  readonly events: (string | number)[];
  /** For the appends that carry a command. */
  readonly commands: { readonly at: number; readonly command: CommandRecord }[];
}

export interface FlatVerdicts {
  /** The head before this flush, and after it. */
  readonly before: number;
  readonly head: number;
  /** Three an append: status (an index of `statuses`), position, revision. */
  readonly verdicts: number[];
  /** For the appends that were duplicates by command. */
  readonly commands: { readonly at: number; readonly command: StoredCommand }[];
}

export const anyRevision = -3;
export const someRevision = -2;
export const noRevision = -1;
export const written = 0;
export const conflict = 1;
export const duplicate = 2;
export const fieldsOfEvent = 6;

export function flatten(appends: readonly Append[]): FlatFlush {
  const flat: FlatFlush = { streams: [], expected: [], counts: [], events: [], commands: [] };
  for (let at = 0; at < appends.length; at++) {
    const { stream, expected, events, command } = appends[at]!;
    flat.streams.push(stream);
    flat.expected.push(flatExpected(expected));
    flat.counts.push(streamClass(stream) === 'transient' ? -events.length : events.length);
    for (const event of events) {
      flat.events.push(event.id, event.type, event.version, event.time, event.data, event.meta);
    }
    if (command) flat.commands.push({ at, command });
  }
  return flat;
}

function flatExpected(expected: Expected): number {
  switch (expected) {
    case 'any':
      return anyRevision;
    case 'exists':
      return someRevision;
    case 'noStream':
      return noRevision;
    default:
      return expected;
  }
}

export function unflatten({ verdicts, commands }: FlatVerdicts): Verdict[] {
  const found = new Map(commands.map(({ at, command }) => [at, command]));
  const answer: Verdict[] = [];
  for (let at = 0; at * 3 < verdicts.length; at++) {
    const position = verdicts[at * 3 + 1]!;
    const revision = verdicts[at * 3 + 2]!;
    const command = found.get(at);
    switch (verdicts[at * 3]) {
      case written:
        answer.push({ status: 'written', position, revision });
        break;
      case conflict:
        answer.push({ status: 'conflict', revision });
        break;
      default:
        answer.push({ status: 'duplicate', position, revision, ...(command && { command }) });
    }
  }
  return answer;
}
