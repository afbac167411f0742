/** What a node may ask: set, changed, cleared, and how many may have limits of their own. */
import { it } from 'vitest';
import { limits, mostOwnLimits, setLimits } from '../../src/commands/limits.ts';
import { given } from './given.ts';

const nodeId = 'ada';
const ask = (own: object, others = 0) => ({ nodeId, limits: own, others });

it('a node gets limits of its own, before it is a member too', () => {
  given(limits)
    .when(setLimits, ask({ requests: 10 }))
    .gives({ type: 'limits.set', data: { node_id: nodeId, limits: { requests: 10 } } });
});

it('they are all of them as from now: what is left out is the default again', () => {
  const before = { type: 'limits.set', data: { node_id: nodeId, limits: { requests: 10, messages: 5 } } } as const;
  const decided = given(limits, before).when(setLimits, ask({ messages: 7 }));
  decided.gives({ type: 'limits.set', data: { node_id: nodeId, limits: { messages: 7 } } });
  decided.answers({ limits: { messages: 7 } });
  given(limits, before)
    .when(setLimits, ask({}))
    .gives({ type: 'limits.set', data: { node_id: nodeId, limits: {} } });
});

it('nothing is written when nothing changes', () => {
  given(limits).when(setLimits, ask({})).gives();
  given(limits, { type: 'limits.set', data: { node_id: nodeId, limits: { requests: 10 } } })
    .when(setLimits, ask({ requests: 10 }))
    .gives();
});

it('a stated number of nodes may have them; those that have may still be changed', () => {
  given(limits)
    .when(setLimits, ask({ requests: 1 }, mostOwnLimits))
    .refused('limit_reached');
  given(limits, { type: 'limits.set', data: { node_id: nodeId, limits: { requests: 10 } } })
    .when(setLimits, ask({ requests: 1 }, mostOwnLimits))
    .gives({ type: 'limits.set', data: { node_id: nodeId, limits: { requests: 1 } } });
});
