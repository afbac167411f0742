import { describe, expect, it } from 'vitest';
import {
  type Brought,
  letGo,
  memory,
  type NewVersion,
  remove,
  type Standing,
  store,
  take,
  type Version,
  type Writer,
} from '../../src/commands/memory.ts';
import { refuse } from '../../src/errors.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import { versionId } from '../../src/knowledge.ts';
import { given, now } from './given.ts';

const hash = 'c'.repeat(64);
const sealed = { content: { subject: 'memory:node:ada', key_id: 'k', sealed: 'AAAA' }, content_hash: hash, bytes: 4 };
/** A clock some milliseconds before or after `now`. */
const at = (ms: number, who: string, counter = 0) =>
  `${String(now + ms).padStart(15, '0')}-${String(counter).padStart(6, '0')}-node:${who}`;

type StoredEvent = Extract<DomainEvent, { type: 'memory.stored' }>;
type Clocks = Readonly<Record<string, string>>;

/** A version that somebody wrote some milliseconds before now, knowing of these clocks. */
function stored(ms: number, who: string, seen: Clocks = {}, its: { category?: string; tags?: string[] } = {}) {
  const said = {
    memory_id: 'm',
    clock: at(ms, who),
    owner: 'node:ada',
    author: `node:${who}`,
    category: its.category ?? 'a',
    tags: its.tags ?? ['x', 'y'],
    seen,
  };
  const version = versionId({ ...said, deleted: false, content_hash: hash });
  return { type: 'memory.stored', data: { ...said, version, ...sealed } } satisfies StoredEvent;
}

const writer = (who: string, standing: Standing | ((version: Version) => Standing), governs = false): Writer => ({
  actor: `node:${who}`,
  governs,
  may: (_owner, version) => (typeof standing === 'function' ? standing(version) : standing),
});
const ada = writer('ada', 'own');
const bob = writer('bob', 'edit');

function wish(by: Writer, more: Partial<NewVersion> = {}): NewVersion {
  const basics = { memoryId: 'm', category: 'a', tags: ['y', 'x'], basedOn: undefined, change: false, full: undefined };
  return { ...basics, ...sealed, by, ...more };
}

/** As `store` would write it. */
function written(
  who: string,
  clock: string,
  seen: Clocks,
  its: { category?: string; tags?: string[] } = {},
): StoredEvent {
  const { data } = stored(0, who, seen, { tags: ['y', 'x'], ...its });
  const { version: _, content, content_hash, bytes, ...rest } = data;
  const said = { ...rest, clock };
  const version = versionId({ ...said, deleted: false, content_hash });
  return { type: 'memory.stored', data: { ...said, version, content, content_hash, bytes } };
}

function brought(event: StoredEvent, by: Writer, more: Partial<Brought> = {}): Brought {
  const { version, content: _c, content_hash, bytes: _b, foreign, ...said } = event.data;
  const stated = { ...said, deleted: false, content_hash };
  return { stated, version, foreign, sealed, by, full: undefined, ...more };
}

