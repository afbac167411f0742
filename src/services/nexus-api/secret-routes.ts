/** /secrets: what is kept sealed, and who may have it. Values are in the answer to one route alone, and never in a refusal. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import type { About } from '../../commands/execute.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import { SecretId, SecretParties, SecretVersion } from '../../events/secret.ts';
import { closed } from '../../protocol.ts';
import type { SecretValue, SeenSecret, Vault } from '../secrets-vault.ts';
import { responses } from './describe.ts';
import { aboutOf, sendExecuted, sendProblem, writeHeaders } from './http.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';
import { masterRoutes } from './secret-master-routes.ts';
import { type VaultRoutes, vaultRoutes } from './vault-routes.ts';

/** Bytes of a value at most. */
const mostBytes = 64 * 1024;
/** JSON writes some characters in six letters. */
const bodyLimit = 6 * mostBytes + 32 * 1024;

const Params = Type.Object({ id: SecretId });
/** As text: what is turned into a number is cut to a whole one, and 1.5 would destroy version 1. */
const VersionText = Type.String({ pattern: '^[1-9][0-9]{0,8}$', description: 'Number of a version' });
const VersionParams = Type.Object({ id: SecretId, version: VersionText });
const value = {
  value: Type.String({ minLength: 1, description: 'Text, or bytes in base64; at most 64 KiB' }),
  encoding: Type.Optional(Type.Enum(['text', 'base64'], { description: 'Of the value: text, unless said' })),
};
const access = {
  readers: Type.Optional(SecretParties),
  writers: Type.Optional(SecretParties),
};
const Making = closed(Type.Object({ secret_id: SecretId, ...value, ...access }));
const Putting = closed(Type.Object({ ...value, ...access }));
const Sharing = closed(Type.Object({ readers: SecretParties, writers: SecretParties }));
const Stored = Type.Object({
  secret_id: SecretId,
  version: SecretVersion,
  created: Type.Boolean(),
  position: Type.Integer(),
});
const Changed = Type.Object({ secret_id: SecretId, position: Type.Integer() });
const Listed = Type.Object({
  secret_id: SecretId,
  newest: Type.Integer({ description: 'The version that was stored last' }),
  versions: Type.Array(Type.Object({ version: SecretVersion, stored_at: Type.String(), stored_by: Type.String() }), {
    description: 'Those that are not destroyed, the oldest first; the last ten are kept',
  }),
  may: Type.Array(Type.Enum(['manage', 'write', 'read']), { description: 'What whoever asks may do with it' }),
  readers: Type.Optional(SecretParties),
  writers: Type.Optional(SecretParties),
  created_at: Type.String(),
  updated_at: Type.String(),
  used_at: Type.Union([Type.String(), Type.Null()], { description: 'When the value was read last' }),
});
const Value = Type.Object({
  secret_id: SecretId,
  version: SecretVersion,
  value: Type.String(),
  encoding: Type.Enum(['text', 'base64']),
  position: Type.Integer({ description: 'Where the log has this use' }),
});

export function secretRoutes(api: FastifyInstance, vault: Vault): void {
  const secrets = vaultRoutes(api, vault);
  listRoute(secrets);
  valueRoutes(secrets);
  shareRoute(secrets);
  destroyRoutes(secrets);
  masterRoutes(secrets);
}

function listRoute({ add }: VaultRoutes): void {
  add<{ query: Static<typeof PageQuery> }>(
    'GET',
    '/secrets',
    {
      access: 'read',
      schema: {
        operationId: 'listSecrets',
        summary:
          'The secrets that whoever asks may read, write or manage: their versions and access, never their values',
        querystring: PageQuery,
        response: responses(
          200,
          Type.Object({ secrets: Type.Array(Listed), next_cursor: NextCursor, position: Type.Integer() }),
          'cursor_invalid',
          'vault_shut',
        ),
      },
    },
    async ({ secrets }, request, reply) => {
      const { limit = defaultLimit, cursor } = request.query;
      const after = placeOf(cursor, (place) => place.includes(':'));
      if (isRefusal(after)) return sendProblem(reply, request, after);
      const all = await secrets.list(request.identity);
      if (isRefusal(all)) return sendProblem(reply, request, all);
      const page = all.filter(({ row }) => row.secret_id > after).slice(0, limit);
      const next_cursor = cursorAfter(page, limit, ({ row }) => row.secret_id);
      return reply.send({ secrets: page.map(shown), next_cursor, position: secrets.position });
    },
  );
}

