/** What is said of an input that does not fit: the place that is wrong, of the shape that was meant. */
import { Type } from 'typebox';
import { expect, it } from 'vitest';
import { isRefusal } from '../src/errors.ts';
import { checker } from '../src/input.ts';
import { clientPackets, closed } from '../src/protocol.ts';

const message = checker(clientPackets['federation:message'].packet);
const sync = checker(clientPackets['federation:knowledge:sync'].packet);

function said(answer: unknown): string {
  return isRefusal(answer) ? answer.detail : 'nothing';
}

it.each([
  ['a name of a channel', { to: { channel: 'ü' } }, /^\/to\/channel: does not fit: Name of a channel/],
  ['a node that is a list', { to: { node: ['ada'] } }, /^\/to\/node: must be string$/],
  ['everyone by another word', { to: { everyone: false } }, /^\/to\/everyone: must be true$/],
  ['two addresses', { to: { node: 'ada', channel: 'news' } }, /^\/to\/(node|channel): is not known here$/],
  ['a member too many', { to: { node: 'ada' }, ttl: 5 }, /^\/ttl: is not known here$/],
])('names the place of the shape that was meant: %s', (_what, packet, detail) => {
  expect(said(message({ content: 1, ...packet }))).toMatch(detail);
});

it.each([
  ['since a position below zero', { mode: 'incremental', since: -1 }, /^\/scope\/since: must be >= 0$/],
  ['since nothing', { mode: 'incremental' }, /^\/scope: must have required properties since$/],
  ['tags that are none', { mode: 'targeted', tags: 'bread' }, /^\/scope\/tags: must be array$/],
])('knows a shape by the word that names it: %s', (_what, scope, detail) => {
  expect(said(sync({ direction: 'pull', scope }))).toMatch(detail);
});

it('names all words that would do', () => {
  const answer = sync({ direction: 'up', scope: { mode: 'full' } });
  expect(said(answer)).toBe('/direction: must be one of "pull", "push", "both"');
});

it('names eight places at most', () => {
  const check = checker(closed(Type.Object({ all: Type.Array(Type.String()) })));
  const answer = check({ all: Array.from({ length: 100 }, (_, at) => at) });
  expect(isRefusal(answer) && answer.extra?.errors).toHaveLength(8);
});
