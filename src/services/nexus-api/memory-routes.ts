/** /memory: what nodes and operators know and share, its versions, and looking for it by words, categories and tags. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { actorOf } from '../../doors.ts';
import { isRefusal, refuse } from '../../errors.ts';
import { Category, Clock, Foreign, MemoryId, Tag, Tags, VersionId } from '../../events/memory.ts';
import { MemoryContent, NewMemory } from '../../protocol/knowledge.ts';
import { closed } from '../../protocol.ts';
import type { IdentityAuth } from '../identity-auth.ts';
import { type KnowledgeSync, memoryKey } from '../knowledge-sync.ts';
import { responses } from './describe.ts';
import { aboutOf, freshness, ReadQuery, sendExecuted, sendProblem, writeHeaders } from './http.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';
import { searchCursor, searchPlace } from './search-page.ts';
import { contentBodyLimit } from './work-routes.ts';

const Params = Type.Object({ id: MemoryId });
const Written = Type.Object({
  memory_id: MemoryId,
  version: VersionId,
  clock: Clock,
  position: Type.Integer(),
});
const { memory_id: _, ...ofVersion } = NewMemory.properties;
const Changing = closed(Type.Object(ofVersion));

const version = {
  version: VersionId,
  clock: Clock,
  author: Type.String({ description: 'Who wrote it: `node:<id>` or `operator:<prefix>`' }),
  category: Category,
  tags: Tags,
  deleted: Type.Boolean({ description: 'It says that the memory is no more' }),
  ...Type.Partial(MemoryContent).properties,
  content_state: Type.Enum(['shown', 'erased', 'withheld', 'none', 'long'], {
    description:
      '`erased`: the key that sealed it was destroyed; `withheld`: who governs may know of it, no more; `none`: of a deletion; `long`: over 16 KiB, to be asked for by itself',
  }),
  content_hash: Type.Union([Type.String(), Type.Null()], {
    description: 'SHA-256 of title, content and provenance in canonical JSON, hex',
  }),
  bytes: Type.Integer(),
  foreign: Type.Optional(Foreign),
};
const Listed = Type.Object({
  memory_id: MemoryId,
  owner: Type.String({ description: 'Whose it is, and whose rules say who may have it' }),
  ...version,
  created_at: Type.String(),
  updated_at: Type.String(),
});
const Shown = Type.Object({
  ...Listed.properties,
  concurrent: Type.Array(Type.Object(version), {
    description: 'Versions that did not know of the one that is shown, nor that of them; the highest clock first',
  }),
});
const One = Type.Object({
  ...ReadQuery.properties,
  version: Type.Optional(VersionId),
});
const VersionPage = Type.Object({
  versions: Type.Array(Type.Object({ ...version, written_at: Type.String() })),
  next_cursor: NextCursor,
  ...freshness,
});
const Search = Type.Object({
  ...PageQuery.properties,
  q: Type.Optional(
    Type.String({
      maxLength: 512,
      description:
        'Words, all of which must be there; `"a phrase"`, `pre*`, `-without`, `a OR b`. Left out: the last changed first',
    }),
  ),
  category: Type.Optional(Category),
  tag: Type.Optional(Type.Union([Tag, Type.Array(Tag, { maxItems: 32 })], { description: 'Repeated: all of them' })),
  owner: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
});
const tags = ['memories'];

export function memoryRoutes(api: FastifyInstance, knowledge: KnowledgeSync, identity: IdentityAuth): void {
  writeRoutes(api, knowledge);
  searchRoute(api, knowledge);
  readRoutes(api, knowledge);
  removeRoutes(api, knowledge, identity);
}

function writeRoutes(api: FastifyInstance, { memories }: KnowledgeSync): void {
  api.post<{ Body: NewMemory }>(
    '/memory/store',
    {
      bodyLimit: contentBodyLimit,
      config: { access: 'act' },
      schema: {
        operationId: 'storeMemory',
        summary: 'Stores a memory, or a new version of one',
        description:
          'It belongs to whoever stores it first, and goes to nobody else unless a rule of theirs says so. Whom such a rule lets edit it may write new versions, but leaves category and tags as they are.',
        tags,
        headers: writeHeaders,
        body: closed(NewMemory),
        response: responses(201, Written, 'not_found', 'sovereignty_refused', 'limit_reached', 'conflict'),
      },
    },
    async (request, reply) => {
      const done = await memories.store(request.body, request.identity, aboutOf(request));
      return sendExecuted(reply, request, done, (written) => written, 201);
    },
  );

  api.put<{ Params: Static<typeof Params>; Body: Static<typeof Changing> }>(
    '/memory/:id',
    {
      bodyLimit: contentBodyLimit,
      config: { access: 'act' },
      schema: {
        operationId: 'changeMemory',
        summary: 'Writes a new version of a memory that is there',
        tags,
        params: Params,
        headers: writeHeaders,
        body: Changing,
        response: responses(200, Written, 'not_found', 'sovereignty_refused', 'limit_reached', 'conflict'),
      },
    },
    async (request, reply) => {
      const memory = { ...request.body, memory_id: request.params.id };
      const done = await memories.store(memory, request.identity, aboutOf(request), true);
      return sendExecuted(reply, request, done, (written) => written);
    },
  );
}

function searchRoute(api: FastifyInstance, { reading }: KnowledgeSync): void {
  api.get<{ Querystring: Static<typeof Search> }>(
    '/memory/search',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'searchMemories',
        summary: 'Memories by their words, category, tags and owner: of those that whoever asks may see',
        description: 'What is looked at is the version that is shown of each.',
        tags,
        querystring: Search,
        response: responses(
          200,
          Type.Object({ memories: Type.Array(Listed), next_cursor: NextCursor, ...freshness }),
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { q = '', min_position: minPosition, limit = defaultLimit, cursor, category, tag, owner } = request.query;
      const filter = { category, owner, tags: typeof tag === 'string' ? [tag] : tag };
      if (q.trim() === '') {
        const place = placeOf(cursor, (text) => /^[1-9]\d{0,15}$/.test(text));
        if (isRefusal(place)) return sendProblem(reply, request, place);
        const before = place === '' ? Number.MAX_SAFE_INTEGER : Math.min(Number(place), Number.MAX_SAFE_INTEGER);
        const { value, ...fresh } = await reading.list(filter, request.identity, { minPosition, before, limit });
        const next_cursor = value.next === undefined ? null : Buffer.from(String(value.next)).toString('base64url');
        return reply.send({ memories: value.memories, next_cursor, ...fresh });
      }
      const after = searchPlace(cursor);
      if (isRefusal(after)) return sendProblem(reply, request, after);
      const found = await reading.search(q, filter, request.identity, { minPosition, after, limit });
      if (isRefusal(found)) return sendProblem(reply, request, found);
      const { value, ...fresh } = found;
      const next_cursor = value.next ? searchCursor(value.next) : null;
      return reply.send({ memories: value.memories, next_cursor, ...fresh });
    },
  );
}

function readRoutes(api: FastifyInstance, { reading }: KnowledgeSync): void {
  api.get<{ Params: Static<typeof Params>; Querystring: Static<typeof One> }>(
    '/memory/:id',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'readMemory',
        summary:
          'One memory: the version with the highest clock, and those that are concurrent with it; or the version that is named',
        tags,
        params: Params,
        querystring: One,
        response: responses(200, Type.Object({ memory: Shown, ...freshness }), 'not_found'),
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const { min_position: minPosition, version: wanted } = request.query;
      const asked = { minPosition, version: wanted };
      const { value: memory, ...fresh } = await reading.one(id, request.identity, asked);
      return memory ? reply.send({ memory, ...fresh }) : sendProblem(reply, request, unknown(id));
    },
  );

  api.get<{ Params: Static<typeof Params>; Querystring: Static<typeof PageQuery> }>(
    '/memory/:id/versions',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'listMemoryVersions',
        summary: 'What each version of a memory said, the newest first: of those that whoever asks may see',
        tags,
        params: Params,
        querystring: PageQuery,
        response: responses(200, VersionPage, 'not_found', 'cursor_invalid'),
      },
    },
    async (request, reply) => {
      const { min_position: minPosition, limit = defaultLimit, cursor } = request.query;
      const before = placeOf(cursor, (text) => /^\d{15}-\d{6}-/.test(text));
      if (isRefusal(before)) return sendProblem(reply, request, before);
      const { id } = request.params;
      const page = { minPosition, before, limit };
      const { value: versions, ...fresh } = await reading.versions(id, request.identity, page);
      if (!versions) return sendProblem(reply, request, unknown(id));
      return reply.send({ versions, next_cursor: cursorAfter(versions, limit, ({ clock }) => clock), ...fresh });
    },
  );
}

function removeRoutes(api: FastifyInstance, { memories }: KnowledgeSync, identity: IdentityAuth): void {
  api.delete<{ Params: Static<typeof Params> }>(
    '/memory/:id',
    {
      config: { access: 'act' },
      schema: {
        operationId: 'deleteMemory',
        summary:
          'Says that a memory is no more, and asks whoever holds copies to let go of them: by the owner, or who governs',
        tags,
        params: Params,
        headers: writeHeaders,
        response: responses(200, Written, 'not_found', 'sovereignty_refused', 'conflict'),
      },
    },
    async (request, reply) => {
      const done = await memories.remove(request.params.id, request.identity, aboutOf(request));
      return sendExecuted(reply, request, done, (written) => written);
    },
  );

  api.delete(
    '/memory',
    {
      config: { access: 'act' },
      schema: {
        operationId: 'eraseMemories',
        summary:
          'Destroys the key of all memories of whoever asks: what they said can be read nowhere in the hub again',
        description:
          'In the log and its backups too. What is stored later has another key. Holders of copies are asked to let go of them.',
        tags,
        headers: writeHeaders,
        response: responses(200, Type.Object({ keys: Type.Integer(), position: Type.Integer() }), 'conflict'),
      },
    },
    async (request, reply) => {
      const subject = memoryKey(actorOf(request.identity));
      const done = await identity.erase(subject, aboutOf(request));
      return sendExecuted(reply, request, done, (erased) => erased);
    },
  );
}

function unknown(id: string) {
  return refuse('not_found', `there is no memory ${id}`);
}
