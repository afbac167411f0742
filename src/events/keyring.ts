/** What happened to the hub's own keys, without the keys, in the stream `keyring`. */
import { Type } from 'typebox';
import { kept } from './define.ts';

export const keyringEvents = {
  /** A new signing key is published; it signs from `active_at` on. */
  'keyring.rotated': kept(Type.Object({ kid: Type.String(), active_at: Type.String() })),
  /** All data keys of a subject are gone for good: what was encrypted with them is erased. */
  'keyring.subject-erased': kept(Type.Object({ subject: Type.String(), keys: Type.Integer() })),
} as const;
