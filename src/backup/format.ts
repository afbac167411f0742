/**
 * What a backup of the log looks like: lines of JSON. First a head, then each event as it lies in the log, then the records of
 * commands, last a foot with how many there were and the tree hashes (RFC 6962) over the lines of either kind.
 *
 * A hub that finds out on the way that it cannot finish writes a line `broken` with the reason instead of a foot.
 */
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import type { Recorded, RecordedCommand } from '../events/log.ts';

export const backupFormat = 1;

const Count = Type.Integer({ minimum: 0 });
const Uuid = Type.String({ pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' });
const Hash = Type.String({ pattern: '^[0-9a-f]{64}$' });

/** The first line. */
export const BackupHead = Type.Object({
  format: Type.Literal(backupFormat),
  log_id: Uuid,
  segment_size: Type.Integer({ minimum: 1 }),
  federation_id: Type.String({ minLength: 1 }),
  hub_version: Type.String(),
  /** The backup holds everything up to here, and nothing beyond. */
  position: Count,
  /** Of the views at that position; null when they could not be summed up. */
  views_fingerprint: Type.Union([Type.String(), Type.Null()]),
  views_digest: Type.Union([Hash, Type.Null()]),
});
export type BackupHead = Static<typeof BackupHead>;

/** The last line. */
export const BackupFoot = Type.Object({
  events: Count,
  commands: Count,
  /** Over the lines of the events. */
  root: Hash,
  /** Over the lines of the commands. */
  commands_root: Hash,
});
export type BackupFoot = Static<typeof BackupFoot>;

const EventLine = Type.Object({
  position: Type.Integer({ minimum: 1 }),
  stream: Type.String({ minLength: 1 }),
  revision: Count,
  id: Uuid,
  type: Type.String(),
  version: Type.Integer(),
  time: Type.String(),
  data: Type.String(),
  meta: Type.String(),
});

const CommandLine = Type.Object({
  command: Type.Object({
    id: Uuid,
    bodyHash: Type.String(),
    reply: Type.Union([Type.String(), Type.Null()]),
    time: Type.String(),
    position: Type.Integer({ minimum: 1 }),
    revision: Count,
  }),
});

export const shapes = {
  head: Compile(BackupHead),
  event: Compile(EventLine),
  command: Compile(CommandLine),
  foot: Compile(BackupFoot),
  broken: Compile(Type.Object({ broken: Type.String() })),
};

/** The line of an event, without its end. The same event gives the same line, whichever database it lies in. */
export function eventLine({ position, stream, revision, id, type, version, time, data, meta }: Recorded): string {
  return JSON.stringify({ position, stream, revision, id, type, version, time, data, meta });
}

/** The line of a record of a command, without its end. */
export function commandLine({ id, bodyHash, reply, time, position, revision }: RecordedCommand): string {
  return JSON.stringify({ command: { id, bodyHash, reply, time, position, revision } });
}
