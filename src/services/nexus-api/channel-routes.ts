/** /channels: who hears what is said where. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { isRefusal } from '../../errors.ts';
import { ChannelName } from '../../events/channel.ts';
import { NodeId } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import { findChannels, findMembers } from '../../projections/channels.ts';
import type { MessagePersistence } from '../message-persistence.ts';
import { responses } from './describe.ts';
import { aboutOf, freshness, sendExecuted, sendProblem, writeHeaders } from './http.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';

const Name = Type.Object({ name: ChannelName });
const Membership = Type.Object({ name: ChannelName, node: NodeId });
const name = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const Written = Type.Object({ position: Type.Integer() });

export function channelRoutes(api: FastifyInstance, hub: Hub, { channels }: MessagePersistence): void {
  api.get<{ Querystring: Static<typeof PageQuery> }>(
    '/channels',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'listChannels',
        summary: 'The channels that have members, by name',
        tags: ['messages'],
        querystring: PageQuery,
        response: responses(
          200,
          Type.Object({
            channels: Type.Array(Type.Object({ channel: ChannelName, members: Type.Integer() })),
            next_cursor: NextCursor,
            ...freshness,
          }),
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { min_position, limit = defaultLimit, cursor } = request.query;
      const after = placeOf(cursor, (text) => name.test(text));
      if (isRefusal(after)) return sendProblem(reply, request, after);
      const { value: rows, ...fresh } = await hub.views.read(min_position, (db) => findChannels(db, after, limit));
      const next_cursor = cursorAfter(rows, limit, ({ channel }) => channel);
      return reply.send({ channels: rows, next_cursor, ...fresh });
    },
  );

  api.get<{ Params: Static<typeof Name>; Querystring: Static<typeof PageQuery> }>(
    '/channels/:name',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'readChannel',
        summary: 'Who hears a channel, and since when',
        tags: ['messages'],
        params: Name,
        querystring: PageQuery,
        response: responses(
          200,
          Type.Object({
            members: Type.Array(Type.Object({ node_id: NodeId, joined_at: Type.String() })),
            next_cursor: NextCursor,
            ...freshness,
          }),
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { min_position, limit = defaultLimit, cursor } = request.query;
      const after = placeOf(cursor, (text) => name.test(text));
      if (isRefusal(after)) return sendProblem(reply, request, after);
      const { value: rows, ...fresh } = await hub.views.read(min_position, (db) =>
        findMembers(db, request.params.name, after, limit),
      );
      const next_cursor = cursorAfter(rows, limit, ({ node_id }) => node_id);
      return reply.send({ members: rows, next_cursor, ...fresh });
    },
  );

  api.put<{ Params: Static<typeof Membership> }>(
    '/channels/:name/members/:node',
    {
      config: { access: 'govern', itself: true },
      schema: {
        operationId: 'joinChannel',
        summary: 'The node hears the channel from now on: by itself, or who governs',
        tags: ['messages'],
        params: Membership,
        headers: writeHeaders,
        response: responses(200, Written, 'not_found', 'limit_reached', 'conflict'),
      },
    },
    async (request, reply) => {
      const { params } = request;
      const done = await channels.join(params.name, params.node, aboutOf(request));
      return sendExecuted(reply, request, done, () => ({}));
    },
  );

  api.delete<{ Params: Static<typeof Membership> }>(
    '/channels/:name/members/:node',
    {
      config: { access: 'govern', itself: true },
      schema: {
        operationId: 'leaveChannel',
        summary: 'The node hears the channel no more: by itself, or who governs',
        tags: ['messages'],
        params: Membership,
        headers: writeHeaders,
        response: responses(200, Written, 'not_found', 'conflict'),
      },
    },
    async (request, reply) => {
      const { params, identity } = request;
      const cause = identity.kind === 'node' && identity.nodeId === params.node ? 'itself' : 'operator';
      const done = await channels.leave(params.name, params.node, cause, aboutOf(request));
      return sendExecuted(reply, request, done, () => ({}));
    },
  );
}
