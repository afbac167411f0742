/** Keys that are retired and rotated, sessions that are revoked, tokens of operators, and what is told of the hub's keys. */
import { describe, expect, it } from 'vitest';
import { confirm, key, release, reserve, retire } from '../../src/commands/key.ts';
import { announce, keyring, tellErased } from '../../src/commands/keyring.ts';
import { node, rotateKey } from '../../src/commands/node.ts';
import { createToken, operatorToken, revokeToken, usedEveryMs, useToken } from '../../src/commands/operator-token.ts';
import { open, renew, revoke, session } from '../../src/commands/session.ts';
import { refuse } from '../../src/errors.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import { given, past } from './given.ts';

const thumbprint = 'T'.repeat(43);
const use = { thumbprint, nodeId: 'ada' };
const held = { thumbprint, node_id: 'ada' };

describe('a key', () => {
  const confirmed: DomainEvent = { type: 'key.confirmed', data: held };
  const retired: DomainEvent = { type: 'key.retired', data: { ...held, cause: 'rotated' } };

  it('is retired by its node, once', () => {
    given(key, confirmed)
      .when(retire, { ...use, cause: 'rotated' })
      .gives(retired);
    given(key, confirmed)
      .when(retire, { ...use, cause: 'rotated' })
      .answers({ retired: true });
    given(key, confirmed, retired)
      .when(retire, { ...use, cause: 'revoked' })
      .gives();
    given(key, confirmed, retired)
      .when(retire, { ...use, cause: 'revoked' })
      .answers({ retired: false });
    given(key, confirmed).when(retire, { thumbprint, nodeId: 'bob', cause: 'revoked' }).refused('key_taken');
  });

  it('is retired even when a removal freed it meanwhile', () => {
    given(key)
      .when(retire, { ...use, cause: 'rotated' })
      .gives(retired);
  });

  it('is nobody’s for ever once it is retired, and nothing frees it', () => {
    for (const nodeId of ['ada', 'bob']) {
      given(key, confirmed, retired).when(reserve, { thumbprint, nodeId }).refused('key_revoked');
      given(key, confirmed, retired).when(confirm, { thumbprint, nodeId }).refused('key_revoked');
      given(key, confirmed, retired).when(release, { thumbprint, nodeId }).gives();
    }
  });
});

describe('a node', () => {
  const [first, next, third] = ['1', '2', '3'].map((n) => n.repeat(43)) as [string, string, string];
  const registered: DomainEvent = {
    type: 'node.registered',
    data: { node_id: 'ada', public_key: first, role: 'member', profile: {} },
  };
  const rotated: DomainEvent = {
    type: 'node.key-rotated',
    data: { node_id: 'ada', public_key: next, previous: first },
  };

  it('gets another key, decided against the one it has', () => {
    const rotation = { nodeId: 'ada', publicKey: next, previous: first };
    given(node, registered).when(rotateKey, rotation).gives(rotated);
    given(node, registered, rotated)
      .when(rotateKey, { ...rotation, publicKey: third })
      .refused('conflict');
    given(node).when(rotateKey, rotation).refused('not_found');
    given(node, registered, { type: 'node.removed', data: { node_id: 'ada', cause: 'operator' } })
      .when(rotateKey, rotation)
      .refused('node_removed');
  });

  it('remembers the keys that it had, the last sixteen', () => {
    let state = node.initial;
    const tell = (event: DomainEvent, revision: number) => {
      state = node.evolve(state, { ...event, time: past, revision } as Parameters<typeof node.evolve>[1]);
    };
    tell(registered, 0);
    for (let n = 1; n <= 20; n++)
      tell({ type: 'node.key-rotated', data: { node_id: 'ada', public_key: `k${n}`, previous: `k${n - 1}` } }, n);
    expect(state).toMatchObject({ publicKey: 'k20', formerKeys: Array.from({ length: 16 }, (_, n) => `k${n + 4}`) });
  });
});

