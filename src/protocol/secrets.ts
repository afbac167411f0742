/** Packets of secrets: that something about one changed, never what it says. */
import { Type } from 'typebox';
import { SecretId, SecretVersion } from '../events/secret.ts';
import { Time } from './shapes.ts';

export const secretPushes = {
  /** A secret that this node may read has another version, or other readers. Who was away asks when it is back; a read sees what was told of. */
  'federation:secret-changed': Type.Object({
    time: Time,
    secret_id: SecretId,
    /** The newest. */
    version: SecretVersion,
    change: Type.Union([Type.Literal('stored'), Type.Literal('access'), Type.Literal('destroyed')]),
  }),
} as const;
