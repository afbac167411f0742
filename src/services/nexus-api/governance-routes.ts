/** /governance: how the federation admits nodes. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { GovernanceMode } from '../../events/federation.ts';
import { closed } from '../../protocol.ts';
import type { Governance } from '../governance.ts';
import { responses } from './describe.ts';
import { aboutOf, sendExecuted, writeHeaders } from './http.ts';

const Mode = closed(Type.Object({ mode: GovernanceMode }));
const Changed = Type.Object({ mode: GovernanceMode, previous: GovernanceMode, position: Type.Integer() });

export function governanceRoutes(api: FastifyInstance, governance: Governance): void {
  api.get(
    '/governance',
    {
      config: { access: 'admin' },
      schema: {
        operationId: 'readGovernance',
        summary: 'How nodes are admitted',
        tags: ['governance'],
        response: responses(200, Type.Object({ mode: GovernanceMode })),
      },
    },
    async (_request, reply) => reply.send({ mode: governance.mode() }),
  );

  api.post<{ Body: Static<typeof Mode> }>(
    '/governance/mode',
    {
      config: { access: 'admin' },
      schema: {
        operationId: 'changeGovernanceMode',
        summary: 'Changes how nodes are admitted',
        tags: ['governance'],
        headers: writeHeaders,
        body: Mode,
        response: responses(200, Changed, 'conflict'),
      },
    },
    async (request, reply) =>
      sendExecuted(
        reply,
        request,
        await governance.changeMode(request.body.mode, aboutOf(request)),
        (changed) => changed,
      ),
  );
}