function valueRoutes({ add }: VaultRoutes): void {
  add<{ body: Static<typeof Making> }>(
    'POST',
    '/secrets',
    {
      access: 'act',
      bodyLimit,
      schema: {
        operationId: 'createSecret',
        summary: 'Stores a secret under a name of one’s own: `<node>:<name>`, of operators `@federation:<name>`',
        headers: writeHeaders,
        body: Making,
        response: responses(201, Stored, 'secret_id_taken', 'not_found', 'limit_reached', 'conflict', 'vault_shut'),
      },
    },
    async (vault, request, reply) => {
      const { secret_id: secretId, readers = {}, writers = {} } = request.body;
      const read = givenValue(request.body);
      if (isRefusal(read)) return sendProblem(reply, request, read);
      const asked = { secretId, value: read, access: { readers, writers }, fresh: true };
      const done = await vault.secrets.put(asked, request.identity, sealedAbout(vault, request));
      return sendExecuted(reply, request, done, (stored) => stored, 201);
    },
  );

  add<{ params: Static<typeof Params>; body: Static<typeof Putting> }>(
    'PUT',
    '/secrets/:id',
    {
      access: 'act',
      bodyLimit,
      schema: {
        operationId: 'storeSecret',
        summary:
          'Adds a version, which readers get from now on; makes the secret where there is none and the name is one’s own',
        description:
          '`readers` and `writers` count where the secret is made; else `PUT /secrets/{id}/access` changes them.',
        params: Params,
        headers: writeHeaders,
        body: Putting,
        response: responses(200, Stored, 'not_found', 'limit_reached', 'conflict', 'vault_shut'),
      },
    },
    async (vault, request, reply) => {
      const { readers = {}, writers = {} } = request.body;
      const read = givenValue(request.body);
      if (isRefusal(read)) return sendProblem(reply, request, read);
      const asked = { secretId: request.params.id, value: read, access: { readers, writers }, fresh: false };
      const done = await vault.secrets.put(asked, request.identity, sealedAbout(vault, request));
      return sendExecuted(reply, request, done, (stored) => stored);
    },
  );

  add<{ params: Static<typeof Params>; query: { version?: string } }>(
    'GET',
    '/secrets/:id',
    {
      access: 'read',
      schema: {
        operationId: 'readSecret',
        summary:
          'The value of a secret: of the newest version, or the one that is named. The log has the use before the answer leaves',
        params: Params,
        querystring: Type.Object({ version: Type.Optional(VersionText) }),
        response: responses(200, Value, 'not_found', 'secret_lost', 'vault_shut'),
      },
    },
    async ({ secrets }, request, reply) => {
      const { command: _, ...about } = aboutOf(request);
      const { version: wanted } = request.query;
      const asked = wanted === undefined ? undefined : Number(wanted);
      const read = await secrets.read(request.params.id, asked, request.identity, about);
      if (isRefusal(read)) return sendProblem(reply, request, read);
      const { secretId: secret_id, version, value, position } = read;
      const text = Buffer.from(value.bytes).toString(value.encoding === 'text' ? 'utf8' : 'base64');
      return reply.send({ secret_id, version, value: text, encoding: value.encoding, position });
    },
  );
}

