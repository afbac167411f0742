/** /files: what one sent and may fetch, the bytes themselves, and their removal; uploads are in upload-routes.ts. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { isRefusal, refuse } from '../../errors.ts';
import { FileId } from '../../events/file.ts';
import type { Hub } from '../../hub.ts';
import type { FileRow } from '../../projections/files.ts';
import { FileView } from '../../protocol/files.ts';
import type { FileTransfer } from '../file-transfer.ts';
import { responses } from './describe.ts';
import { sendBytes } from './file-bytes.ts';
import { aboutOf, freshness, ReadQuery, sendProblem, writeHeaders } from './http.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';
import { uploadRoutes } from './upload-routes.ts';

const Params = Type.Object({ id: FileId });
const List = Type.Object({
  ...PageQuery.properties,
  direction: Type.Optional(
    Type.Union([Type.Literal('sent'), Type.Literal('received')], {
      description: 'Unsaid: both; whoever governs sees all then',
    }),
  ),
  status: Type.Optional(Type.Union([Type.Literal('open'), Type.Literal('stored')])),
});
const Fetch = Type.Object({
  by: Type.String(),
  whole: Type.Boolean(),
  first_at: Type.String(),
  whole_at: Type.Union([Type.String(), Type.Null()]),
});
const Info = Type.Object({
  ...FileView.properties,
  fetches: Type.Optional(
    Type.Array(Fetch, { description: 'Who had it, for who sent it and who governs; the first hundred' }),
  ),
});

export function fileRoutes(api: FastifyInstance, hub: Hub, files: FileTransfer): void {
  uploadRoutes(api, hub, files);
  listRoute(api, files);
  infoRoute(api, files);
  bytesRoute(api, hub, files);
  removeRoute(api, files);
}

function listRoute(api: FastifyInstance, files: FileTransfer): void {
  api.get<{ Querystring: Static<typeof List> }>(
    '/files',
    {
      config: { access: 'read' },
      exposeHeadRoute: false,
      schema: {
        operationId: 'listFiles',
        summary: 'The files that one sent or may fetch, the newest first',
        tags: ['files'],
        querystring: List,
        response: responses(
          200,
          Type.Object({ files: Type.Array(FileView), next_cursor: NextCursor, ...freshness }),
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { min_position: minPosition, limit = defaultLimit, cursor, direction, status } = request.query;
      const place = placeOf(cursor, (text) => /^[1-9]\d{0,15}$/.test(text));
      if (isRefusal(place)) return sendProblem(reply, request, place);
      const before = place === '' ? Number.MAX_SAFE_INTEGER : Math.min(Number(place), Number.MAX_SAFE_INTEGER);
      const asked = { before, limit, minPosition };
      const { value: rows, ...fresh } = await files.list(request.identity, { direction, status }, asked);
      const next_cursor = cursorAfter(rows, limit, ({ begun_position }) => String(begun_position));
      const shown = rows.filter((row) => files.concerns(row, request.identity));
      return reply.send({ files: shown.map(viewOf), next_cursor, ...fresh });
    },
  );
}

function infoRoute(api: FastifyInstance, files: FileTransfer): void {
  api.get<{ Params: Static<typeof Params>; Querystring: Static<typeof ReadQuery> }>(
    '/files/:id/info',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'readFile',
        summary: 'What is known of one file',
        tags: ['files'],
        params: Params,
        querystring: ReadQuery,
        response: responses(200, Type.Object({ file: Info }), 'not_found'),
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const found = await files.find(id, request.identity, request.query.min_position);
      if (!found) return sendProblem(reply, request, refuse('not_found', `there is no file ${id} for you`));
      const file = viewOf(found.row);
      if (!found.own) return reply.send({ file });
      const fetches = await files.fetches(id);
      const had = fetches.map(({ fetched_by: by, whole, first_at, whole_at }) => ({
        by,
        whole: whole === 1,
        first_at,
        whole_at,
      }));
      return reply.send({ file: { ...file, fetches: had } });
    },
  );
}

function bytesRoute(api: FastifyInstance, hub: Hub, files: FileTransfer): void {
  api.get<{ Params: Static<typeof Params>; Querystring: Static<typeof ReadQuery> }>(
    '/files/:id',
    {
      config: { access: 'read' },
      exposeHeadRoute: false, // HEAD is of tus
      schema: {
        operationId: 'fetchFile',
        summary: 'The bytes of a file, or one range of them; the entity tag is their hash',
        tags: ['files'],
        params: Params,
        querystring: ReadQuery,
        response: responses(
          200,
          Type.Unknown({ description: 'The bytes; 206 with a part of them when a Range is asked for' }),
          'not_found',
          'file_gone',
          'range_not_satisfiable',
          'overloaded',
          'files_unavailable',
        ),
      },
    },
    (request, reply) => sendBytes(hub, files, request.params.id, request.query.min_position, request, reply),
  );
}

function removeRoute(api: FastifyInstance, files: FileTransfer): void {
  api.delete<{ Params: Static<typeof Params> }>(
    '/files/:id',
    {
      config: { access: 'act' },
      schema: {
        operationId: 'removeFile',
        summary: 'Takes a file away, or gives up its upload: by who sent it, or who governs',
        tags: ['files'],
        params: Params,
        headers: writeHeaders,
        response: responses(
          204,
          Type.Null({ description: 'Gone; the header Federation-Position says where that is written' }),
          'not_found',
          'conflict',
        ),
      },
    },
    async (request, reply) => {
      const done = await files.remove(request.params.id, request.identity, aboutOf(request));
      if (isRefusal(done)) return sendProblem(reply, request, done);
      return reply.code(204).headers({ 'tus-resumable': '1.0.0', 'federation-position': done.position }).send();
    },
  );
}

function viewOf(row: FileRow): Static<typeof FileView> {
  const { file_id, owner, recipient, name, media_type, size, once, expires_at, sha256, status, begun_at } = row;
  return {
    file_id,
    from: owner,
    to: recipient,
    name,
    media_type,
    size,
    once: once === 1,
    expires_at,
    sha256,
    status,
    begun_at,
    stored_at: row.stored_at,
  };
}
