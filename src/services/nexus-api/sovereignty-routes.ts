/** /knowledge/sovereignty and /knowledge/withdrawals: what each shares and takes, who holds copies, and what became of those asked back. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { isRefusal, refuse } from '../../errors.ts';
import { Holder, mostMoved } from '../../events/knowledge.ts';
import { MemoryId, VersionId } from '../../events/memory.ts';
import { Sovereignty, SovereigntySubject } from '../../events/sovereignty.ts';
import type { HoldingRow } from '../../projections/holdings.ts';
import { closed } from '../../protocol.ts';
import type { KnowledgeSync } from '../knowledge-sync.ts';
import { responses } from './describe.ts';
import { aboutOf, freshness, sendExecuted, sendProblem, writeHeaders } from './http.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';

const Params = Type.Object({ node: SovereigntySubject });
const Memory = Type.Object({ id: MemoryId });
const Policy = Type.Object({
  subject: SovereigntySubject,
  version: Type.Integer({ description: 'Counts up from 1; 0: nothing was said yet, and nothing is shared or taken' }),
  ...Sovereignty.properties,
  declared_at: Type.Union([Type.String(), Type.Null()]),
});
const Trial = Type.Object({
  effects: Type.Array(
    Type.Object({
      receiver: SovereigntySubject,
      goes: Type.Integer({ description: 'Memories of which a copy may go there that may not now' }),
      ceases: Type.Integer({ description: 'Memories of which copies would be asked back' }),
      newly_read: Type.Integer({ description: 'Memories that it may read and may not now' }),
      no_longer_read: Type.Integer(),
    }),
    { description: 'Those for whom anything changes' },
  ),
  named: Type.Array(
    Type.Object({ receiver: SovereigntySubject, memory_id: MemoryId, change: Type.Enum(['goes', 'ceases']) }),
    { description: 'The first hundred copies' },
  ),
  complete: Type.Boolean({
    description: 'False: there was more to judge than a trial may, and the counts are too low',
  }),
});
const Held = Type.Object({
  holder: Holder,
  memory_id: MemoryId,
  version: VersionId,
  subject: Type.String({ description: 'Whose rule let it go there' }),
  rule: Type.String(),
  policy_version: Type.Integer(),
  pass_on: Type.Boolean(),
  until: Type.Union([Type.String(), Type.Null()], { description: 'Until when it may be kept' }),
  state: Type.Enum(['held', 'asked', 'honoured', 'declined', 'unreachable'], {
    description:
      '`asked`: asked back, and not answered yet; `honoured`: let go of; `declined`: it would not; `unreachable`: it is no member any more',
  }),
  cause: Type.Union([Type.Enum(['policy', 'deleted', 'kept_long_enough', 'erased']), Type.Null()], {
    description: 'Why it was asked back',
  }),
  moved_at: Type.String(),
  asked_at: Type.Union([Type.String(), Type.Null()]),
  answered_at: Type.Union([Type.String(), Type.Null()]),
});
const Withdrawals = Type.Object({
  ...PageQuery.properties,
  subject: Type.Optional(SovereigntySubject),
  holder: Type.Optional(Holder),
});
const Answered = closed(
  Type.Object({
    memory_ids: Type.Array(MemoryId, { minItems: 1, maxItems: mostMoved }),
    outcome: Type.Enum(['honoured', 'declined']),
  }),
);
const tags = ['knowledge'];
/** What a node shares and takes names whom it trusts: that is its own business, and that of who governs. */
const theirs = { access: 'govern', itself: true } as const;

export function sovereigntyRoutes(api: FastifyInstance, knowledge: KnowledgeSync): void {
  policyRoutes(api, knowledge);
  holderRoutes(api, knowledge);
}

function policyRoutes(api: FastifyInstance, { sovereignty }: KnowledgeSync): void {
  api.get<{ Params: Static<typeof Params> }>(
    '/knowledge/sovereignty/:node',
    {
      config: theirs,
      schema: {
        operationId: 'readSovereignty',
        summary: 'What a node shares and takes: for itself, and who governs; @federation for what belongs to operators',
        tags,
        params: Params,
        response: responses(200, Type.Object({ sovereignty: Policy }), 'not_found'),
      },
    },
    async (request, reply) => {
      const { node } = request.params;
      const said = sovereignty.read(node);
      if (isRefusal(said)) return sendProblem(reply, request, said);
      const { policy_version: version = 0, shares = [], takes = [], declared_at = null } = said ?? {};
      return reply.send({ sovereignty: { subject: node, version, shares, takes, declared_at } });
    },
  );

  api.put<{ Params: Static<typeof Params>; Body: Sovereignty }>(
    '/knowledge/sovereignty/:node',
    {
      config: theirs,
      schema: {
        operationId: 'declareSovereignty',
        summary: 'Says what a node shares and takes from now on, all of it: by itself, or who governs',
        description:
          'What no rule allows is forbidden. Copies that none allows any more are asked back. The same again changes nothing.',
        tags,
        params: Params,
        headers: writeHeaders,
        body: closed(Sovereignty),
        response: responses(
          200,
          Type.Object({ subject: SovereigntySubject, version: Type.Integer(), position: Type.Integer() }),
          'not_found',
          'conflict',
        ),
      },
    },
    async (request, reply) => {
      const { node } = request.params;
      const done = await sovereignty.declare(node, request.body, aboutOf(request));
      return sendExecuted(reply, request, done, ({ version }) => ({ subject: node, version }));
    },
  );

  api.post<{ Params: Static<typeof Params>; Body: Sovereignty }>(
    '/knowledge/sovereignty/:node/try',
    {
      config: theirs,
      schema: {
        operationId: 'trySovereignty',
        summary: 'What a policy would change if it counted: nothing is written',
        tags,
        params: Params,
        body: closed(Sovereignty),
        response: responses(200, Trial, 'not_found', 'views_unavailable'),
      },
    },
    async (request, reply) => {
      const { node } = request.params;
      const trial = await sovereignty.try(node, request.body);
      return isRefusal(trial) ? sendProblem(reply, request, trial) : reply.send(trial);
    },
  );
}

