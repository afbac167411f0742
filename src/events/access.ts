/** Edits of the block list and the allow list, all in the stream `access`. */
import { Type } from 'typebox';
import { kept } from './define.ts';

/** A node id, an entity id, or a public key. */
export const AccessSubject = Type.String({
  pattern: '^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$|^[A-Za-z0-9_-]{43}$',
  description: 'Node id, entity id, or public key in base64url',
});
const subject = AccessSubject;

export const accessEvents = {
  'access.blocked': kept(Type.Object({ subject, reason: Type.String() })),
  'access.unblocked': kept(Type.Object({ subject })),
  /** In mode `invite`, a node of this id or key joins without an invite. */
  'access.allowed': kept(Type.Object({ subject, note: Type.Optional(Type.String()) })),
  'access.disallowed': kept(Type.Object({ subject })),
} as const;
