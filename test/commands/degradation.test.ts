/** What replicas say of their level, and what administrators may order. */
import { it } from 'vitest';
import {
  changeLevel,
  degradationOrder,
  giveOrder,
  liftOrder,
  longestOrderMs,
  replicaLevel,
} from '../../src/commands/degradation.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import type { Level } from '../../src/events/degradation.ts';
import { given, now } from './given.ts';

const changed = (from: Level, to: Level): DomainEvent => ({
  type: 'degradation.changed',
  data: { replica: 'r1', from, to, cause: 'load', signals: [{ signal: 'heap', value: 90, level: to }] },
});
const say = (to: Level, again = false) => ({
  replica: 'r1',
  to,
  cause: 'load' as const,
  signals: [{ signal: 'heap' as const, value: 90, level: to }],
  again,
});
const iso = (ms: number) => new Date(ms).toISOString();
const ordered = (until: number): DomainEvent => ({
  type: 'degradation.ordered',
  data: { level: 'core', until: iso(until) },
});

it('a change tells from where to where, and nothing is said when nothing changed', () => {
  given(replicaLevel).when(changeLevel, say('reduced')).gives(changed('normal', 'reduced'));
  given(replicaLevel, changed('normal', 'core'))
    .when(changeLevel, say('essential'))
    .gives(changed('core', 'essential'));
  given(replicaLevel, changed('normal', 'core')).when(changeLevel, say('core')).gives();
});

it('it is said again on request, unless all is normal', () => {
  given(replicaLevel, changed('normal', 'core')).when(changeLevel, say('core', true)).gives(changed('core', 'core'));
  given(replicaLevel, changed('core', 'normal')).when(changeLevel, say('normal', true)).gives();
});

it('an order counts until its time, and takes the place of the one before', () => {
  const until = iso(now + 60_000);
  given(degradationOrder, ordered(now + 5_000))
    .when(giveOrder, { level: 'reduced', until, reason: 'a move' })
    .gives({ type: 'degradation.ordered', data: { level: 'reduced', until, reason: 'a move' } });
});

it('an order that is over before it begins, that never ends or that has no time is refused', () => {
  for (const until of [iso(now), iso(now - 1), iso(now + longestOrderMs + 1), 'tomorrow'])
    given(degradationOrder).when(giveOrder, { level: 'core', until }).refused('invalid_input');
  given(degradationOrder)
    .when(giveOrder, { level: 'core', until: iso(now + longestOrderMs) })
    .answers({ level: 'core', until: iso(now + longestOrderMs) });
});

it('only an order that counts can be lifted', () => {
  given(degradationOrder, ordered(now + 1))
    .when(liftOrder, {})
    .gives({ type: 'degradation.order-lifted', data: {} });
  given(degradationOrder, ordered(now)).when(liftOrder, {}).gives();
  given(degradationOrder).when(liftOrder, {}).answers({ lifted: false });
  given(degradationOrder, ordered(now + 1), { type: 'degradation.order-lifted', data: {} })
    .when(liftOrder, {})
    .gives();
});
