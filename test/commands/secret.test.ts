/** What may become of a secret, and of the master key, decided without anyone seeing a value. */
import { describe, test } from 'vitest';
import { destroyVersion, mostVersions, remove, secret, setAccess, store } from '../../src/commands/secret.ts';
import { askRotation, endRotation, vault } from '../../src/commands/vault.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import { given } from './given.ts';

const secretId = 'ada:openai';
const access = { readers: { nodes: ['bob'] }, writers: {} };
const stored = (secret_version: number, first = false): DomainEvent => ({
  type: 'secret.stored',
  data: {
    secret_id: secretId,
    secret_version,
    node_id: 'ada',
    key_id: `key-${secret_version}`,
    sealed: `sealed-${secret_version}`,
    ...(first && { access }),
  },
});
const storing = (version: number, fresh = false) => ({
  secretId,
  owner: 'ada',
  version,
  keyId: `key-${version}`,
  sealed: `sealed-${version}`,
  access,
  fresh,
});
const destroyed = (secret_version: number, cause: 'asked' | 'too_many' = 'asked'): DomainEvent => ({
  type: 'secret.version-destroyed',
  data: { secret_id: secretId, secret_version, cause },
});

describe('a secret', () => {
  test('is made with its first version, which says who may have it', () => {
    given(secret).when(store, storing(1)).gives(stored(1, true));
  });

  test('gets further versions, in order', () => {
    const known = given(secret, stored(1, true), stored(2));
    known.when(store, storing(3)).gives(stored(3));
    known.when(store, storing(3)).answers({
      secret_id: secretId,
      version: 3,
      key_id: 'key-3',
      created: false,
      destroyed: [],
    });
  });

  test('takes no version that was sealed under a number that is another’s by now', () => {
    given(secret, stored(1, true)).when(store, storing(1)).refused('conflict');
    given(secret).when(store, storing(2)).refused('conflict');
  });

  test('is not made where there is one', () => {
    given(secret, stored(1, true)).when(store, storing(2, true)).refused('secret_id_taken');
  });

  test(`keeps ${mostVersions} versions; the oldest makes room, and its key is to be destroyed`, () => {
    const full = Array.from({ length: mostVersions - 1 }, (_, at) => stored(at + 2));
    const known = given(secret, stored(1, true), ...full);
    known.when(store, storing(11)).gives(stored(11), destroyed(1, 'too_many'));
    known.when(store, storing(11)).answers({
      secret_id: secretId,
      version: 11,
      key_id: 'key-11',
      created: false,
      destroyed: ['key-1'],
    });
  });

  test('loses one version, once', () => {
    const known = given(secret, stored(1, true), stored(2));
    known.when(destroyVersion, { secretId, version: 1 }).gives(destroyed(1));
    known.when(destroyVersion, { secretId, version: 1 }).answers({ secret_id: secretId, destroyed: ['key-1'] });
    known.when(destroyVersion, { secretId, version: 3 }).refused('not_found');
    given(secret, stored(1, true), destroyed(1)).when(destroyVersion, { secretId, version: 1 }).refused('not_found');
  });

  test('does not use a number twice, though the newest version was destroyed', () => {
    given(secret, stored(1, true), destroyed(1)).when(store, storing(2)).gives(stored(2));
  });

  test('ends with all its keys, and begins anew with version 1', () => {
    const gone: DomainEvent = { type: 'secret.deleted', data: { secret_id: secretId, cause: 'asked' } };
    const known = given(secret, stored(1, true), stored(2));
    known.when(remove, { secretId, born: 0, cause: 'asked' }).gives(gone);
    known
      .when(remove, { secretId, born: 0, cause: 'asked' })
      .answers({ secret_id: secretId, destroyed: ['key-1', 'key-2'] });
    const after = given(secret, stored(1, true), gone);
    after.when(store, storing(1)).gives(stored(1, true));
    after.when(remove, { secretId, born: 0, cause: 'asked' }).refused('not_found');
    after.when(setAccess, { secretId, access }).refused('not_found');
  });

  test('is not ended in the place of another of its name', () => {
    const gone: DomainEvent = { type: 'secret.deleted', data: { secret_id: secretId, cause: 'node_removed' } };
    given(secret, stored(1, true), gone, stored(1, true))
      .when(remove, { secretId, born: 0, cause: 'node_removed' })
      .refused('not_found');
  });

  test('says who may have it anew, also when it says the same: those are meant who have the names now', () => {
    given(secret, stored(1, true))
      .when(setAccess, { secretId, access })
      .gives({ type: 'secret.access-changed', data: { secret_id: secretId, ...access } });
  });
});

describe('the master key', () => {
  const asked: DomainEvent = { type: 'vault.rotation-asked', data: { from: 'old' } };
  const turned: DomainEvent = { type: 'vault.master-rotated', data: { from: 'old', to: 'new', keys: 3 } };

  test('is asked to change once at a time', () => {
    given(vault).when(askRotation, { from: 'old' }).gives(asked);
    given(vault, asked).when(askRotation, { from: 'other' }).gives();
    given(vault, asked).when(askRotation, { from: 'other' }).answers({ from: 'old' });
    given(vault, asked, turned)
      .when(askRotation, { from: 'new', to: 'next' })
      .gives({
        type: 'vault.rotation-asked',
        data: { from: 'new', to: 'next' },
      });
  });

  test('is turned to another key of the environment while the one that was asked for is not in use', () => {
    const wished: DomainEvent = { type: 'vault.rotation-asked', data: { from: 'old', to: 'lost' } };
    const again: DomainEvent = { type: 'vault.rotation-asked', data: { from: 'old', to: 'found' } };
    given(vault, wished).when(askRotation, { from: 'old', to: 'found' }).gives(again);
    given(vault, wished).when(askRotation, { from: 'old', to: 'lost' }).gives();
    given(vault, wished).when(askRotation, { from: 'lost', to: 'found' }).gives();
    given(vault, wished)
      .when(askRotation, { from: 'old' })
      .gives({ type: 'vault.rotation-asked', data: { from: 'old' } });
    given(vault, wished, again)
      .when(endRotation, { from: 'old', to: 'found', keys: 3 })
      .gives({ type: 'vault.master-rotated', data: { from: 'old', to: 'found', keys: 3 } });
  });

  test('has changed once', () => {
    given(vault, asked).when(endRotation, { from: 'old', to: 'new', keys: 3 }).gives(turned);
    given(vault, asked, turned).when(endRotation, { from: 'old', to: 'new', keys: 3 }).gives();
  });
});