function shareRoute({ add }: VaultRoutes): void {
  add<{ params: Static<typeof Params>; body: Static<typeof Sharing> }>(
    'PUT',
    '/secrets/:id/access',
    {
      access: 'act',
      schema: {
        operationId: 'shareSecret',
        summary:
          'Says anew who may read, and who may add versions, besides the owner: nodes, entities, roles, operators',
        description:
          'By the owner, or who governs. Both are said whole: `{}` is nobody, and what is left out is refused. Nodes and entities that are not there are `not_found`. It counts from now on, for those who have the names now: who takes the name of a removed node gets nothing by it.',
        params: Params,
        headers: writeHeaders,
        body: Sharing,
        response: responses(200, Changed, 'not_found', 'conflict', 'vault_shut'),
      },
    },
    async ({ secrets }, request, reply) => {
      const done = await secrets.setAccess(request.params.id, request.body, request.identity, aboutOf(request));
      return sendExecuted(reply, request, done, (changed) => changed);
    },
  );
}

function destroyRoutes({ add }: VaultRoutes): void {
  add<{ params: Static<typeof Params> }>(
    'DELETE',
    '/secrets/:id',
    {
      access: 'act',
      schema: {
        operationId: 'deleteSecret',
        summary: 'Destroys the keys of all versions of a secret: nobody can read any of them again, from no backup',
        params: Params,
        headers: writeHeaders,
        response: responses(200, Changed, 'not_found', 'conflict', 'vault_shut'),
      },
    },
    async ({ secrets }, request, reply) => {
      const done = await secrets.remove(request.params.id, request.identity, aboutOf(request));
      return sendExecuted(reply, request, done, (changed) => changed);
    },
  );

  add<{ params: Static<typeof VersionParams> }>(
    'DELETE',
    '/secrets/:id/versions/:version',
    {
      access: 'act',
      schema: {
        operationId: 'destroySecretVersion',
        summary: 'Destroys the key of one version',
        params: VersionParams,
        headers: writeHeaders,
        response: responses(200, Changed, 'not_found', 'conflict', 'vault_shut'),
      },
    },
    async ({ secrets }, request, reply) => {
      const { id, version } = request.params;
      const done = await secrets.destroy(id, Number(version), request.identity, aboutOf(request));
      return sendExecuted(reply, request, done, (changed) => changed);
    },
  );
}

/** Who else may have it is told to those who may change that. */
function shown({ row, standing, access }: SeenSecret): Static<typeof Listed> {
  const { secret_id, newest, versions, created_at, updated_at, used_at } = row;
  const { manages, writes, reads } = standing;
  const may = [manages && 'manage', writes !== undefined && 'write', reads !== undefined && 'read'] as const;
  return {
    secret_id,
    newest,
    versions: versions.map(({ version, stored_at, stored_by }) => ({ version, stored_at, stored_by })),
    may: may.filter((one) => one !== false),
    ...(manages && access),
    created_at,
    updated_at,
    used_at,
  };
}

/** As `aboutOf`, but what is kept of the request does not help to guess the value in it. */
function sealedAbout(vault: Vault, request: FastifyRequest): About {
  const about = aboutOf(request);
  if (!about.command) return about;
  const bodyHash = vault.fingerprint([request.params, request.body]);
  return { ...about, command: { ...about.command, bodyHash } };
}

/** The bytes of a value. Refuses `invalid_input` and `payload_too_large`. */
function givenValue({
  value,
  encoding = 'text',
}: {
  value: string;
  encoding?: 'text' | 'base64';
}): SecretValue | Refusal {
  if (encoding === 'text' && /\p{Surrogate}/u.test(value))
    return refuse('invalid_input', 'body: the value is no well-formed text: give bytes in base64');
  const bytes = Buffer.from(value, encoding === 'text' ? 'utf8' : 'base64');
  if (encoding === 'base64' && bytes.toString('base64') !== value)
    return refuse('invalid_input', 'body: the value is no base64');
  if (bytes.length > mostBytes) return refuse('payload_too_large', `a value has ${mostBytes} bytes at most`);
  return { encoding, bytes };
}
