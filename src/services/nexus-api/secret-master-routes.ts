/** /secrets/master: which master key is in use, and another in its place. */
import { Type } from 'typebox';
import { responses } from './describe.ts';
import { aboutOf, sendExecuted, writeHeaders } from './http.ts';
import type { VaultRoutes } from './vault-routes.ts';

const Master = Type.Object({
  source: Type.Enum(['environment', 'file']),
  master: Type.String({ description: 'Names the master key in use, and tells nothing of it' }),
  rotating: Type.Boolean(),
  keys: Type.Integer({ description: 'Keys of versions' }),
  remaining: Type.Integer({ description: 'Keys that are still to be wrapped with the master key in use' }),
  stuck: Type.Array(
    Type.Object({
      key_id: Type.String(),
      secret_id: Type.String(),
      version: Type.Union([Type.Integer(), Type.Null()], { description: 'Null where no version has this key' }),
    }),
    { description: 'Of those that remain, which this replica cannot unwrap; a hundred at most' },
  ),
});

export function masterRoutes({ add }: VaultRoutes): void {
  add(
    'GET',
    '/secrets/master',
    {
      access: 'operate',
      schema: {
        operationId: 'readMasterKey',
        summary: 'Which master key is in use, and how far a rotation is',
        response: responses(200, Master, 'vault_shut'),
      },
    },
    async (vault, _request, reply) => reply.send(await vault.status()),
  );

  add(
    'POST',
    '/secrets/master/rotate',
    {
      access: 'operate',
      schema: {
        operationId: 'rotateMasterKey',
        summary:
          'Wraps all keys with a new master key, in the background; while that goes on, asking again changes nothing',
        headers: writeHeaders,
        response: responses(
          202,
          Type.Object({
            from: Type.String({ description: 'Id of the master key that goes' }),
            position: Type.Integer(),
          }),
          'master_key_external',
          'conflict',
          'vault_shut',
        ),
      },
    },
    async (vault, request, reply) =>
      sendExecuted(reply, request, await vault.rotateMaster(aboutOf(request)), (asked) => asked, 202),
  );
}
