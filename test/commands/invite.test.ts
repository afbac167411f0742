import { describe, it } from 'vitest';
import { claim, claimMs, create, invite, release, revoke, use } from '../../src/commands/invite.ts';
import { refuse } from '../../src/errors.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import { isoTime } from '../../src/kernel.ts';
import { given, now } from './given.ts';

const inviteId = 'abcdefgh';
const hour = 3_600_000;
const wish = { inviteId, hash: 'h', label: 'l', role: 'observer', uses: 2, lifetimeMs: hour } as const;
const createdWith = (also: object = {}): DomainEvent =>
  ({
    type: 'invite.created',
    data: {
      invite_id: inviteId,
      hash: 'h',
      label: 'l',
      role: 'observer',
      uses: 2,
      expires_at: isoTime(now + hour),
      ...also,
    },
  }) as DomainEvent;
const created = createdWith();
const holder = (nodeId: string) => ({ inviteId, nodeId, thumbprint: nodeId.padEnd(43, 'T') });
const claiming = (nodeId: string) => ({ ...holder(nodeId), publicKey: 'A'.repeat(43) });
const claimed = (nodeId: string, expires = now + claimMs): DomainEvent => ({
  type: 'invite.claimed',
  data: {
    invite_id: inviteId,
    node_id: nodeId,
    thumbprint: nodeId.padEnd(43, 'T'),
    expires_at: isoTime(expires),
  },
});
const used = (nodeId: string): DomainEvent => ({ type: 'invite.used', data: { invite_id: inviteId, node_id: nodeId } });
const released = (nodeId: string): DomainEvent => ({
  type: 'invite.released',
  data: { invite_id: inviteId, node_id: nodeId },
});
const revoked: DomainEvent = { type: 'invite.revoked', data: { invite_id: inviteId } };

describe('an invite', () => {
  it('is made once', () => {
    given(invite).when(create, wish).gives(created);
    given(invite)
      .when(create, { ...wish, nodeId: 'ada', publicKey: 'A'.repeat(43) })
      .gives(createdWith({ node_id: 'ada', public_key: 'A'.repeat(43) }));
    given(invite, created).when(create, wish).refused('conflict');
    given(invite)
      .when(create, { ...wish, full: refuse('limit_reached', 'there are too many') })
      .refused('limit_reached');
  });

  it('is claimed for a node, with the role it gives', () => {
    given(invite, created).when(claim, claiming('ada')).gives(claimed('ada'));
    given(invite, created).when(claim, claiming('ada')).answers({ role: 'observer' });
  });

  it('is not claimed twice by a node that goes on with its claim', () => {
    given(invite, created, claimed('ada')).when(claim, claiming('ada')).gives();
    given(invite, created, claimed('ada', now)).when(claim, claiming('ada')).gives(claimed('ada'));
  });

  it('lets in no more nodes than it has uses, claims counted, lapsed ones too', () => {
    given(invite, created, claimed('ada'), claimed('bob')).when(claim, claiming('eve')).refused('invite_invalid');
    given(invite, created, claimed('ada', now), claimed('bob', now))
      .when(claim, claiming('eve'))
      .refused('invite_invalid');
    given(invite, created, claimed('ada'), used('ada'), claimed('bob'), released('bob'))
      .when(claim, claiming('eve'))
      .gives(claimed('eve'));
  });

  it('does not let the same node in twice, nor another key under its id', () => {
    given(invite, created, claimed('ada'), used('ada')).when(claim, claiming('ada')).refused('invite_invalid');
    given(invite, created, claimed('ada'))
      .when(claim, { ...claiming('ada'), thumbprint: 'X'.repeat(43) })
      .refused('invite_invalid');
  });

  it('is worth nothing when unknown, revoked, lapsed, or for another', () => {
    given(invite).when(claim, claiming('ada')).refused('invite_invalid');
    given(invite, created, revoked).when(claim, claiming('ada')).refused('invite_invalid');
    given(invite, created)
      .at(now + hour)
      .when(claim, claiming('ada'))
      .refused('invite_invalid');
    given(invite, createdWith({ node_id: 'bob' }))
      .when(claim, claiming('ada'))
      .refused('invite_invalid');
    given(invite, createdWith({ public_key: 'B'.repeat(43) }))
      .when(claim, claiming('ada'))
      .refused('invite_invalid');
  });

  it('is used by the node that got in, once, even when its claim was given up', () => {
    given(invite, created, claimed('ada')).when(use, holder('ada')).gives(used('ada'));
    given(invite, created, claimed('ada'), used('ada')).when(use, holder('ada')).gives();
    given(invite, created, claimed('ada'), released('ada'))
      .when(use, holder('ada'))
      .gives(claimed('ada', now), used('ada'));
  });

  it('is free again for a node that did not get in, but not for one that did', () => {
    given(invite, created, claimed('ada')).when(release, holder('ada')).gives(released('ada'));
    given(invite, created, claimed('ada'), used('ada')).when(release, holder('ada')).gives();
    given(invite, created, claimed('ada'))
      .when(release, { ...holder('ada'), thumbprint: 'X'.repeat(43) })
      .gives();
  });

  it('is revoked once', () => {
    given(invite, created).when(revoke, { inviteId }).gives(revoked);
    given(invite, created, revoked).when(revoke, { inviteId }).gives();
    given(invite).when(revoke, { inviteId }).refused('not_found');
  });
});