describe('sessions', () => {
  const opening = { nodeId: 'ada', transport: 'http', address: '127.0.0.1' } as const;
  const opened = (id: string): DomainEvent => ({
    type: 'session.opened',
    data: { node_id: 'ada', session_id: `http.${id}`, transport: 'http', address: '127.0.0.1' },
  });
  const fresh = '00000000-0000-7000-8000-000000000001';
  const revoked: DomainEvent = { type: 'session.revoked', data: { node_id: 'ada', reason: 'stolen' } };

  it('are all over when they are revoked, and there is nothing to revoke before the first', () => {
    given(session, opened('a')).when(revoke, { nodeId: 'ada', reason: 'stolen' }).gives(revoked);
    given(session).when(revoke, { nodeId: 'ada', reason: 'stolen' }).gives();
    given(session, opened('a'), revoked)
      .when(renew, { nodeId: 'ada', sessionId: 'http.a', expiresAt: past })
      .refused('session_superseded');
  });

  it('of before are over when one is opened anew, in the same moment', () => {
    const anew = { ...opening, anew: 'stolen' };
    given(session, opened('a')).when(open, anew).gives(revoked, opened(fresh));
    given(session, opened('a'))
      .when(open, anew)
      .answers({ sessionId: `http.${fresh}`, epoch: 2 });
    given(session).when(open, anew).gives(opened(fresh));
    given(session)
      .when(open, anew)
      .answers({ sessionId: `http.${fresh}`, epoch: 0 });
  });
});

describe('an operator token', () => {
  const token = { prefix: 'abcdefgh', hash: 'x', label: 'ci', scopes: ['read'] };
  const created: DomainEvent = { type: 'operator-token.created', data: token };
  const revoked: DomainEvent = { type: 'operator-token.revoked', data: { prefix: token.prefix } };
  const used: DomainEvent = { type: 'operator-token.used', data: { prefix: token.prefix, address: '::1' } };
  const showing = { prefix: token.prefix, address: '::1' };

  it('is made once, with or without an end', () => {
    given(operatorToken).when(createToken, token).gives(created);
    given(operatorToken)
      .when(createToken, { ...token, expiresAt: past })
      .gives({ type: 'operator-token.created', data: { ...token, expires_at: past } });
    given(operatorToken, created).when(createToken, token).refused('conflict');
    given(operatorToken)
      .when(createToken, { ...token, full: refuse('limit_reached', 'there are too many') })
      .refused('limit_reached');
  });

  it('is revoked once, and only when it is there', () => {
    given(operatorToken, created).when(revokeToken, { prefix: token.prefix }).gives(revoked);
    given(operatorToken, created, revoked).when(revokeToken, { prefix: token.prefix }).gives();
    given(operatorToken).when(revokeToken, { prefix: token.prefix }).refused('not_found');
  });

  it('is remembered as used at most once in a quarter of an hour, and not after it was revoked', () => {
    given(operatorToken, created).when(useToken, showing).gives(used);
    const since = Date.parse(past);
    given(operatorToken, created, used)
      .at(since + usedEveryMs - 1)
      .when(useToken, showing)
      .gives();
    given(operatorToken, created, used)
      .at(since + usedEveryMs)
      .when(useToken, showing)
      .gives(used);
    given(operatorToken, created, revoked).when(useToken, showing).gives();
    given(operatorToken).when(useToken, showing).gives();
  });
});

describe('the keyring', () => {
  const rotated: DomainEvent = { type: 'keyring.rotated', data: { kid: 'k', active_at: past } };

  it('tells of a new key once', () => {
    given(keyring).when(announce, { kid: 'k', activeAt: past }).gives(rotated);
    given(keyring, rotated).when(announce, { kid: 'k', activeAt: past }).gives();
    given(keyring, rotated).when(announce, { kid: 'k', activeAt: past }).answers({ kid: 'k', activeAt: past });
  });

  it('tells of each erasure', () => {
    const erased: DomainEvent = { type: 'keyring.subject-erased', data: { subject: 'node:ada', keys: 1 } };
    given(keyring, erased).when(tellErased, { subject: 'node:ada', keys: 1 }).gives(erased);
  });
});
