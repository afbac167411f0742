/** Keys: a node changes its own, operators take keys and sessions back, rotate the hub's, and destroy data keys. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { isRefusal, refuse } from '../../errors.ts';
import { NodeId } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import { clientPackets, closed } from '../../protocol.ts';
import type { IdentityAuth } from '../identity-auth.ts';
import { mayDecideOn } from './admin-right.ts';
import { responses } from './describe.ts';
import { aboutOf, sendExecuted, sendProblem, writeHeaders } from './http.ts';

const { packet: Rotate, ack: RotateAck } = clientPackets['federation:rotate'];
const Rotated = Type.Omit(RotateAck, ['ok']);
const Jwks = Type.Object({ keys: Type.Array(Type.Record(Type.String(), Type.String())) });
const position = { position: Type.Integer() };

const Node = Type.Object({ node: NodeId });
const Revoke = closed(
  Type.Object({
    what: Type.Union([Type.Literal('sessions'), Type.Literal('key')], {
      description: 'sessions: all tokens issued so far. key: besides, the key, for ever',
    }),
    reason: Type.String({ minLength: 1, maxLength: 500 }),
  }),
);
const Subject = Type.Object({
  subject: Type.String({
    pattern: '^[a-z][a-z-]{0,31}:[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$',
    description: 'Whose keys: <kind>:<name>, such as node:<node id>',
  }),
});

export function keyRoutes(api: FastifyInstance, hub: Hub, identity: IdentityAuth): void {
  api.get(
    '/auth/jwks',
    {
      config: { access: 'anyone' },
      schema: {
        operationId: 'readSessionKeys',
        summary: 'Public keys of session tokens (RFC 7517)',
        tags: ['auth'],
        response: responses(200, Jwks),
      },
    },
    async (_request, reply) => reply.header('cache-control', 'max-age=15').send(hub.keyring.jwks()),
  );

  api.post<{ Body: Static<typeof Rotate> }>(
    '/auth/rotate',
    {
      config: { access: 'node' },
      schema: {
        operationId: 'rotateNodeKey',
        summary: 'Changes the key of the node; signed by the old key and by the new one',
        tags: ['auth'],
        body: Rotate,
        response: responses(
          200,
          Rotated,
          'key_invalid',
          'key_taken',
          'key_revoked',
          'nonce_invalid',
          'nonce_expired',
          'nonce_used',
          'signature_invalid',
          'not_found',
          'node_removed',
          'conflict',
        ),
      },
    },
    async (request, reply) => {
      const { identity: who, body, ip } = request;
      if (who.kind !== 'node')
        return sendProblem(reply, request, refuse('forbidden', 'only a node has a key to change'));
      const opened = await identity.rotate({ nodeId: who.nodeId, packet: body, transport: 'http', address: ip });
      if (isRefusal(opened)) return sendProblem(reply, request, opened);
      const { epoch: _, ...answer } = opened;
      return reply.send(answer);
    },
  );

  api.post<{ Params: Static<typeof Node>; Body: Static<typeof Revoke> }>(
    '/auth/revoke/:node',
    {
      config: { access: 'govern', itself: true },
      schema: {
        operationId: 'revokeNode',
        summary: 'Ends all sessions of a node, or takes its key as well: then it must be removed and join anew',
        tags: ['auth'],
        params: Node,
        headers: writeHeaders,
        body: Revoke,
        response: responses(200, Type.Object(position), 'forbidden', 'not_found', 'last_admin', 'conflict'),
      },
    },
    async (request, reply) => {
      const { what, reason } = request.body;
      const barred = what === 'key' ? await mayDecideOn(hub, request.identity, request.params.node) : undefined;
      if (barred) return sendProblem(reply, request, barred);
      const done = await identity.revoke(request.params.node, what, reason, aboutOf(request));
      return sendExecuted(reply, request, done, () => ({}));
    },
  );

  api.post(
    '/auth/keys/rotate',
    {
      config: { access: 'operate' },
      schema: {
        operationId: 'rotateHubKeys',
        summary: 'Publishes a new signing key of the hub, which signs half a minute later',
        tags: ['auth'],
        headers: writeHeaders,
        response: responses(
          200,
          Type.Object({ kid: Type.String(), active_at: Type.String(), ...position }),
          'conflict',
        ),
      },
    },
    async (request, reply) =>
      sendExecuted(reply, request, await identity.rotateHubKeys(aboutOf(request)), ({ kid, activeAt }) => ({
        kid,
        active_at: activeAt,
      })),
  );

  api.delete<{ Params: Static<typeof Subject> }>(
    '/auth/data-keys/:subject',
    {
      config: { access: 'govern', itself: true },
      schema: {
        operationId: 'eraseSubject',
        summary: 'Destroys the data keys of a subject for good: what was encrypted with them cannot be read any more',
        tags: ['auth'],
        params: Subject,
        headers: writeHeaders,
        response: responses(
          200,
          Type.Object({ keys: Type.Integer({ description: 'How many there were' }), ...position }),
          'conflict',
        ),
      },
    },
    async (request, reply) =>
      sendExecuted(reply, request, await identity.erase(request.params.subject, aboutOf(request)), (erased) => erased),
  );
}
