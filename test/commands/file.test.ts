import { describe, expect, it } from 'vitest';
import {
  begin,
  expire,
  fetched,
  fetches,
  fileOn,
  finish,
  mostFiles,
  mostOpen,
  refuseFile,
  remove,
  shelf,
  shelfStream,
} from '../../src/commands/file.ts';
import { refuse } from '../../src/errors.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import { given, now } from './given.ts';

const id = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
const hash = 'a'.repeat(64);
const other = 'b'.repeat(64);
const hour = 3_600_000;
const facts = (n = 1, size = 100) => ({
  file_id: id(n),
  owner: 'node:ada',
  name: 'plan.pdf',
  media_type: 'application/pdf',
  size,
  to: { node: 'bob' },
  box: 'node:bob',
  once: false,
  expires_at: new Date(now + 10 * hour).toISOString(),
});
const upload_until = new Date(now + hour).toISOString();
const begun = (n = 1, size = 100, sha256?: string): DomainEvent => ({
  type: 'file.begun',
  data: { ...facts(n, size), ...(sha256 && { sha256 }), upload_until },
});
const stored = (n = 1, size = 100): DomainEvent => ({ type: 'file.stored', data: { ...facts(n, size), sha256: hash } });
const gone = { file_id: id(1), owner: 'node:ada' };
const beginning = (n = 1, size = 100) => ({
  facts: facts(n, size),
  expected: undefined,
  uploadUntil: upload_until,
  quota: 1_000,
});

describe('an upload', () => {
  it('is begun when there is room for it', () => {
    given(shelf).when(begin, beginning()).gives(begun());
    given(shelf)
      .when(begin, { ...beginning(), expected: hash })
      .gives(begun(1, 100, hash));
    given(shelf, begun(1, 600)).when(begin, beginning(2, 400)).gives(begun(2, 400));
  });

  it('is not begun beyond the quota, of which files and uploads take their part', () => {
    given(shelf, begun(1, 600)).when(begin, beginning(2, 401)).refused('quota_exceeded');
    given(shelf, begun(1, 600), stored(1, 600)).when(begin, beginning(2, 401)).refused('quota_exceeded');
  });

  it('gives its room back when it is over, whatever ended it', () => {
    const ends: DomainEvent[] = [
      { type: 'file.refused', data: { ...gone, code: 'hash_mismatch', reason: '' } },
      { type: 'file.abandoned', data: { ...gone, cause: 'lapsed' } },
      { type: 'file.expired', data: { ...gone, sha256: hash } },
      { type: 'file.removed', data: { ...gone, sha256: hash, cause: 'owner' } },
    ];
    for (const end of ends) given(shelf, begun(1, 1_000), end).when(begin, beginning(2, 1_000)).gives(begun(2, 1_000));
  });

  it('is begun once, however often that is asked', () => {
    given(shelf, begun()).when(begin, beginning()).gives();
    given(shelf, begun(), stored())
      .when(begin, beginning())
      .answers({ file_id: id(1) });
  });

  it('has a bounded number of others beside it that are not finished, and of files', () => {
    const open = Array.from({ length: mostOpen }, (_, n) => begun(n, 0));
    given(shelf, ...open)
      .when(begin, beginning(mostOpen, 0))
      .refused('limit_reached');
    given(shelf, ...open, stored(0, 0))
      .when(begin, beginning(mostOpen, 0))
      .gives(begun(mostOpen, 0));
    const all = Array.from({ length: mostFiles }, (_, n) => [begun(n, 0), stored(n, 0)]).flat();
    given(shelf, ...all)
      .when(begin, beginning(mostFiles, 0))
      .refused('limit_reached');
  });

  it('becomes a file when its bytes give what was promised, or nothing was', () => {
    given(shelf, begun())
      .when(finish, { fileId: id(1), sha256: hash })
      .gives(stored());
    given(shelf, begun(1, 100, hash))
      .when(finish, { fileId: id(1), sha256: hash })
      .gives(stored());
    given(shelf, begun(), stored())
      .when(finish, { fileId: id(1), sha256: hash })
      .gives();
  });

  it('is refused when they do not', () => {
    const reason = `the bytes give ${other}, not ${hash}`;
    const command = { fileId: id(1), sha256: other };
    const refused: DomainEvent = { type: 'file.refused', data: { ...gone, code: 'hash_mismatch', reason } };
    given(shelf, begun(1, 100, hash))
      .when(finish, command)
      .gives(refused);
    given(shelf, begun(1, 100, hash))
      .when(finish, command)
      .answers({ refused: refuse('hash_mismatch', reason) });
    given(shelf, begun(1, 100, hash), refused)
      .when(finish, command)
      .refused('not_found');
  });

  it('is given up by who wants it no more, and refused when it cannot be kept', () => {
    given(shelf, begun())
      .when(remove, { fileId: id(1), cause: 'owner' })
      .gives({ type: 'file.abandoned', data: { ...gone, cause: 'owner' } });
    const full = { fileId: id(1), code: 'storage_full', reason: 'no space' };
    given(shelf, begun())
      .when(refuseFile, full)
      .gives({ type: 'file.refused', data: { ...gone, code: 'storage_full', reason: 'no space' } });
    given(shelf, begun(), stored()).when(refuseFile, full).gives();
  });

  it('lapses when its time to come is over, not before', () => {
    const asked = given(shelf, begun());
    asked
      .at(now + hour - 1)
      .when(expire, { fileId: id(1) })
      .gives();
    asked
      .at(now + hour)
      .when(expire, { fileId: id(1) })
      .gives({ type: 'file.abandoned', data: { ...gone, cause: 'lapsed' } });
  });
});

