/** What is left of a dropped segment of transient events, in the stream `segment-<from>`. */
import { Type } from 'typebox';
import { kept } from './define.ts';

export const segmentEvents = {
  'log.segment-dropped': kept(
    Type.Object({
      from: Type.Integer(),
      to: Type.Integer(),
      /** Transient events it held. */
      count: Type.Integer(),
      /** RFC 6962 Merkle tree hash over them in order of position, hex. */
      root: Type.String(),
    }),
  ),
} as const;
