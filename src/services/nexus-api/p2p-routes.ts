/** /p2p: the roster by which nodes talk to each other while the hub is silent. */
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { refuse } from '../../errors.ts';
import { HubKeys, Roster } from '../../protocol/p2p.ts';
import type { P2pFallback } from '../p2p-fallback.ts';
import { responses } from './describe.ts';
import { sendProblem } from './http.ts';

const Answer = Type.Object({
  roster: Roster,
  document: Type.String({ description: 'The same, signed: a JWS in compact form, of the type fedhub-roster+jws' }),
  keys: HubKeys,
});

export function p2pRoutes(api: FastifyInstance, p2p: P2pFallback): void {
  api.get(
    '/p2p/roster',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'readRoster',
        summary: 'The newest roster of members, signed by the hub, with the keys to check it',
        tags: ['p2p'],
        response: responses(200, Answer, 'not_ready'),
      },
    },
    async (request, reply) => {
      const issued = p2p.roster();
      if (!issued)
        return sendProblem(reply, request, refuse('not_ready', 'there is no roster yet; ask again in a second'));
      return reply.send({ roster: issued.roster, document: issued.document, keys: p2p.keys() });
    },
  );
}
