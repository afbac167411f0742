/** Facts of one operator token, in the stream `operator-<prefix>`. The secret itself is nowhere: only its hash. */
import { Type } from 'typebox';
import { kept } from './define.ts';

export const operatorTokenEvents = {
  'operator-token.created': kept(
    Type.Object({
      /** Public first part of the token, by which it is listed. */
      prefix: Type.String(),
      /** SHA-256 of the whole token, hex. */
      hash: Type.String(),
      label: Type.String(),
      scopes: Type.Array(Type.String()),
      /** ISO 8601; without it, good until revoked. */
      expires_at: Type.Optional(Type.String()),
    }),
  ),
  'operator-token.revoked': kept(Type.Object({ prefix: Type.String() })),
  /** Shown and accepted. Written at most once in a quarter of an hour a token and replica. */
  'operator-token.used': kept(Type.Object({ prefix: Type.String(), address: Type.String() })),
} as const;
