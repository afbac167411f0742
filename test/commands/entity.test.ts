import { describe, expect, it } from 'vitest';
import { bury, entity, register, see, seenEveryMs, unregister, update } from '../../src/commands/entity.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import { given, now, past } from './given.ts';

const profile = { display_name: 'Ada', capabilities: ['gpu'], metadata: { tier: { gold: [1, null] } } };
const registered: DomainEvent = {
  type: 'entity.registered',
  data: { entity_id: 'bot', kind: 'ai', node_id: 'ada', profile },
};
const external: DomainEvent = { type: 'entity.registered', data: { ...registered.data, node_id: null } };
const unregistered = (cause: 'owner' | 'operator' | 'node_removed'): DomainEvent => ({
  type: 'entity.unregistered',
  data: { entity_id: 'bot', cause },
});
const seen: DomainEvent = { type: 'entity.seen', data: { entity_id: 'bot' } };
const bot = { entityId: 'bot', owner: 'ada', kind: 'ai', profile } as const;
const ada = { owner: 'ada', governs: false };
const bob = { owner: 'bob', governs: false };
const operator = { owner: null, governs: false };
const governor = { owner: null, governs: true };

describe('an entity', () => {
  it('is registered by a node', () => {
    given(entity).when(register, bot).gives(registered);
    given(entity)
      .when(register, bot)
      .answers({ entity_id: 'bot', kind: 'ai', node_id: 'ada', ...profile });
  });

  it('is registered by an operator, for no node', () => {
    given(entity)
      .when(register, { ...bot, owner: null })
      .gives(external);
  });

  it('is not taken over by another owner, be it a node or the operators', () => {
    for (const owner of ['bob', null])
      given(entity, registered)
        .when(register, { ...bot, owner })
        .refused('entity_id_taken');
    given(entity, external).when(register, bot).refused('entity_id_taken');
  });

  it('is brought up to date when its owner registers it again, with the whole profile', () => {
    const changed = { display_name: 'Ada II' };
    given(entity, registered)
      .when(register, { ...bot, profile: changed })
      .gives({ type: 'entity.updated', data: { entity_id: 'bot', profile: changed } });
  });

  it('that becomes another kind is another entity', () => {
    given(entity, registered)
      .when(register, { ...bot, kind: 'daemon' })
      .gives(unregistered('owner'), { type: 'entity.registered', data: { ...registered.data, kind: 'daemon' } });
  });

  it('registered again as it is was seen', () => {
    given(entity, registered).when(register, bot).gives(seen);
  });

  it('may be registered by anyone once it went', () => {
    given(entity, registered, unregistered('owner'))
      .when(register, { ...bot, owner: 'bob' })
      .gives({ type: 'entity.registered', data: { ...registered.data, node_id: 'bob' } });
  });

  it('changes in its named parts, for its owner or who governs', () => {
    const changes = { description: 'helps' };
    const updated: DomainEvent = {
      type: 'entity.updated',
      data: { entity_id: 'bot', profile: { ...profile, ...changes } },
    };
    for (const by of [ada, governor]) {
      given(entity, registered).when(update, { entityId: 'bot', by, changes }).gives(updated);
    }
    for (const by of [bob, operator]) {
      given(entity, registered).when(update, { entityId: 'bot', by, changes }).refused('forbidden');
    }
    given(entity, external).when(update, { entityId: 'bot', by: operator, changes }).gives(updated);
    given(entity).when(update, { entityId: 'bot', by: governor, changes }).refused('not_found');
  });

  it('is unchanged by changes that change nothing; its owner was seen by it, who governs was not', () => {
    const changes = { display_name: 'Ada' };
    given(entity, registered).when(update, { entityId: 'bot', by: ada, changes }).gives(seen);
    given(entity, registered).when(update, { entityId: 'bot', by: governor, changes }).gives();
  });

  it('is seen at most once in five minutes, by its owner alone', () => {
    const sight = { entityId: 'bot', by: ada };
    given(entity, registered)
      .at(Date.parse(past) + seenEveryMs)
      .when(see, sight)
      .gives(seen);
    given(entity, registered)
      .at(Date.parse(past) + seenEveryMs - 1)
      .when(see, sight)
      .gives();
    given(entity, registered).at(Date.parse(past)).when(see, sight).answers({ recorded: false });
    given(entity, registered, seen)
      .at(Date.parse(past) + 1)
      .when(see, sight)
      .gives();
    for (const by of [bob, operator, governor]) {
      given(entity, registered).when(see, { entityId: 'bot', by }).refused('forbidden');
    }
    given(entity, external).when(see, { entityId: 'bot', by: operator }).gives(seen);
    given(entity, registered, unregistered('owner')).when(see, sight).refused('not_found');
  });

  it('goes by its owner or by who governs, and says by whom', () => {
    given(entity, registered).when(unregister, { entityId: 'bot', by: ada }).gives(unregistered('owner'));
    given(entity, registered).when(unregister, { entityId: 'bot', by: governor }).gives(unregistered('operator'));
    given(entity, external).when(unregister, { entityId: 'bot', by: operator }).gives(unregistered('operator'));
    for (const by of [bob, operator]) {
      given(entity, registered).when(unregister, { entityId: 'bot', by }).refused('forbidden');
    }
    given(entity, registered, unregistered('owner'))
      .when(unregister, { entityId: 'bot', by: ada })
      .refused('not_found');
  });

  it('goes with its node, once; a later registration stays', () => {
    const orphan = { entityId: 'bot', owner: 'ada', since: Date.parse(past) };
    given(entity, registered).when(bury, orphan).gives(unregistered('node_removed'));
    given(entity, registered, unregistered('node_removed')).when(bury, orphan).gives();
    given(entity, registered)
      .when(bury, { ...orphan, since: now - 1 })
      .gives();
    given(entity, external).when(bury, orphan).gives();
  });

  it('stays as it is whatever happens to others', () => {
    const state = entity.evolve(entity.initial, { ...registered, time: past, revision: 0 });
    expect(entity.evolve(state, { type: 'access.unblocked', data: { subject: 'bot' }, time: past, revision: 1 })).toBe(
      state,
    );
  });
});
