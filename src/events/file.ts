/**
 * Facts of files, without their bytes. What one owner keeps here lies in one stream, `files-<owner>`, so that its quota is decided in
 * one place; a node that took the name of a removed one has a stream of its own. Who fetched a file lies in `file-<file id>`.
 */
import { Type } from 'typebox';
import { kept } from './define.ts';
import { Address } from './message.ts';
import { NodeRole } from './node.ts';

export const FileId = Type.String({ format: 'uuid', description: 'Name of a file, given by the hub' });

/** SHA-256 of the bytes, hex. */
export const FileHash = Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256, hex' });

/** Whom a file is for: as of messages, or whoever has a role when it is fetched. */
export const FileAddress = Type.Union([...Address.anyOf, Type.Object({ role: NodeRole })]);
export type FileAddress = Type.Static<typeof FileAddress>;

/** `node:<id>` or `operator:<prefix>`. */
const owner = Type.String();
const Time = Type.String({ description: 'ISO 8601 UTC' });

const facts = {
  file_id: FileId,
  owner,
  name: Type.String({ maxLength: 255 }),
  media_type: Type.String({ maxLength: 127 }),
  /** Bytes. */
  size: Type.Integer({ minimum: 0 }),
  to: FileAddress,
  /** `node:<id>`, `channel:<name>`, `role:<role>` or `everyone`. */
  box: Type.String(),
  /** Each recipient may have it once; what is for one node alone is gone then. */
  once: Type.Boolean(),
  expires_at: Time,
};
export const FileFacts = Type.Object(facts);
export type FileFacts = Type.Static<typeof FileFacts>;

/** What later facts of a file repeat. */
const file = { file_id: FileId, owner };
const gone = { ...file, sha256: FileHash };

export const fileEvents = {
  /** Room is reserved for its bytes, which may come until `upload_until`. `sha256`: what they must give. */
  'file.begun': kept(Type.Object({ ...facts, sha256: Type.Optional(FileHash), upload_until: Time })),
  /** All of it is there, and may be fetched. */
  'file.stored': kept(Type.Object({ ...facts, sha256: FileHash })),
  /** What came was not what had been promised, or could not be kept: nothing of it is left. */
  'file.refused': kept(
    Type.Object({ ...file, code: Type.String({ maxLength: 64 }), reason: Type.String({ maxLength: 512 }) }),
  ),
  /** It was never all there. */
  'file.abandoned': kept(
    Type.Object({
      ...file,
      cause: Type.Union([
        Type.Literal('owner'),
        Type.Literal('operator'),
        Type.Literal('lapsed'),
        Type.Literal('owner_removed'),
      ]),
    }),
  ),
  /** The first time that somebody had part of it, and the first time all of it. `late`: the file was gone when that ended. */
  'file.fetched': kept(
    Type.Object({ ...file, by: Type.String(), whole: Type.Boolean(), late: Type.Optional(Type.Boolean()) }),
  ),
  'file.expired': kept(Type.Object(gone)),
  'file.removed': kept(
    Type.Object({
      ...gone,
      cause: Type.Union([
        Type.Literal('owner'),
        Type.Literal('operator'),
        Type.Literal('fetched'),
        Type.Literal('owner_removed'),
      ]),
    }),
  ),
} as const;