describe('a memory that is stored', () => {
  it('belongs to whoever stores it first, under the time of the hub', () => {
    given(memory)
      .when(store, wish(ada))
      .gives(written('ada', at(0, 'ada'), {}));
  });

  it('anew replaces every version that was known, by a later clock than any of them, whatever the hub’s own says', () => {
    const ahead = stored(60_000, 'bob');
    given(memory, stored(-10, 'ada'), ahead)
      .when(store, wish(ada))
      .gives(written('ada', at(60_000, 'ada', 1), { 'node:ada': at(-10, 'ada'), 'node:bob': at(60_000, 'bob') }));
  });

  it('from an older version leaves those beside it that came since', () => {
    const [one, two] = [stored(-20, 'ada'), stored(-10, 'bob', { 'node:ada': at(-20, 'ada') })];
    given(memory, one, two)
      .when(store, wish(ada, { basedOn: one.data.version }))
      .gives(written('ada', at(0, 'ada'), { 'node:ada': at(-20, 'ada') }));
  });

  it('from an older version replaces all that its author wrote since all the same', () => {
    const [one, two] = [stored(-20, 'ada'), stored(-10, 'ada', { 'node:ada': at(-20, 'ada') })];
    given(memory, one, two)
      .when(store, wish(ada, { basedOn: one.data.version }))
      .gives(written('ada', at(0, 'ada'), { 'node:ada': at(-10, 'ada') }));
  });

  it('from a version that nobody knows is refused', () => {
    given(memory, stored(-20, 'ada'))
      .when(store, wish(ada, { basedOn: 'f'.repeat(64) }))
      .refused('conflict');
    given(memory)
      .when(store, wish(ada, { basedOn: 'f'.repeat(64) }))
      .refused('not_found');
  });

  it('is not there to be changed before it was stored, nor after it was deleted', () => {
    given(memory)
      .when(store, wish(ada, { change: true }))
      .refused('not_found');
    const {
      content: _c,
      content_hash: _h,
      bytes: _b,
      ...said
    } = stored(-5, 'ada', { 'node:ada': at(-20, 'ada') }).data;
    given(memory, stored(-20, 'ada'), { type: 'memory.deleted', data: said })
      .when(store, wish(ada, { change: true }))
      .refused('not_found');
    given(memory, stored(-20, 'ada'), { type: 'memory.deleted', data: said })
      .when(store, wish(ada))
      .gives(written('ada', at(0, 'ada'), { 'node:ada': at(-5, 'ada') }));
  });

  it('is edited by whom a rule lets, who replaces what it may edit and leaves what it may not', () => {
    const [one, secret] = [stored(-20, 'ada'), stored(-10, 'cyd', {}, { category: 'secret' })];
    const half = writer('bob', ({ category }) => (category === 'a' ? 'edit' : undefined));
    given(memory, one, secret)
      .when(store, wish(half))
      .gives(written('bob', at(0, 'bob'), { 'node:ada': at(-20, 'ada') }));
  });

  it('keeps category and tags when another edits it: they say who may have it', () => {
    for (const change of [{ category: 'b' }, { tags: ['x'] }, { tags: ['x', 'z'] }]) {
      given(memory, stored(-20, 'ada')).when(store, wish(bob, change)).refused('sovereignty_refused');
    }
    given(memory, stored(-20, 'ada'))
      .when(store, wish(ada, { category: 'b' }))
      .gives(written('ada', at(0, 'ada'), { 'node:ada': at(-20, 'ada') }, { category: 'b' }));
  });

  it('is not changed by whom no rule lets, and not told of to whom no rule shows it', () => {
    given(memory, stored(-20, 'ada'))
      .when(store, wish(writer('bob', 'show')))
      .refused('sovereignty_refused');
    given(memory, stored(-20, 'ada'))
      .when(store, wish(writer('bob', undefined)))
      .refused('not_found');
  });

  it('finds no room when there is none, unless it was there before', () => {
    const full = refuse('limit_reached', 'full');
    given(memory).when(store, wish(ada, { full })).refused('limit_reached');
    given(memory, stored(-20, 'ada'))
      .when(store, wish(ada, { full }))
      .gives(written('ada', at(0, 'ada'), { 'node:ada': at(-20, 'ada') }));
  });

  it('has sixteen concurrent versions and sixty-four authors at most', () => {
    const beside = Array.from({ length: 16 }, (_, one) => stored(-20, `n${one}`));
    const blind = writer('ada', ({ author }) => (author === 'node:n0' ? 'edit' : undefined));
    given(memory, ...beside)
      .when(store, wish(blind))
      .gives(written('ada', at(0, 'ada'), { 'node:n0': at(-20, 'n0') }));
    given(memory, ...beside, stored(-10, 'more', { 'node:n0': at(-20, 'n0') }), stored(-9, 'many'))
      .when(take, brought(stored(-1, 'ada'), ada))
      .refused('limit_reached');
    const seen = Object.fromEntries(Array.from({ length: 63 }, (_, one) => [`node:n${one}`, at(-30, `n${one}`)]));
    given(memory, stored(-20, 'ada', seen))
      .when(store, wish(bob))
      .refused('limit_reached');
  });
});

