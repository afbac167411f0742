/** From the log to what is found: a real log, keyring, lease and database of each kind. */
import { rm } from 'node:fs/promises';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isRefusal } from '../../src/errors.ts';
import { type Keyring, openKeyring } from '../../src/keyring.ts';
import { openSearch, type SearchIndex, type SearchQuery } from '../../src/search.ts';
import { memoryKeyring } from '../identity/memory-keyring.ts';
import { backends, freshPlace, kernel, type Opened, openBoth, until } from '../projections/backends.ts';
import { tell } from '../projections/facts.ts';
import { startPostgres } from '../setup/postgres-server.ts';
import { deleted, nameOf, sent, stored } from './sealed-facts.ts';

async function ids(search: SearchIndex, query: Partial<SearchQuery> | string): Promise<string[]> {
  const asked: Partial<SearchQuery> = typeof query === 'string' ? { words: query } : query;
  const page = await search.find({ kind: 'memory', words: '', where: [], limit: 100, ...asked });
  if (isRefusal(page)) throw new Error(page.detail);
  return page.hits.map(({ id }) => (asked.kind === 'message' ? nameOf(id) : id));
}

const message = (words: string) => ({ kind: 'message', words }) as const;

describe.each(backends)('the search index over %s', (kind) => {
  let place: Awaited<ReturnType<typeof freshPlace>>;
  let both: Opened;
  let keyring: Keyring;
  let search: SearchIndex;
  const open = ({ log, leases }: Opened = both) => openSearch({ url: place.url, log, keyring, leases, kernel });
  const caughtUp = async () => {
    const head = await both.log.head();
    await until('the index has all of the log', () => search.reached(head), 20_000);
  };

  beforeEach(async () => {
    place = await freshPlace(kind);
    both = await openBoth(place.url);
    keyring = await openKeyring(memoryKeyring(), kernel);
    search = open();
  });
  afterEach(async () => {
    await search?.close();
    await both?.close();
    await place?.drop();
  });

  it('finds messages by what they say and by their box, and memories by title, text, category and tag', async () => {
    await tell(
      both.log,
      await sent(keyring, { id: 'm1', content: 'the harbour is closed' }),
      await sent(keyring, {
        id: 'm2',
        to: 'cleo',
        content: { subject: 'Harbour', deep: [{ text: 'open again', level: 42 }] },
      }),
      await stored(keyring, {
        id: 'bread',
        title: 'Sourdough',
        content: 'flour and water',
        category: 'recipes/bread',
        tags: ['slow food'],
      }),
      await stored(keyring, { id: 'soup', content: { steps: ['flour', 'stock'] }, category: 'recipes' }),
    );
    await caughtUp();
    expect((await ids(search, message('harbour'))).sort()).toEqual(['m1', 'm2']);
    expect(await ids(search, message('42 open'))).toEqual(['m2']);
    expect(await ids(search, message('deep'))).toEqual([]);
    expect(await ids(search, { ...message('harbour'), where: [['box:node:ada'], ['from:node:bob']] })).toEqual(['m1']);
    expect(await ids(search, 'sourdough flour')).toEqual(['bread']);
    expect((await ids(search, { words: 'flour', where: [['under:recipes']] })).sort()).toEqual(['bread', 'soup']);
    expect(await ids(search, { words: 'flour', where: [['category:recipes']] })).toEqual(['soup']);
    expect(await ids(search, { where: [['tag:slow food'], ['owner:node:ada']] })).toEqual(['bread']);
    expect(await ids(search, { words: 'flour', where: [['owner:node:bob']] })).toEqual([]);
  });

  it('finds a memory by the version that is shown, whichever came first, and not when that is a tombstone', async () => {
    await tell(
      both.log,
      await stored(keyring, { id: 'a', content: 'later', clock: 9 }),
      await stored(keyring, { id: 'a', content: 'earlier', clock: 3 }),
      await stored(keyring, { id: 'b', content: 'written', clock: 3 }),
      deleted({ id: 'b', clock: 4 }),
      await stored(keyring, { id: 'b', content: 'straggler', clock: 2 }),
    );
    await caughtUp();
    expect(await ids(search, 'later OR earlier OR written OR straggler')).toEqual(['a']);
    expect(await ids(search, 'earlier')).toEqual([]);
  });

  it('finds no more what was erased or purged, nor after it was made again', async () => {
    await tell(
      both.log,
      await sent(keyring, { id: 'gone', to: 'ada', content: 'word' }),
      await sent(keyring, { id: 'stays', to: 'cleo', content: 'word' }),
      await sent(keyring, { id: 'over', to: 'cleo', content: 'word', expires_at: '2998-01-01T00:00:00.000Z' }),
      await stored(keyring, { id: 'm', owner: 'ada', content: 'word' }),
    );
    await caughtUp();
    expect((await ids(search, message('word'))).sort()).toEqual(['gone', 'over', 'stays']);
    for (const subject of ['mail:node:ada', 'memory:node:ada']) {
      await keyring.erase(subject);
      await tell(both.log, { type: 'keyring.subject-erased', data: { subject, keys: 1 } });
    }
    await tell(both.log, { type: 'mail.purged', data: { before: '2998-01-01T00:00:00.001Z' } });
    await caughtUp();
    const all = async () => [await ids(search, message('word')), await ids(search, 'word')];
    expect(await all()).toEqual([['stays'], []]);
    await forgetIndex();
    await caughtUp();
    expect(await all()).toEqual([['stays'], []]);
  });

  it('is made again from the log when it was lost, with the same answers', async () => {
    const texts = ['one two', 'two three three', 'three', 'one three'];
    for (const [at, content] of texts.entries()) await tell(both.log, await stored(keyring, { id: `m${at}`, content }));
    await tell(
      both.log,
      await stored(keyring, { id: 'm0', content: 'one one', clock: 2 }),
      deleted({ id: 'm2', clock: 2 }),
    );
    await caughtUp();
    const questions = ['one', 'three', 'one OR two', '"two three"', '-one', ''];
    const answers = async () => Promise.all(questions.map((words) => ids(search, words)));
    const before = await answers();
    expect(before.map((each) => each.toSorted())).toEqual([
      ['m0', 'm3'],
      ['m1', 'm3'],
      ['m0', 'm1', 'm3'],
      ['m1'],
      ['m1'],
      ['m0', 'm1', 'm3'],
    ]);
    await forgetIndex();
    await caughtUp();
    expect(await answers()).toEqual(before);
  });

  it('passes over what cannot be unsealed, and goes on', async () => {
    const broken = await sent(keyring, { id: 'broken', content: 'word' });
    if (broken.type !== 'message.sent') throw new Error('no message');
    const content = { ...broken.data.content, sealed: `A${broken.data.content.sealed.slice(1, -2)}AA` };
    await tell(
      both.log,
      { ...broken, data: { ...broken.data, content } },
      await sent(keyring, { id: 'whole', content: 'word' }),
    );
    await caughtUp();
    expect(await ids(search, message('word'))).toEqual(['whole']);
    expect(search.fault).toBeNull();
  });

  it('says how far it is, also while nothing comes that it knows', async () => {
    const position = await tell(both.log, {
      type: 'governance.mode-changed',
      data: { mode: 'invite', previous: 'open' },
    });
    await caughtUp();
    expect(search.position).toBe(position);
    expect(await search.reached(position + 1)).toBe(false);
    await until('the position is written down', async () => {
      const page = await search.find({ kind: 'memory', words: '', where: [], limit: 1 });
      return !isRefusal(page) && page.position === position;
    });
    await search.close();
    search = open();
    await caughtUp();
  });

  it('begins anew for another log', async () => {
    await tell(both.log, await stored(keyring, { id: 'a', content: 'word' }));
    await caughtUp();
    expect(await ids(search, 'word')).toEqual(['a']);
    await search.close();
    const other = await freshPlace(kind);
    const elsewhere = await openBoth(other.url);
    await tell(elsewhere.log, await stored(keyring, { id: 'b', content: 'word' }));
    search = openSearch({ url: place.url, log: elsewhere.log, keyring, leases: both.leases, kernel });
    const head = await elsewhere.log.head();
    await until('the index has all of the other log', () => search.reached(head), 20_000);
    expect(await ids(search, 'word')).toEqual(['b']);
    await search.close();
    await elsewhere.close();
    await other.drop();
  });

  /** As an operator would: the file, or the tables. */
  async function forgetIndex(): Promise<void> {
    await search.close();
    if (kind === 'sqlite') {
      const folder = place.url.slice('sqlite:'.length);
      for (const end of ['', '-wal', '-shm']) await rm(`${folder}/search.db${end}`, { force: true });
    } else {
      const client = new pg.Client({ connectionString: place.url });
      await client.connect();
      await client.query('DROP TABLE federation_search_about, federation_search_documents');
      await client.end();
    }
    search = open();
  }
});

