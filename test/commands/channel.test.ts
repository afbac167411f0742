/** Who hears a channel: joined once, left once, within limits. */
import { describe, expect, it } from 'vitest';
import { channelMembers, channelStream, join, leave, mostChannels, mostMembers } from '../../src/commands/channel.ts';
import type { DomainEvent, EventData } from '../../src/events/catalog.ts';
import { given } from './given.ts';

type Cause = EventData<'channel.left'>['cause'];
const joined = (node_id: string): DomainEvent => ({ type: 'channel.joined', data: { channel: 'news', node_id } });
const left = (node_id: string, cause: Cause = 'itself'): DomainEvent => ({
  type: 'channel.left',
  data: { channel: 'news', node_id, cause },
});
const ask = (nodeId: string, hears = 0) => ({ channel: 'news', nodeId, joined: hears });
const leaving = (nodeId: string, cause: Cause = 'itself') => ({ channel: 'news', nodeId, cause });

describe('joining', () => {
  it('makes a member', () => given(channelMembers).when(join, ask('ada')).gives(joined('ada')));
  it('is of each for itself', () => given(channelMembers, joined('ada')).when(join, ask('bob')).gives(joined('bob')));
  it('twice is once, however many it hears', () =>
    given(channelMembers, joined('ada')).when(join, ask('ada', mostChannels)).gives());
  it('again after leaving makes a member again', () =>
    given(channelMembers, joined('ada'), left('ada')).when(join, ask('ada')).gives(joined('ada')));
  it('is not for a node that hears 256 others', () => {
    given(channelMembers).when(join, ask('ada', 255)).gives(joined('ada'));
    given(channelMembers).when(join, ask('ada', 256)).refused('limit_reached');
  });
  it('finds room for 10,000', () => {
    const all = Array.from({ length: mostMembers }, (_, at) => `n-${at}`);
    const full = { members: new Set(all) };
    const almost = { members: new Set(all.slice(1)) };
    given({ ...channelMembers, initial: almost })
      .when(join, ask('ada'))
      .gives(joined('ada'));
    given({ ...channelMembers, initial: full })
      .when(join, ask('ada'))
      .refused('limit_reached');
    given({ ...channelMembers, initial: full })
      .when(join, ask('n-0'))
      .gives();
    given({ ...channelMembers, initial: full }, left('n-0'))
      .when(join, ask('ada'))
      .gives(joined('ada'));
  });
});

describe('leaving', () => {
  it.each(['itself', 'operator', 'node_removed'] as const)('says why (%s)', (cause) =>
    given(channelMembers, joined('ada')).when(leave, leaving('ada', cause)).gives(left('ada', cause)),
  );
  it('refuses who is no member, or no more', () => {
    given(channelMembers).when(leave, leaving('ada')).refused('not_found');
    given(channelMembers, joined('bob')).when(leave, leaving('ada')).refused('not_found');
    given(channelMembers, joined('ada'), left('ada')).when(leave, leaving('ada')).refused('not_found');
  });
  it('leaves the others where they are', () =>
    given(channelMembers, joined('ada'), joined('bob'), left('ada')).when(leave, leaving('bob')).gives(left('bob')));
});

it('each channel has a stream of its own, which other facts do not change', () => {
  expect(channelStream('news')).toBe('channel-news');
  const other: DomainEvent = { type: 'mail.delivered', data: { node_id: 'ada', through: 1 } };
  given(channelMembers, joined('ada'), other).when(leave, leaving('ada')).gives(left('ada'));
});
