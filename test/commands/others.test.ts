import { describe, expect, it } from 'vitest';
import { alert, levelAt, observe } from '../../src/commands/alert.ts';
import { bodyHash, commandId } from '../../src/commands/command-id.ts';
import { changeMode, federation, found } from '../../src/commands/governance.ts';
import { confirm, key, release, reservationMs, reserve } from '../../src/commands/key.ts';
import { createToken, operatorToken } from '../../src/commands/operator-token.ts';
import { rollUp, segment } from '../../src/commands/segment.ts';
import { end, open, renew, session } from '../../src/commands/session.ts';
import { forgottenAfterMs, requestRebuild, viewsState } from '../../src/commands/views.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import { given, now, past } from './given.ts';

describe('the federation', () => {
  const founded: DomainEvent = { type: 'federation.founded', data: { federation_id: 'f', mode: 'open' } };

  it('is founded once; who comes later gets what was founded', () => {
    given(federation).when(found, { federationId: 'f', mode: 'open' }).gives(founded);
    given(federation, founded)
      .when(found, { federationId: 'g', mode: 'invite' })
      .answers({ federationId: 'f', mode: 'open', founded: false });
  });

  it('changes its mode, and writes nothing when it is the same', () => {
    given(federation, founded)
      .when(changeMode, { mode: 'invite' })
      .gives({ type: 'governance.mode-changed', data: { mode: 'invite', previous: 'open' } });
    given(federation, founded).when(changeMode, { mode: 'open' }).gives();
  });
});

describe('a key', () => {
  const use = { thumbprint: 'T'.repeat(43), nodeId: 'ada' };
  const other = { ...use, nodeId: 'bob' };
  const data = { thumbprint: use.thumbprint, node_id: 'ada' };
  const lapsed: DomainEvent = { type: 'key.reserved', data: { ...data, expires_at: past } };
  const reserved: DomainEvent = {
    type: 'key.reserved',
    data: { ...data, expires_at: new Date(now + reservationMs).toISOString() },
  };
  const confirmed: DomainEvent = { type: 'key.confirmed', data };
  const released: DomainEvent = { type: 'key.released', data };

  it('is held for the first who asks, for a minute', () => {
    given(key).when(reserve, use).gives(reserved);
    given(key, reserved).when(reserve, other).refused('key_taken');
    given(key, reserved).when(reserve, use).gives();
  });

  it('is free again when the reservation lapsed or was released', () => {
    given(key, lapsed).when(reserve, use).gives(reserved);
    given(key, lapsed).when(reserve, other).answers({ confirmed: false });
    given(key, reserved, released).when(reserve, other).answers({ confirmed: false });
  });

  it('stays with its node once confirmed', () => {
    given(key, reserved).when(confirm, use).gives(confirmed);
    given(key, reserved, confirmed).when(confirm, use).gives();
    given(key, reserved, confirmed).when(reserve, other).refused('key_taken');
    given(key, reserved, confirmed).when(reserve, use).answers({ confirmed: true });
  });

  it('cannot be confirmed by who lost it to another', () => {
    given(key, reserved, confirmed).when(confirm, other).refused('key_taken');
  });

  it('is released by its holder only', () => {
    given(key, reserved, confirmed).when(release, use).gives(released);
    given(key, reserved, confirmed).when(release, other).gives();
    given(key).when(release, use).gives();
  });
});

describe('a session', () => {
  const opening = { nodeId: 'ada', transport: 'socket', address: '127.0.0.1' } as const;
  const opened = (id: string, transport: 'socket' | 'http' = 'socket'): DomainEvent => ({
    type: 'session.opened',
    data: { node_id: 'ada', session_id: `${transport}.${id}`, transport, address: '127.0.0.1' },
  });

  it('gets a higher epoch than all before it', () => {
    const sessionId = 'socket.00000000-0000-7000-8000-000000000001';
    given(session).when(open, opening).answers({ sessionId, epoch: 0 });
    given(session, opened('a'), opened('b')).when(open, opening).answers({ sessionId, epoch: 2 });
  });

  it('is renewed only while it is the newest of its transport', () => {
    const renewal = (sessionId: string) => ({ nodeId: 'ada', sessionId, expiresAt: past });
    given(session, opened('a')).when(renew, renewal('socket.a')).answers(undefined);
    given(session, opened('a'), opened('b')).when(renew, renewal('socket.a')).refused('session_superseded');
    given(session, opened('a', 'http'), opened('b')).when(renew, renewal('http.a')).answers(undefined);
  });

  it('is not ended by the goodbye of a stale one', () => {
    const ending = (sessionId: string) => ({ nodeId: 'ada', sessionId, cause: 'transport close' });
    given(session, opened('a'), opened('b')).when(end, ending('socket.a')).gives();
    given(session, opened('a'))
      .when(end, ending('socket.a'))
      .gives({
        type: 'session.ended',
        data: { node_id: 'ada', session_id: 'socket.a', cause: 'transport close' },
      });
  });
});