describe('a file', () => {
  it('is removed, and its hash told, so that its bytes can go', () => {
    const removal = { fileId: id(1), cause: 'fetched' } as const;
    given(shelf, begun(), stored())
      .when(remove, removal)
      .gives({ type: 'file.removed', data: { ...gone, sha256: hash, cause: 'fetched' } });
    given(shelf, begun(), stored()).when(remove, removal).answers({ sha256: hash });
    given(shelf).when(remove, removal).refused('not_found');
  });

  it('expires when its time is over, not before', () => {
    const kept = given(shelf, begun(), stored());
    kept
      .at(now + 10 * hour - 1)
      .when(expire, { fileId: id(1) })
      .gives();
    kept
      .at(now + 10 * hour)
      .when(expire, { fileId: id(1) })
      .gives({ type: 'file.expired', data: { ...gone, sha256: hash } });
  });

  it('is written down as fetched once for a part, and once for all of it', () => {
    const part: DomainEvent = { type: 'file.fetched', data: { ...gone, by: 'node:bob', whole: false } };
    const whole: DomainEvent = { type: 'file.fetched', data: { ...gone, by: 'node:bob', whole: true } };
    given(fetches).when(fetched, part.data).gives(part);
    given(fetches, part).when(fetched, part.data).gives();
    given(fetches, part).when(fetched, whole.data).gives(whole);
    given(fetches, whole).when(fetched, part.data).gives();
    given(fetches, whole)
      .when(fetched, { ...whole.data, by: 'node:eve' })
      .gives({
        type: 'file.fetched',
        data: { ...gone, by: 'node:eve', whole: true },
      });
  });
});

it('whoever takes the name of a removed node begins with an empty shelf', () => {
  expect(
    new Set([shelfStream('node:ada', 7), shelfStream('node:ada', 9), shelfStream('operator:x', undefined)]).size,
  ).toBe(3);
});

it('a state is not changed by what comes after it', () => {
  const evolve = (state: typeof shelf.initial, event: DomainEvent) =>
    shelf.evolve(state, { ...event, time: '2026-01-01T00:00:00.000Z', revision: 0 });
  const one = evolve(shelf.initial, begun(1));
  evolve(one, stored(1));
  evolve(one, begun(1_01));
  expect([one.files, fileOn(one, id(1))?.status, fileOn(one, id(1_01))]).toEqual([1, 'open', undefined]);
});