function holderRoutes(api: FastifyInstance, { holdings, answer }: KnowledgeSync): void {
  api.get<{ Params: Static<typeof Memory>; Querystring: Static<typeof PageQuery> }>(
    '/memory/:id/holders',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'listMemoryHolders',
        summary: 'Who holds copies of a memory, and by which rule: for its owner, and who governs',
        tags,
        params: Memory,
        querystring: PageQuery,
        response: responses(
          200,
          Type.Object({ holders: Type.Array(Held), next_cursor: NextCursor, ...freshness }),
          'not_found',
          'forbidden',
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { min_position: minPosition, limit = defaultLimit, cursor } = request.query;
      const after = placeOf(cursor, (text) => /^(?:peer:)?[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(text));
      if (isRefusal(after)) return sendProblem(reply, request, after);
      const page = { minPosition, after, limit };
      const { value: rows, ...fresh } = await holdings.holdersOf(request.params.id, request.identity, page);
      if (isRefusal(rows)) return sendProblem(reply, request, rows);
      const next_cursor = cursorAfter(rows, limit, ({ holder }) => holder);
      return reply.send({ holders: rows.map(shown), next_cursor, ...fresh });
    },
  );

  api.get<{ Querystring: Static<typeof Withdrawals> }>(
    '/knowledge/withdrawals',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'listWithdrawals',
        summary: 'Copies that were asked back, the last first, and what became of them',
        description:
          'Those of one’s own, or with `holder` those that one holds. Who governs sees all. A copy that moved again since is not among them.',
        tags,
        querystring: Withdrawals,
        response: responses(
          200,
          Type.Object({ withdrawals: Type.Array(Held), next_cursor: NextCursor, ...freshness }),
          'forbidden',
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { min_position: minPosition, limit = defaultLimit, cursor, ...filter } = request.query;
      const place = placeOf(cursor, (text) => /^[1-9]\d{0,15} [A-Za-z0-9._:@/-]{1,200}$/.test(text));
      if (isRefusal(place)) return sendProblem(reply, request, place);
      const page = { minPosition, before: placeBefore(place), limit };
      const answered = await holdings.withdrawals(filter, request.identity, page);
      if (isRefusal(answered)) return sendProblem(reply, request, answered);
      const { value: rows, ...fresh } = answered;
      const next_cursor = cursorAfter(rows, limit, ({ asked_position, holding }) => `${asked_position} ${holding}`);
      return reply.send({ withdrawals: rows.map(shown), next_cursor, ...fresh });
    },
  );

  api.post<{ Body: Static<typeof Answered> }>(
    '/knowledge/withdrawals/answer',
    {
      config: { access: 'node' },
      schema: {
        operationId: 'answerWithdrawal',
        summary: 'A node says what became of copies that it was asked for; nodes with a socket say so there',
        tags,
        headers: writeHeaders,
        body: Answered,
        response: responses(200, Type.Object({ position: Type.Integer() }), 'views_unavailable'),
      },
    },
    async (request, reply) => {
      const { identity, body } = request;
      if (identity.kind !== 'node') return sendProblem(reply, request, refuse('forbidden', 'only nodes hold copies'));
      const { command: _, ...about } = aboutOf(request); // said twice it is the same
      const position = await answer(identity.nodeId, body.memory_ids, body.outcome, about);
      return reply.send({ position });
    },
  );
}

function placeBefore(place: string): { position: number; holding: string } {
  const [position, holding = ''] = place.split(' ');
  return place === '' ? { position: Number.MAX_SAFE_INTEGER, holding } : { position: Number(position), holding };
}

function shown({
  holding: _,
  pass_on,
  moved_position: _moved,
  asked_position: _asked,
  ...row
}: HoldingRow): Static<typeof Held> {
  return { ...row, pass_on: pass_on === 1 };
}