it('is filled by one of several replicas, read by all, and taken over when that one goes', async () => {
  const place = await freshPlace('postgres');
  const keyring = await openKeyring(memoryKeyring(), kernel);
  const replicas = [await openBoth(place.url), await openBoth(place.url)];
  const searches = replicas.map(({ log, leases }) => openSearch({ url: place.url, log, keyring, leases, kernel }));
  const log = replicas[1]!.log;
  const everywhere = async (id: string) => {
    for (const search of searches) {
      await until(
        `${id} is found`,
        async () => (await search.reached(await log.head())) && (await ids(search, id)).includes(id),
      );
    }
  };
  try {
    await tell(log, await stored(keyring, { id: 'first', content: 'first' }));
    await everywhere('first');
    const filling = replicas.filter(({ leases }) =>
      leases.duties().some(({ name, held }) => name === 'search-index' && held),
    );
    expect(filling).toHaveLength(1);
    const at = replicas.indexOf(filling[0]!);
    await searches[at]!.close();
    searches.splice(at, 1);
    await tell(log, await stored(keyring, { id: 'second', content: 'second' }));
    await everywhere('second');
  } finally {
    for (const search of searches) await search.close();
    for (const both of replicas) await both.close();
    await place.drop();
  }
});

it('says that it cannot be read while its database is away, and goes on when that is back', async () => {
  const server = await startPostgres();
  const logPlace = await freshPlace('sqlite');
  const both = await openBoth(logPlace.url);
  const keyring = await openKeyring(memoryKeyring(), kernel);
  const search = openSearch({ url: server.url, log: both.log, keyring, leases: both.leases, kernel });
  try {
    await tell(both.log, await stored(keyring, { id: 'before', content: 'word' }));
    const head = await both.log.head();
    await until('the index has all of the log', () => search.reached(head), 20_000);
    await server.stop();
    await expect(ids(search, 'word')).rejects.toMatchObject({ code: 'views_unavailable' });
    await tell(both.log, await stored(keyring, { id: 'meanwhile', content: 'word' }));
    await until('the trouble is known', () => search.fault !== null);
    await server.start();
    await until(
      'it is found',
      async () => (await ids(search, 'word').catch((): string[] => [])).includes('meanwhile'),
      30_000,
    );
    expect(await ids(search, 'word')).toEqual(['meanwhile', 'before']);
    expect(search.fault).toBeNull();
  } finally {
    await search.close();
    await both.close();
    await logPlace.drop();
    await server.remove();
  }
}, 90_000);
