/** Content as it lies in the log. */
import { Type } from 'typebox';

/** Bytes that only the holder of the data key of `subject` reads: AES-256-GCM, `nonce ‖ ciphertext ‖ tag` in base64url. */
export const Sealed = Type.Object({ subject: Type.String(), key_id: Type.String(), sealed: Type.String() });
export type Sealed = Type.Static<typeof Sealed>;
