/** /knowledge/peers: other hubs that this one is a member of, and syncs with. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { SyncDirection, SyncProgress, SyncScope } from '../../events/knowledge.ts';
import { NodeId } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import type { PeerRow } from '../../projections/peers.ts';
import { closed } from '../../protocol.ts';
import type { KnowledgeSync } from '../knowledge-sync.ts';
import { responses } from './describe.ts';
import { aboutOf, sendExecuted, writeHeaders } from './http.ts';

/** Its name among holders and in rules has `peer:` before it, and fits where names of nodes do. */
const PeerId = Type.String({
  pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,57}$',
  description: 'What the other hub is called here; in rules, `peer:` and this name among the nodes',
});
const link = {
  url: Type.String({ maxLength: 2_048, pattern: '^https?://', description: 'Where it is' }),
  node_id: NodeId,
  direction: SyncDirection,
  scope: SyncScope,
  every_seconds: Type.Integer({ minimum: 1, maximum: 86_400, description: 'Between two syncs' }),
};
const Joining = closed(
  Type.Object({
    peer_id: Type.Optional(PeerId),
    ...link,
    direction: Type.Optional(SyncDirection),
    scope: Type.Optional(SyncScope),
    every_seconds: Type.Optional(link.every_seconds),
    invite: Type.Optional(
      Type.String({ maxLength: 256, description: 'Where the other hub wants one: used now, and kept nowhere' }),
    ),
  }),
);
const PeerView = Type.Object({
  peer_id: PeerId,
  ...link,
  joined_at: Type.String(),
  last_outcome: Type.Union([Type.Enum(['completed', 'failed']), Type.Null()]),
  last_error: Type.Union([Type.String(), Type.Null()]),
  last_progress: Type.Union([SyncProgress, Type.Null()]),
  synced_at: Type.Union([Type.String(), Type.Null()], {
    description:
      'When the last sync that moved something, or failed, ended; one that does neither is told every five minutes',
  }),
});
const Params = Type.Object({ id: PeerId });
const tags = ['knowledge'];
const everySeconds = 60;

export function peerRoutes(api: FastifyInstance, hub: Hub, { peers }: KnowledgeSync): void {
  api.post<{ Body: Static<typeof Joining> }>(
    '/knowledge/peers',
    {
      config: { access: 'operate' },
      schema: {
        operationId: 'joinPeer',
        summary: 'Makes this hub a member of another, and syncs with it from then on',
        description:
          'What comes is marked as foreign, with the federations that it passed, and is under the rules of @federation. What goes there is what rules allow that name `peer:<peer_id>` among their nodes. Joined again, direction, scope and pace change. `waiting`: an administrator there has not decided yet.',
        tags,
        headers: writeHeaders,
        body: Joining,
        response: responses(
          201,
          Type.Object({
            peer: Type.Object({ peer_id: PeerId, ...link }),
            public_key: Type.String({ description: 'Of this hub’s node there' }),
            waiting: Type.Boolean(),
            position: Type.Integer(),
          }),
          'egress_refused',
          'target_unreachable',
          'limit_reached',
          'conflict',
        ),
      },
    },
    async (request, reply) => {
      const { invite, peer_id = hub.kernel.uuid(), url, node_id, ...said } = request.body;
      const { direction = 'both', scope = { mode: 'full' }, every_seconds = everySeconds } = said;
      const joining = { peer_id, url: url.replace(/\/+$/, ''), node_id, direction, scope, every_seconds };
      const done = await peers.join(joining, invite, aboutOf(request));
      return sendExecuted(
        reply,
        request,
        done,
        ({ link: peer, publicKey: public_key, waiting }) => ({ peer, public_key, waiting }),
        201,
      );
    },
  );

  api.get(
    '/knowledge/peers',
    {
      config: { access: 'operate' },
      schema: {
        operationId: 'listPeers',
        summary: 'The other hubs that this one is a member of, and how the last sync with each went',
        tags,
        response: responses(200, Type.Object({ peers: Type.Array(PeerView), position: Type.Integer() })),
      },
    },
    async (_request, reply) => {
      const all = [...hub.live.peers.values()].sort((a, b) => (a.peer_id < b.peer_id ? -1 : 1));
      return reply.send({ peers: all satisfies PeerRow[], position: hub.live.peers.position });
    },
  );

  api.delete<{ Params: Static<typeof Params> }>(
    '/knowledge/peers/:id',
    {
      config: { access: 'operate' },
      schema: {
        operationId: 'leavePeer',
        summary: 'Syncs with another hub no more',
        description:
          'What came from it stays, and so does the membership there, until somebody there ends it. Joined again under the same name, this hub has the same key.',
        tags,
        params: Params,
        headers: writeHeaders,
        response: responses(200, Type.Object({ position: Type.Integer() }), 'not_found', 'conflict'),
      },
    },
    async (request, reply) => {
      const left = await peers.leave(request.params.id, aboutOf(request));
      return sendExecuted(reply, request, left, () => ({}));
    },
  );
}