describe('alerts', () => {
  const opened: DomainEvent = {
    type: 'alert.opened',
    data: { node_id: 'ada', measure: 'cpu', level: 'warning', percent: 85, threshold: 80 },
  };

  it.each([
    ['cpu', 80, 95],
    ['memory', 85, 95],
    ['gpu', 80, 95],
    ['disk', 80, 90],
  ] as const)('of %s open at %d and turn critical at %d percent', (measure, warning, critical) => {
    expect(levelAt(measure, warning - 0.1, undefined)).toBeUndefined();
    expect(levelAt(measure, warning, undefined)).toBe('warning');
    expect(levelAt(measure, critical, 'warning')).toBe('critical');
  });

  it('do not flap: a level ends three percent below where it began', () => {
    expect(levelAt('cpu', 78, 'warning')).toBe('warning');
    expect(levelAt('cpu', 77, 'warning')).toBeUndefined();
    expect(levelAt('cpu', 93, 'critical')).toBe('critical');
    expect(levelAt('cpu', 92, 'critical')).toBe('warning');
  });

  it('open, change and close, each once', () => {
    given(alert)
      .when(observe, { nodeId: 'ada', resources: { cpu_percent: 85 } })
      .gives(opened);
    given(alert, opened)
      .when(observe, { nodeId: 'ada', resources: { cpu_percent: 86 } })
      .gives();
    given(alert, opened)
      .when(observe, { nodeId: 'ada', resources: { cpu_percent: 97 } })
      .gives({
        type: 'alert.changed',
        data: { node_id: 'ada', measure: 'cpu', level: 'critical', percent: 97, threshold: 95 },
      });
    given(alert, opened)
      .when(observe, { nodeId: 'ada', resources: { cpu_percent: 50 } })
      .gives({ type: 'alert.closed', data: { node_id: 'ada', measure: 'cpu', percent: 50 } });
  });

  it('stay as they are when a heartbeat does not name the measure, and close when the node is gone', () => {
    given(alert, opened)
      .when(observe, { nodeId: 'ada', resources: { disk_percent: 10 } })
      .gives();
    given(alert, opened)
      .when(observe, { nodeId: 'ada', gone: true })
      .gives({ type: 'alert.closed', data: { node_id: 'ada', measure: 'cpu', percent: null } });
  });
});

describe('once-only things', () => {
  it('a token prefix is used once', () => {
    const token = { prefix: 'abcdefgh', hash: 'h', label: 'l', scopes: ['admin'] };
    const created: DomainEvent = { type: 'operator-token.created', data: token };
    given(operatorToken).when(createToken, token).gives(created);
    given(operatorToken, created).when(createToken, token).refused('conflict');
  });

  it('one rebuild runs at a time', () => {
    const rebuild_id = '00000000-0000-7000-8000-000000000001';
    const requested: DomainEvent = { type: 'views.rebuild-requested', data: { rebuild_id } };
    given(viewsState).when(requestRebuild, {}).gives(requested);
    given(viewsState, requested).when(requestRebuild, {}).refused('rebuild_running');
    given(viewsState, requested)
      .at(now + forgottenAfterMs)
      .when(requestRebuild, {})
      .gives(requested);
    given(viewsState, requested, {
      type: 'views.rebuilt',
      data: { rebuild_id, generation: 2, events: 1, digest: 'd' },
    })
      .when(requestRebuild, {})
      .gives(requested);
  });

  it('a segment is rolled up once', () => {
    const rolled = { from: 1, to: 10, count: 0, root: 'r', heartbeats: [], health: [] };
    const dropped: DomainEvent = { type: 'log.segment-dropped', data: { from: 1, to: 10, count: 0, root: 'r' } };
    given(segment).when(rollUp, rolled).gives(dropped);
    given(segment, dropped).when(rollUp, rolled).gives();
  });

  it('a command id depends on actor, route and key, and nothing runs into the other', () => {
    expect(commandId('a', 'b', 'c')).toBe(commandId('a', 'b', 'c'));
    const ids = [
      commandId('a', 'b', 'c'),
      commandId('a', 'bc', ''),
      commandId('ab', '', 'c'),
      commandId('', 'ab', 'c'),
    ];
    expect(new Set(ids).size).toBe(4);
    expect(bodyHash({ a: 1 })).not.toBe(bodyHash({ a: 2 }));
  });
});
