/** Files as they are told of: over HTTP, and in packets to those who send and get them. */
import { Type } from 'typebox';
import { FileAddress, FileHash, FileId } from '../events/file.ts';
import { Position, Time } from './shapes.ts';

const shared = {
  file_id: FileId,
  /** `node:<id>` or `operator:<prefix>`. */
  from: Type.String(),
  to: FileAddress,
  name: Type.String(),
  media_type: Type.String(),
  size: Type.Integer({ minimum: 0, description: 'Bytes' }),
  once: Type.Boolean({ description: 'Each recipient may have it once; what is for one node alone is gone then' }),
  expires_at: Time,
};

/** A file that may be fetched. */
const OfferedFile = Type.Object({ ...shared, sha256: FileHash });

/** A file as lists and `info` show it. */
export const FileView = Type.Object({
  ...shared,
  sha256: Type.Union([FileHash, Type.Null()], { description: 'Null until all of it is there' }),
  status: Type.Union([Type.Literal('open'), Type.Literal('stored')]),
  begun_at: Time,
  stored_at: Type.Union([Time, Type.Null()]),
});
export type FileView = Type.Static<typeof FileView>;

export const filePushes = {
  /** A file that this node may fetch now. It is mail: acknowledge it. */
  'federation:file': Type.Object({ position: Position, time: Time, file: OfferedFile }),
  /**
   * How far bytes are on their way, at most twice a second: to whom they are of, to the node that they are for alone, and to who
   * fetches them. It is not kept.
   */
  'federation:file:progress': Type.Object({
    file_id: FileId,
    name: Type.String(),
    direction: Type.Union([Type.Literal('upload'), Type.Literal('download')]),
    /** The actor whose bytes go: the sender, or who fetches them. */
    by: Type.String(),
    bytes: Type.Integer({ minimum: 0 }),
    size: Type.Integer({ minimum: 0 }),
  }),
} as const;
