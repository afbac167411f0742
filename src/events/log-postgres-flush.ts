/** A flush as the arrays that `federation_append` takes, and its rows as verdicts. */
import { streamClass } from './catalog.ts';
import type { Append, Expected, Verdict } from './log.ts';

/**
 * A row of `federation_append`: status, position, revision, then the record of a command that was known already.
 * `federation_append_one` gives the first three.
 */
export type VerdictRow = readonly [
  status: number,
  position: number,
  revision: number,
  bodyHash?: string | null,
  reply?: string | null,
  time?: string | null,
  commandPosition?: number | null,
];

/** The parameters of `federation_append`, in its order. */
export function parametersOf(appends: readonly Append[]): unknown[] {
  const streams: string[] = [];
  const expecteds: number[] = [];
  const sizes: number[] = [];
  const ends: number[] = [];
  const kepts: boolean[] = [];
  const owners: number[] = [];
  const ids: string[] = [];
  const types: string[] = [];
  const versions: number[] = [];
  const times: string[] = [];
  const datas: string[] = [];
  const metas: string[] = [];
  for (const append of appends) {
    for (const event of append.events) {
      owners.push(streams.length + 1);
      ids.push(event.id);
      types.push(event.type);
      versions.push(event.version);
      times.push(event.time);
      datas.push(event.data);
      metas.push(event.meta);
    }
    streams.push(append.stream);
    expecteds.push(expectedAsNumber(append.expected));
    sizes.push(append.events.length);
    ends.push(ids.length);
    kepts.push(streamClass(append.stream) === 'kept');
  }
  return [
    streams,
    expecteds,
    sizes,
    ends,
    kepts,
    ...commandsOf(appends),
    owners,
    ids,
    types,
    versions,
    times,
    datas,
    metas,
  ];
}

/** The parameters of `federation_append_one`, when a flush is what that function takes: one event, no command. */
export function parametersOfOne(appends: readonly Append[]): unknown[] | undefined {
  const { stream, expected, events, command } = appends[0]!;
  if (appends.length > 1 || events.length > 1 || command) return;
  const { id, type, version, time, data, meta } = events[0]!;
  const kept = streamClass(stream) === 'kept';
  return [stream, expectedAsNumber(expected), kept, id, type, version, time, data, meta];
}

/** Ids, hashes, replies and times of the commands, by append; nothing at all when no append has one. */
function commandsOf(appends: readonly Append[]): unknown[] {
  if (!appends.some((append) => append.command)) return [null, null, null, null];
  const of = (part: 'id' | 'bodyHash' | 'reply' | 'time') => appends.map((append) => append.command?.[part] ?? null);
  return [of('id'), of('bodyHash'), of('reply'), of('time')];
}

function expectedAsNumber(expected: Expected): number {
  if (typeof expected === 'number') return expected;
  return { noStream: -1, any: -2, exists: -3 }[expected];
}

export function verdictOf(row: VerdictRow, { command }: Append): Verdict {
  const [status, position, revision, bodyHash = null, reply = null, time = null, commandPosition = null] = row;
  switch (status) {
    case 0:
      return { status: 'written', position, revision };
    case 1:
      return { status: 'conflict', revision };
    case 2:
      return { status: 'duplicate', position, revision };
    case 3:
      if (!command || bodyHash === null || time === null || commandPosition === null) break;
      return {
        status: 'duplicate',
        position,
        revision,
        command: { id: command.id, bodyHash, reply, time, position: commandPosition },
      };
  }
  throw new Error(`the log gave status ${status}, which means nothing`);
}

/**
 * Parts a flush so that no command id and no first event id stands twice in one part: the second is judged when the first
 * is there. Nearly always one part.
 */
export function parted(appends: readonly Append[]): (readonly Append[])[] {
  const seen = new Set<string>();
  const now: Append[] = [];
  const later: Append[] = [];
  for (const append of appends) {
    const keys = streamClass(append.stream) === 'kept' ? [append.events[0]!.id] : [];
    if (append.command) keys.push(append.command.id);
    if (keys.some((key) => seen.has(key))) later.push(append);
    else now.push(append);
    for (const key of keys) seen.add(key);
  }
  return later.length === 0 ? [appends] : [now, ...parted(later)];
}