describe('a version that a sync brings', () => {
  const mine = stored(-5, 'ada', { 'node:ada': at(-20, 'ada') });

  it('is taken as it is', () => {
    given(memory)
      .when(take, brought(stored(-20, 'ada'), ada))
      .gives(stored(-20, 'ada'));
    given(memory, stored(-20, 'ada')).when(take, brought(mine, ada)).gives(mine);
  });

  it('is taken beside a later one of the same author that had not seen it: that one was written elsewhere', () => {
    const first = stored(-30, 'ada');
    const seen = { 'node:ada': first.data.clock };
    const here = stored(-10, 'ada', seen);
    const offline = stored(-20, 'ada', seen);
    given(memory, first, here).when(take, brought(offline, ada)).gives(offline);
    given(memory, first, here, offline).when(take, brought(offline, ada)).answers({ taken: false });
  });

  it('is not taken twice, nor after it was replaced', () => {
    for (const facts of [[mine], [stored(-20, 'ada'), mine], [stored(-1, 'ada', { 'node:ada': at(-5, 'ada') })]]) {
      given(memory, ...facts)
        .when(take, brought(mine, ada))
        .gives();
      given(memory, ...facts)
        .when(take, brought(mine, ada))
        .answers({ taken: false });
    }
  });

  it('must be what its id says, by its clock’s author, later than what it knew of', () => {
    const forged = brought(mine, ada);
    const cases: Brought[] = [
      { ...forged, version: 'f'.repeat(64) },
      { ...forged, stated: { ...forged.stated, content_hash: 'd'.repeat(64) } },
      brought(written('bob', at(-5, 'ada'), {}), ada),
      brought(stored(-5, 'ada', { 'node:bob': at(-5, 'bob') }), ada),
      { ...forged, sealed: undefined },
    ];
    for (const wrong of cases) given(memory, stored(-20, 'ada')).when(take, wrong).refused('version_invalid');
  });

  it('may be five minutes ahead of the hub, and no more', () => {
    given(memory)
      .when(take, brought(stored(300_000, 'ada'), ada))
      .gives(stored(300_000, 'ada'));
    given(memory)
      .when(take, brought(stored(300_001, 'ada'), ada))
      .refused('clock_ahead');
  });

  it('is the bringer’s own', () => {
    given(memory)
      .when(take, brought(stored(-5, 'bob'), writer('bob', 'own')))
      .refused('sovereignty_refused');
    given(memory)
      .when(take, brought(stored(-5, 'ada'), writer('bob', 'own')))
      .refused('sovereignty_refused');
    given(memory, stored(-20, 'ada'))
      .when(take, brought(stored(-5, 'cyd'), ada))
      .refused('sovereignty_refused');
  });

  it('by an editor replaces what that may edit and says the same of itself', () => {
    const seen = { 'node:ada': at(-20, 'ada') };
    const edit = stored(-5, 'bob', seen);
    given(memory, stored(-20, 'ada')).when(take, brought(edit, bob)).gives(edit);
    for (const no of [
      brought(stored(-5, 'bob', seen, { category: 'b' }), bob),
      brought(stored(-5, 'bob', seen, { tags: [] }), bob),
      brought(stored(-5, 'bob'), bob),
      brought(edit, writer('bob', 'show')),
    ]) {
      given(memory, stored(-20, 'ada')).when(take, no).refused('sovereignty_refused');
    }
    given(memory, stored(-20, 'ada'))
      .when(take, brought(edit, writer('bob', undefined)))
      .refused('not_found');
  });

  it('by an editor stays beside what replaced the version it was written from', () => {
    const [one, two] = [stored(-20, 'ada'), stored(-10, 'ada', { 'node:ada': at(-20, 'ada') })];
    const late = stored(-5, 'bob', { 'node:ada': at(-20, 'ada') });
    given(memory, one, two).when(take, brought(late, bob)).gives(late);
  });
});

