/** Proving a key over HTTP: challenge, registration, session and renewal. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { type Code, isRefusal } from '../../errors.ts';
import { clientPackets } from '../../protocol.ts';
import type { IdentityAuth } from '../identity-auth.ts';
import { responses } from './describe.ts';
import { sendProblem } from './http.ts';

const { packet: Challenge, ack: ChallengeAck } = clientPackets['federation:challenge'];
const { packet: Register, ack: RegisterAck } = clientPackets['federation:register'];

const Challenged = Type.Omit(ChallengeAck, ['ok']);
const Registered = Type.Omit(RegisterAck, ['ok']);
const Renewed = Type.Object({ token: Type.String(), expires_at: Type.String() });

/** What may be wrong with a proof of a key. */
const proofProblems: readonly Code[] = [
  'key_invalid',
  'protocol_unsupported',
  'nonce_invalid',
  'nonce_expired',
  'nonce_used',
  'signature_invalid',
  'key_revoked',
  'conflict',
];

export function authRoutes(api: FastifyInstance, identity: IdentityAuth): void {
  api.post<{ Body: Static<typeof Challenge> }>(
    '/auth/challenge',
    {
      config: { access: 'anyone' },
      schema: {
        operationId: 'requestChallenge',
        summary: 'A nonce to sign, good for a minute and one use',
        tags: ['auth'],
        body: Challenge,
        response: responses(200, Challenged),
      },
    },
    async ({ body }, reply) => reply.send(identity.challenge(body.node_id, body.purpose)),
  );

  const registering = (path: string, purpose: 'register' | 'session', summary: string, ...problems: Code[]) =>
    api.post<{ Body: Static<typeof Register> }>(
      path,
      {
        config: { access: 'anyone' },
        schema: {
          operationId: purpose === 'register' ? 'registerNode' : 'openSession',
          summary,
          tags: [path.slice(1, path.indexOf('/', 1))],
          body: Register,
          response: responses(200, Registered, ...problems),
        },
      },
      async (request, reply) => {
        const opened = await identity.register(
          { ...request.body, purpose },
          'http',
          request.address,
          request.trace.traceparent,
        );
        if (isRefusal(opened)) return sendProblem(reply, request, opened);
        const { epoch: _, ...answer } = opened;
        return reply.send(answer);
      },
    );
  registering(
    '/nodes/register',
    'register',
    'Joins the federation, or comes back with the profile as it is now',
    ...proofProblems,
    'approval_required',
    'invite_required',
    'key_taken',
    'node_id_taken',
  );
  registering('/auth/session', 'session', 'Opens a session of a known node', ...proofProblems, 'not_found');

  api.post(
    '/auth/renew',
    {
      config: { access: 'node' },
      schema: {
        operationId: 'renewSession',
        summary: 'A new token for the session of the one shown',
        tags: ['auth'],
        response: responses(200, Renewed, 'conflict'),
      },
    },
    async (request, reply) => {
      const claims = await identity.readSessionToken(request.headers.authorization);
      const renewed = isRefusal(claims) ? claims : await identity.renew(claims);
      return isRefusal(renewed) ? sendProblem(reply, request, renewed) : reply.send(renewed);
    },
  );
}
