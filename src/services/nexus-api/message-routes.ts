/** /send and /messages: what is said, fetched, found again, and what became of it. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { actorOf, type Identity } from '../../doors.ts';
import { isRefusal, refuse } from '../../errors.ts';
import { ChannelName } from '../../events/channel.ts';
import { MessageId } from '../../events/message.ts';
import { NodeId } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import { findTraffic } from '../../projections/traffic.ts';
import { Message, messagePushes, NewMessage } from '../../protocol/messages.ts';
import { closed } from '../../protocol.ts';
import type { IdentityAuth } from '../identity-auth.ts';
import { type MessagePersistence, mailKey } from '../message-persistence.ts';
import type { OfflineQueue } from '../offline-queue.ts';
import { responses } from './describe.ts';
import { goneSignal } from './gone-signal.ts';
import { aboutOf, freshness, ReadQuery, sendExecuted, sendProblem, writeHeaders } from './http.ts';
import { countStates, MessageView, mostRecipients, recipientsOf } from './message-view.ts';
import { cursorAfter, cursorOf, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';
import { searchCursor, searchPlace } from './search-page.ts';
import { contentBodyLimit } from './work-routes.ts';

const Params = Type.Object({ id: MessageId });
const List = Type.Object({
  ...PageQuery.properties,
  peer: Type.Optional(NodeId),
  channel: Type.Optional(ChannelName),
  q: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 512,
      description: 'Words that all are in it; `"a phrase"`, `begin*`, `-without`, `one OR other`. The best come first',
    }),
  ),
});

export interface MessageServices {
  readonly messages: MessagePersistence;
  readonly queue: OfflineQueue;
  readonly identity: IdentityAuth;
}

export function messageRoutes(api: FastifyInstance, hub: Hub, services: MessageServices): void {
  sendRoute(api, services);
  historyRoute(api, hub, services);
  mailRoutes(api, services);
  oneMessageRoutes(api, hub, services);
  eraseRoute(api, services);
  trafficRoute(api, hub);
}

function sendRoute(api: FastifyInstance, { messages }: MessageServices): void {
  api.post<{ Body: Static<typeof NewMessage> }>(
    '/send',
    {
      bodyLimit: contentBodyLimit,
      config: { access: 'act' },
      schema: {
        operationId: 'sendMessage',
        summary:
          'Sends a message to a node, an entity, a channel or everyone: kept until it is fetched, or for those only who are there now',
        tags: ['messages'],
        headers: writeHeaders,
        body: closed(NewMessage),
        response: responses(
          201,
          Type.Object({
            message_id: MessageId,
            position: Type.Optional(Type.Integer({ description: 'Of what is kept' })),
            delivered: Type.Optional(Type.Integer({ description: 'Of what is not kept: how many got it' })),
            without: Type.Optional(Type.Array(NodeId, { description: 'Whom it is not for: their mailboxes are full' })),
          }),
          'not_found',
          'no_target',
          'queue_full',
          'conflict',
        ),
      },
    },
    async (request, reply) => {
      const taken = await messages.send(request.body, request.identity, aboutOf(request));
      return isRefusal(taken) ? sendProblem(reply, request, taken) : reply.code(201).send(taken);
    },
  );
}

function historyRoute(api: FastifyInstance, hub: Hub, { messages }: MessageServices): void {
  api.get<{ Querystring: Static<typeof List> }>(
    '/messages',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'listMessages',
        summary:
          'Messages to and from whoever asks, the newest first, or those that have the words; 4 MiB a page at most',
        tags: ['messages'],
        querystring: List,
        response: responses(
          200,
          Type.Object({ messages: Type.Array(Message), next_cursor: NextCursor, ...freshness }),
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { q, min_position, limit = defaultLimit, cursor, peer, channel } = request.query;
      const filter = { peer, channel };
      if (q !== undefined) {
        const search = { ...filter, words: q, limit, cursor, minPosition: min_position };
        const found = await searched(hub, messages, request.identity, search);
        return isRefusal(found) ? sendProblem(reply, request, found) : reply.send(found);
      }
      const place = placeOf(cursor, (text) => /^[1-9]\d{0,15}$/.test(text));
      if (isRefusal(place)) return sendProblem(reply, request, place);
      const before = place === '' ? Number.MAX_SAFE_INTEGER : Math.min(Number(place), Number.MAX_SAFE_INTEGER);
      const asked = { before, limit, minPosition: min_position };
      const { rows, before: next, ...fresh } = await messages.history(request.identity, filter, asked);
      const next_cursor = next === undefined ? null : cursorOf(String(next));
      return reply.send({ messages: await Promise.all(rows.map((row) => messages.open(row))), next_cursor, ...fresh });
    },
  );
}

interface Search {
  readonly peer: string | undefined;
  readonly channel: string | undefined;
  readonly words: string;
  readonly limit: number;
  readonly cursor: string | undefined;
  readonly minPosition: number | undefined;
}

async function searched(
  hub: Hub,
  messages: MessagePersistence,
  by: Identity,
  { peer, channel, words, limit, cursor, minPosition }: Search,
) {
  const after = searchPlace(cursor);
  if (isRefusal(after)) return after;
  const reached = minPosition === undefined || (await hub.search.reached(minPosition));
  const found = await messages.search(by, { peer, channel }, { words, after, limit });
  if (isRefusal(found)) return found;
  return {
    messages: await Promise.all(found.rows.map((row) => messages.open(row))),
    next_cursor: found.next === undefined ? null : searchCursor(found.next),
    position: hub.search.position,
    stale: !reached,
  };
}

function mailRoutes(api: FastifyInstance, { queue }: MessageServices): void {
  const Pending = Type.Object({
    after: Type.Optional(Type.Integer({ minimum: 0, description: 'A position: only what came later' })),
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 100, default: 50, description: 'At most so many, and 4 MiB of them' }),
    ),
    wait_ms: Type.Optional(Type.Integer({ minimum: 0, maximum: 30_000 })),
  });
  const Mail = Type.Object({
    packet: Type.String({ description: 'What it is: the name of the packet that nodes with a socket get' }),
    position: Type.Integer(),
    data: Type.Union([messagePushes['federation:message'], messagePushes['federation:message:state'], Type.Unknown()]),
  });
  api.get<{ Querystring: Static<typeof Pending> }>(
    '/messages/pending',
    {
      config: { access: 'node' },
      schema: {
        operationId: 'fetchMail',
        summary:
          'Mail of the node that it has not acknowledged, the oldest first: messages, ends of tasks, what became of its messages',
        tags: ['messages'],
        querystring: Pending,
        response: responses(200, Type.Object({ mail: Type.Array(Mail) })),
      },
    },
    async (request, reply) => {
      const { identity, query } = request;
      if (identity.kind !== 'node') return sendProblem(reply, request, nodesOnly);
      const { after = 0, limit = 50, wait_ms: waitMs = 0 } = query;
      const mail = await queue.fetch(identity.nodeId, { after, limit, waitMs, signal: goneSignal(reply) });
      return reply.send({ mail: mail.map(({ name, position, packet }) => ({ packet: name, position, data: packet })) });
    },
  );

  const Through = Type.Object({ through: Type.Integer({ minimum: 0 }) });
  api.post<{ Body: Static<typeof Through> }>(
    '/messages/ack',
    {
      config: { access: 'node' },
      schema: {
        operationId: 'acknowledgeMail',
        summary: 'The node has all of its mail up to a position',
        tags: ['messages'],
        headers: writeHeaders,
        body: closed(Through),
        response: responses(200, Type.Object({ ...Through.properties, position: Type.Integer() }), 'conflict'),
      },
    },
    async (request, reply) => {
      const { identity, body } = request;
      if (identity.kind !== 'node') return sendProblem(reply, request, nodesOnly);
      const { command: _, ...about } = aboutOf(request); // acknowledged twice is acknowledged once
      const done = await queue.acknowledge(identity.nodeId, body.through, about);
      return sendExecuted(reply, request, done, (acknowledged) => acknowledged);
    },
  );
}

function oneMessageRoutes(api: FastifyInstance, hub: Hub, { messages }: MessageServices): void {
  api.get<{ Params: Static<typeof Params>; Querystring: Static<typeof ReadQuery> }>(
    '/messages/:id',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'readMessage',
        summary: 'One message, and what became of it: for those whom it concerns, until a day after it expired',
        tags: ['messages'],
        params: Params,
        querystring: ReadQuery,
        response: responses(200, Type.Object({ message: MessageView }), 'not_found'),
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const found = await messages.find(id, request.identity, request.query.min_position);
      if (!found) return sendProblem(reply, request, refuse('not_found', `there is no message ${id}`));
      const { row } = found;
      const recipients = recipientsOf(found);
      const expired = Date.parse(row.expires_at) <= hub.kernel.now();
      const message = {
        ...(await messages.open(row)),
        ...(expired && { content: null, expired }),
        recipients: recipients.slice(0, mostRecipients),
        states: countStates(recipients),
        ...(row.without && { without: row.without }),
      };
      return reply.send({ message });
    },
  );

  api.post<{ Params: Static<typeof Params> }>(
    '/messages/:id/read',
    {
      config: { access: 'node' },
      schema: {
        operationId: 'markMessageRead',
        summary: 'The node has read it; its sender can see that',
        tags: ['messages'],
        params: Params,
        headers: writeHeaders,
        response: responses(200, Type.Object({ position: Type.Integer() }), 'not_found', 'conflict'),
      },
    },
    async (request, reply) => {
      const { identity, params } = request;
      if (identity.kind !== 'node') return sendProblem(reply, request, nodesOnly);
      const [done] = await messages.read([params.id], identity.nodeId, aboutOf(request));
      return sendExecuted(reply, request, done!, () => ({})); // one for each that was asked for
    },
  );

  const Refusing = closed(
    Type.Union([Type.Object({ reason: Type.Optional(Type.String({ minLength: 1, maxLength: 512 })) }), Type.Null()]),
  );
  api.post<{ Params: Static<typeof Params>; Body: Static<typeof Refusing> }>(
    '/messages/:id/refuse',
    {
      config: { access: 'node' },
      schema: {
        operationId: 'refuseMessage',
        summary: 'The node will not have it; its sender is told',
        tags: ['messages'],
        params: Params,
        headers: writeHeaders,
        body: Refusing,
        response: responses(200, Type.Object({ position: Type.Integer() }), 'not_found', 'message_over', 'conflict'),
      },
    },
    async (request, reply) => {
      const { identity, params, body } = request;
      if (identity.kind !== 'node') return sendProblem(reply, request, nodesOnly);
      const done = await messages.refuse(params.id, identity.nodeId, body?.reason ?? 'declined', aboutOf(request));
      return sendExecuted(reply, request, done, () => ({}));
    },
  );
}

function eraseRoute(api: FastifyInstance, { identity }: MessageServices): void {
  api.delete(
    '/messages',
    {
      config: { access: 'node', sensitive: true },
      schema: {
        operationId: 'eraseMessages',
        summary: 'Destroys the key of the node’s mailbox: what was sent to it so far can be read by nobody any more',
        tags: ['messages'],
        headers: writeHeaders,
        response: responses(200, Type.Object({ keys: Type.Integer(), position: Type.Integer() }), 'conflict'),
      },
    },
    async (request, reply) => {
      if (request.identity.kind !== 'node') return sendProblem(reply, request, nodesOnly);
      const subject = mailKey(actorOf(request.identity));
      return sendExecuted(reply, request, await identity.erase(subject, aboutOf(request)), (erased) => erased);
    },
  );
}

function trafficRoute(api: FastifyInstance, hub: Hub): void {
  const Count = Type.Object({
    from: Type.String(),
    to: Type.String(),
    minute: Type.String(),
    messages: Type.Integer(),
    bytes: Type.Integer(),
  });
  api.get<{ Querystring: Static<typeof PageQuery> }>(
    '/messages/traffic',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'listTraffic',
        summary: 'How many messages that are not kept went from whom to whom, by the minute, the newest first',
        tags: ['messages'],
        querystring: PageQuery,
        response: responses(
          200,
          Type.Object({ traffic: Type.Array(Count), next_cursor: NextCursor, ...freshness }),
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { min_position, limit = defaultLimit, cursor } = request.query;
      const place = placeOf(cursor, (text) => /^\d{16}$/.test(text));
      if (isRefusal(place)) return sendProblem(reply, request, place);
      const { value: rows, ...fresh } = await hub.views.read(min_position, (db) => findTraffic(db, place, limit));
      const next_cursor = cursorAfter(rows, limit, ({ counted }) => counted);
      const traffic = rows.map(({ sender: from, box: to, minute, messages, bytes }) => ({
        from,
        to,
        minute,
        messages,
        bytes,
      }));
      return reply.send({ traffic, next_cursor, ...fresh });
    },
  );
}

const nodesOnly = refuse('forbidden', 'mail is of nodes: show the token of a node');
