/** Readers of a stream who stop to take it: they are cut, so that what the stream holds is free for others. */
import type { FastifyReply } from 'fastify';

/** How long nothing may go out. */
const stuckMs = 60_000;

/**
 * Ends the connection of an answer of which no byte goes out for a minute. Node's own timeout of a socket looks at what the system
 * took, so that a slow reader is not taken for one that stopped; the server sets another one when the answer is out.
 */
export function cutWhenStuck(reply: FastifyReply): void {
  reply.raw.setTimeout(stuckMs, () => reply.raw.destroy());
}