it('a version that a sync brings does not bring back what its owner took out of the editor’s reach', () => {
  const moved = stored(-10, 'ada', { 'node:ada': at(-20, 'ada') }, { category: 'private' });
  const half = writer('bob', ({ category }) => (category === 'a' ? 'edit' : undefined));
  given(memory, stored(-20, 'ada'), moved)
    .when(take, brought(stored(-5, 'bob', { 'node:ada': at(-20, 'ada') }), half))
    .refused('not_found');
});

describe('a memory that is deleted', () => {
  it('leaves a tombstone that knows of all versions', () => {
    const {
      content: _c,
      content_hash: _h,
      bytes: _b,
      version: _v,
      ...said
    } = written(
      'ada',
      at(0, 'ada'),
      { 'node:ada': at(-20, 'ada'), 'node:bob': at(-10, 'bob') },
      { tags: ['x', 'y'] },
    ).data;
    const version = versionId({ ...said, deleted: true, content_hash: null });
    given(memory, stored(-20, 'ada'), stored(-10, 'bob'))
      .when(remove, { memoryId: 'm', by: ada })
      .gives({ type: 'memory.deleted', data: { ...said, version } });
  });

  it('is deleted by the owner and who governs, and by no editor', () => {
    given(memory, stored(-20, 'ada')).when(remove, { memoryId: 'm', by: bob }).refused('sovereignty_refused');
    given(memory, stored(-20, 'ada'))
      .when(remove, { memoryId: 'm', by: writer('bob', undefined) })
      .refused('not_found');
    given(memory).when(remove, { memoryId: 'm', by: ada }).refused('not_found');
    const governor = writer('op', undefined, true);
    const seen = { 'node:ada': at(-20, 'ada') };
    const {
      content: _c,
      content_hash: _h,
      bytes: _b,
      version: _v,
      ...said
    } = written('op', at(0, 'op'), seen, {
      tags: ['x', 'y'],
    }).data;
    const version = versionId({ ...said, deleted: true, content_hash: null });
    const deleted = { type: 'memory.deleted', data: { ...said, version } } as const;
    given(memory, stored(-20, 'ada')).when(remove, { memoryId: 'm', by: governor }).gives(deleted);
    given(memory, stored(-20, 'ada'), deleted).when(remove, { memoryId: 'm', by: governor }).refused('not_found');
  });
});

it('the same version has the same id, whatever the order of its tags', () => {
  const { version } = stored(-5, 'ada', {}, { tags: ['y', 'x'] }).data;
  expect(version).toBe(stored(-5, 'ada', {}, { tags: ['x', 'y'] }).data.version);
  expect(version).not.toBe(stored(-5, 'ada', {}, { tags: ['x'] }).data.version);
});

describe('letting go', () => {
  const foreign = { federation: 'f', hops: ['f'], pass_on: true };
  const there = (event: StoredEvent): StoredEvent => {
    const data = { ...event.data, memory_id: 'm@f', owner: 'node:ada@f', foreign };
    return { ...event, data: { ...data, version: versionId({ ...data, deleted: false }) } };
  };
  const brought = there(stored(-10, 'ada'));
  const command = { memoryId: 'm@f', cause: 'asked' as const, when: () => true };

  it('leaves nothing known of what came from another federation: it may come again', () => {
    const gone = {
      type: 'memory.let-go',
      data: { memory_id: 'm@f', clock: brought.data.clock, cause: 'asked' },
    } as const;
    given(memory, brought).when(letGo, command).gives(gone);
    given(memory, brought, gone).when(letGo, command).gives();
  });

  it('leaves what is this federation’s own, and what is to stay', () => {
    given(memory, stored(-10, 'ada')).when(letGo, command).gives();
    given(memory, brought)
      .when(letGo, { ...command, when: () => false })
      .gives();
  });
});
