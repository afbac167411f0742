import { describe, it } from 'vitest';
import { approve, expire, join, reject, rejectionMs, request, settle, takeBack } from '../../src/commands/join.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import { isoTime } from '../../src/kernel.ts';
import { given, now, past } from './given.ts';

const nodeId = 'ada';
const publicKey = 'A'.repeat(43);
const other = 'B'.repeat(43);
const address = '192.0.2.1';
const profile = { display_name: 'Ada' };
const hour = 3_600_000;
const asked = { nodeId, publicKey, profile, address, lifetimeMs: hour };

const requestedUntil = (expires: number): DomainEvent => ({
  type: 'join.requested',
  data: { node_id: nodeId, public_key: publicKey, profile, address, expires_at: isoTime(expires) },
});
const requested = requestedUntil(now + hour);
const lapsed = requestedUntil(now);
const repeated: DomainEvent = { type: 'join.repeated', data: { node_id: nodeId, address } };
const approved: DomainEvent = {
  type: 'join.approved',
  data: { node_id: nodeId, public_key: publicKey, role: 'observer' },
};
const rejected: DomainEvent = { type: 'join.rejected', data: { node_id: nodeId, reason: 'unknown' } };
const expired: DomainEvent = { type: 'join.expired', data: { node_id: nodeId } };
const decidedAt = Date.parse(past);

describe('a request to join', () => {
  it('waits until it lapses', () => {
    given(join).when(request, asked).gives(requested);
    given(join)
      .when(request, asked)
      .answers({ standing: 'waiting', requestedAt: isoTime(now), expiresAt: isoTime(now + hour) });
  });

  it('is repeated, and waits no longer for that', () => {
    given(join, requested).when(request, asked).gives(repeated);
    given(join, requested)
      .when(request, asked)
      .answers({ standing: 'waiting', requestedAt: past, expiresAt: isoTime(now + hour) });
  });

  it('holds its id against another key, waiting or approved', () => {
    given(join, requested)
      .when(request, { ...asked, publicKey: other })
      .refused('node_id_taken');
    given(join, requested, approved)
      .when(request, { ...asked, publicKey: other })
      .refused('node_id_taken');
  });

  it('begins anew after it lapsed, also for another key', () => {
    given(join, lapsed).when(request, asked).gives(expired, requested);
    given(join, requested, expired).when(request, asked).gives(requested);
  });

  it('answers the role once approved, and writes nothing', () => {
    given(join, requested, approved).when(request, asked).gives();
    given(join, requested, approved).when(request, asked).answers({ standing: 'approved', role: 'observer' });
  });

  it('must be made anew when the membership it gave is over', () => {
    given(join, requested, approved)
      .when(request, { ...asked, removedAt: decidedAt + 1 })
      .gives(requested);
    given(join, requested, approved)
      .when(request, { ...asked, removedAt: decidedAt - 1 })
      .gives();
  });

  it('is forgotten a day after it was rejected, and no sooner', () => {
    given(join, requested, rejected)
      .at(decidedAt + rejectionMs - 1)
      .when(expire, { nodeId })
      .gives();
    given(join, requested, rejected)
      .at(decidedAt + rejectionMs)
      .when(expire, { nodeId })
      .gives(expired);
  });

  it('is refused for a day after it was rejected, for the key that was', () => {
    given(join, requested, rejected).when(request, asked).refused('join_rejected');
    given(join, requested, rejected)
      .when(request, { ...asked, publicKey: other })
      .gives({
        ...requested,
        data: { ...requested.data, public_key: other },
      } as DomainEvent);
    given(join, requested, rejected)
      .at(decidedAt + rejectionMs)
      .when(request, { ...asked, lifetimeMs: hour })
      .gives(requestedUntil(decidedAt + rejectionMs + hour));
  });
});

describe('an administrator', () => {
  it('approves a node that waits, with the role that it is given', () => {
    given(join, requested).when(approve, { nodeId, role: 'observer' }).gives(approved);
    given(join, requested)
      .when(approve, { nodeId, role: 'observer' })
      .answers({ publicKey, profile, role: 'observer' });
  });

  it('decides once', () => {
    for (const decide of [
      (...facts: DomainEvent[]) => given(join, ...facts).when(approve, { nodeId, role: 'member' }),
      (...facts: DomainEvent[]) => given(join, ...facts).when(reject, { nodeId, reason: 'unknown' }),
    ]) {
      decide().refused('not_found');
      decide(lapsed).refused('conflict');
      for (const decided of [approved, rejected, expired]) decide(requested, decided).refused('conflict');
    }
  });

  it('rejects with a reason', () => {
    given(join, requested).when(reject, { nodeId, reason: 'unknown' }).gives(rejected);
  });
});

describe('the hub', () => {
  it('lets a request lapse in its time, not before', () => {
    given(join, requested).when(expire, { nodeId }).gives();
    given(join, lapsed).when(expire, { nodeId }).gives(expired);
    given(join, lapsed, approved).when(expire, { nodeId }).gives();
  });

  it('takes back an approval that could not be carried out', () => {
    given(join, requested, approved).when(takeBack, { nodeId, reason: 'unknown' }).gives(rejected);
    given(join, requested).when(takeBack, { nodeId, reason: 'unknown' }).gives();
  });

  it('answers the request of a node that got in by other means', () => {
    given(join, requested).when(settle, { nodeId, publicKey, role: 'observer' }).gives(approved);
    given(join, requested).when(settle, { nodeId, publicKey: other, role: 'observer' }).gives();
    given(join, requested, rejected).when(settle, { nodeId, publicKey, role: 'observer' }).gives();
  });
});
