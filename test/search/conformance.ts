/** What every backend of the search must do. A backend passes all of it or is none. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isRefusal } from '../../src/errors.ts';
import { find } from '../../src/search/find.ts';
import type { SearchDocument, SearchStore } from '../../src/search/store.ts';
import type { SearchPage, SearchQuery } from '../../src/search.ts';

export interface OpenedStore {
  readonly store: SearchStore;
  /** Closes the store and opens the same one again. */
  reopen(): Promise<SearchStore>;
  /** Closes it and removes what it stood on. */
  remove(): Promise<void>;
}

export const logId = 'f2a44a0e-5f0e-4c0b-8a57-3d9f2b0c9d11';

/** An empty index, ready to be filled, over a new place. */
export type OpenStore = () => Promise<OpenedStore>;

/** Fills an index, and asks it. */
export class Filled {
  store: SearchStore;
  #position = 0;

  constructor(store: SearchStore) {
    this.store = store;
  }

  async begin(head = Number.MAX_SAFE_INTEGER): Promise<number> {
    this.#position = await this.store.begin(logId, head);
    return this.#position;
  }

  /** In one transaction. Each stands a few positions after the one before. */
  async put(...documents: Partial<SearchDocument>[]): Promise<void> {
    const from = this.#position;
    const whole = documents.map((document) => {
      this.#position += 3;
      return memory({ position: this.#position, ...document });
    });
    this.#position += 2;
    await this.store.apply(whole, from, this.#position);
  }

  async page(query: Partial<SearchQuery> | string): Promise<SearchPage> {
    const asked = typeof query === 'string' ? { words: query } : query;
    const page = await find(this.store, logId, { kind: 'memory', words: '', where: [], limit: 100, ...asked });
    if (isRefusal(page)) throw new Error(page.detail);
    return page;
  }

  /** Ids, the best first. */
  async ids(query: Partial<SearchQuery> | string): Promise<string[]> {
    return (await this.page(query)).hits.map(({ id }) => id);
  }

  /** Ids of all pages. */
  async allIds(query: Partial<SearchQuery>): Promise<string[]> {
    const ids: string[] = [];
    for (let after: SearchQuery['after']; ; ) {
      const page = await this.page({ ...query, after });
      ids.push(...page.hits.map(({ id }) => id));
      if (!page.next) return ids;
      after = JSON.parse(JSON.stringify(page.next)) as SearchQuery['after']; // as it comes back from outside
    }
  }
}

export function memory(document: Partial<SearchDocument>): SearchDocument {
  const { position = 1 } = document;
  return {
    kind: 'memory',
    id: `m${position}`,
    rank: 'a',
    subject: 's',
    labels: [],
    title: '',
    text: '',
    position,
    ...document,
  };
}

/** Registers the whole suite for one backend. */
export function conformance(name: string, open: OpenStore): void {
  describe(name, () => {
    let opened: OpenedStore;
    let index: Filled;
    beforeEach(async () => {
      opened = await open();
      index = new Filled(opened.store);
      await index.begin();
    });
    afterEach(() => opened?.remove());

    it('finds what has all words, whatever their case, accents and width', async () => {
      await index.put(
        { id: 'a', text: 'The Café in Łódź, straße 12' },
        { id: 'b', text: 'cafe society' },
        { id: 'c', text: 'ＣＡＦＥ' },
      );
      expect(await index.ids('CAFÉ')).toEqual(expect.arrayContaining(['a', 'b', 'c']));
      expect(await index.ids('cafe STRASSE')).toEqual(['a']);
      expect(await index.ids('caf')).toEqual([]);
    });

    it('finds a phrase where its words stand in a row, in the title or in the text, and not across both', async () => {
      await index.put(
        { id: 'row', text: 'one two three' },
        { id: 'apart', text: 'one three two' },
        { id: 'title', title: 'about one, two', text: 'else' },
        { id: 'across', title: 'one', text: 'two three' },
      );
      expect((await index.ids('"one two"')).sort()).toEqual(['row', 'title']);
      expect((await index.ids('one-two')).sort()).toEqual(['row', 'title']);
      expect(await index.ids('"one two" -"two three"')).toEqual(['title']);
      expect(await index.ids('"one tw*" three')).toEqual(['row']);
    });

    it('finds a phrase in a text of any length, however often its words are in it', async () => {
      const many = Array.from({ length: 19_000 }, (_, at) => (at % 3 === 0 ? 'and' : `w${at % 7}`)).join(' ');
      await index.put({ id: 'long', text: `${many} and the end` }, { id: 'other', text: `${many} the and end` });
      expect(await index.ids('"and the end"')).toEqual(['long']);
    });

    it('finds by the beginning of a word', async () => {
      await index.put({ id: 'a', text: 'federation' }, { id: 'b', text: 'federal' }, { id: 'c', text: 'confederate' });
      expect((await index.ids('feder*')).sort()).toEqual(['a', 'b']);
      expect(await index.ids('federat*')).toEqual(['a']);
      expect(await index.ids('con* -feder*')).toEqual(['c']);
    });

    it('takes one or the other, and leaves out what has a word that is not wanted', async () => {
      await index.put({ id: 'a', text: 'red apple' }, { id: 'b', text: 'green apple' }, { id: 'c', text: 'red brick' });
      expect((await index.ids('red OR green apple')).sort()).toEqual(['a', 'b']);
      expect(await index.ids('red -apple')).toEqual(['c']);
      expect(await index.ids('-red')).toEqual(['b']);
      expect((await index.ids('"red brick" OR "green apple"')).sort()).toEqual(['b', 'c']);
    });

    it('finds any part of a run of letters that has no spaces', async () => {
      await index.put(
        { id: 'ja', text: '東京都に住んでいます' },
        { id: 'zh', text: '我住在北京' },
        { id: 'th', text: 'ภาษาไทยง่าย' },
        { id: 'ko', text: '한국어를 배웁니다' },
      );
      expect(await index.ids('東京')).toEqual(['ja']);
      expect((await index.ids('京')).sort()).toEqual(['ja', 'zh']);
      expect(await index.ids('京都に')).toEqual(['ja']);
      expect(await index.ids('京東')).toEqual([]);
      expect(await index.ids('ไทย')).toEqual(['th']);
      expect(await index.ids('한국어')).toEqual(['ko']);
      expect((await index.ids('住')).sort()).toEqual(['ja', 'zh']);
    });

    it('filters by labels exactly: of each group one', async () => {
      await index.put(
        { id: 'a', labels: ['box:node:Ada', 'from:node:bob'], text: 'word' },
        { id: 'b', labels: ['box:node:ada', 'from:node:bob'], text: 'word' },
        { id: 'c', labels: ['box:node:ada', `tag:"quoted" OR *'`], text: 'word' },
      );
      expect(await index.ids({ words: 'word', where: [['box:node:Ada']] })).toEqual(['a']);
      expect(await index.ids({ words: 'word', where: [['box:node:Ada', 'box:node:ada'], ['from:node:bob']] })).toEqual([
        'b',
        'a',
      ]);
      expect(await index.ids({ where: [[`tag:"quoted" OR *'`]] })).toEqual(['c']);
      expect(await index.ids({ words: 'word', where: [[]] })).toEqual([]);
      expect(await index.ids('box:node:ada')).toEqual([]);
    });

    it('takes a thousand labels, and no more', async () => {
      await index.put({ id: 'a', labels: ['tag:999'], text: 'word' });
      const labels = Array.from({ length: 1_000 }, (_, at) => `tag:${at}`);
      expect(await index.ids({ words: 'word', where: [labels] })).toEqual(['a']);
      await expect(index.ids({ where: [labels, ['one more']] })).rejects.toThrow(TypeError);
    });

    it('tells messages and memories apart', async () => {
      await index.put({ id: 'a', kind: 'message', rank: '', text: 'word' }, { id: 'a', kind: 'memory', text: 'word' });
      expect((await index.page({ kind: 'message', words: 'word' })).hits).toMatchObject([{ id: 'a', position: 3 }]);
      expect((await index.page({ kind: 'memory', words: 'word' })).hits).toMatchObject([{ id: 'a', position: 6 }]);
    });

    it('lists the newest when nothing is asked for, and nothing for what holds no word', async () => {
      await index.put({ id: 'a' }, { id: 'b', text: 'word' }, { id: 'c' });
      expect(await index.ids('  ')).toEqual(['c', 'b', 'a']);
      expect(await index.ids('!!! 🎉')).toEqual([]);
      expect(await index.allIds({ limit: 2 })).toEqual(['c', 'b', 'a']);
    });

    it('puts first what is more about it: title before text, often before once, short before long, rare before common', async () => {
      await index.put(
        { id: 'long', text: `zebra ${'filler '.repeat(200)}` },
        { id: 'often', text: 'zebra zebra zebra and more words' },
        { id: 'title', title: 'zebra', text: 'zebra zebra zebra and more' },
        { id: 'once', text: 'a zebra and some more words' },
      );
      expect(await index.ids('zebra')).toEqual(['title', 'often', 'once', 'long']);
      await index.put(...Array.from({ length: 50 }, (_, at) => ({ id: `c${at}`, text: 'common' })));
      await index.put(
        { id: 'much', text: 'common common common okapi w w' },
        { id: 'rare', text: 'common okapi okapi okapi w w' },
      );
      expect((await index.ids('common okapi'))[0]).toBe('rare');
    });

    it('puts the newest of equals first', async () => {
      await index.put({ id: 'b', text: 'same' }, { id: 'a', text: 'same' }, { id: 'c', text: 'same' });
      expect(await index.ids('same')).toEqual(['c', 'a', 'b']);
    });

    it('gives each match once over pages, in one order, beyond what is ranked together', async () => {
      const texts = Array.from(
        { length: 1_300 },
        (_, at) => `needle ${'needle '.repeat(at % 5)}${at % 2 ? 'odd' : 'even'}`,
      );
      for (let at = 0; at < texts.length; at += 500)
        await index.put(...texts.slice(at, at + 500).map((text) => ({ text })));
      for (const words of ['needle', '"needle odd"', '-even']) {
        const ids = await index.allIds({ words, limit: 333 });
        expect(new Set(ids).size).toBe(ids.length);
        expect(ids.length).toBe(words === 'needle' ? 1_300 : 650);
        expect(await index.allIds({ words, limit: 500 })).toEqual(ids);
      }
    });

    it('ranks no more together than four million letters', async () => {
      const long = 'abcdefg '.repeat(19_000);
      for (let at = 0; at < 33; at++)
        await index.put({ id: `d${at}`, text: `needle ${at === 2 ? 'needle ' : ''}${long}` });
      const { hits, next } = await index.page('needle');
      expect(hits.length).toBe(25);
      expect(next).toBeDefined();
      expect(await index.allIds({ words: 'needle' })).toHaveLength(33);
    });

    it('keeps of one document the version of the highest rank, whichever came first', async () => {
      await index.put({ id: 'a', rank: '2', text: 'second' });
      await index.put(
        { id: 'a', rank: '1', text: 'first' },
        { id: 'b', rank: '1', text: 'old' },
        { id: 'b', rank: '2', text: 'new' },
        { id: 'b', rank: '0', text: 'older' },
      );
      expect(await index.ids('first OR old OR older')).toEqual([]);
      expect((await index.ids('second OR new')).sort()).toEqual(['a', 'b']);
      await index.put({ id: 'a', rank: '3', gone: true, text: 'hidden' });
      expect(await index.ids('second OR hidden')).toEqual([]);
      await index.put({ id: 'a', rank: '2', text: 'late' });
      expect(await index.ids('late')).toEqual([]);
      await index.put({ id: 'a', rank: '4', text: 'again' });
      expect(await index.ids('again')).toEqual(['a']);
    });

    it('removes what belongs to a subject, and what has expired, some at a time', async () => {
      await index.put(...['x', 'y', 'x', 'x'].map((subject, at) => ({ id: `m${at}`, subject, text: 'word' })));
      await index.put(
        { id: 'old', kind: 'message', rank: '', expiresAt: 10, text: 'word' },
        { id: 'edge', kind: 'message', rank: '', expiresAt: 11, text: 'word' },
      );
      expect(await index.store.remove({ subject: 'x' }, 2)).toBe(2);
      expect(await index.store.remove({ subject: 'x' }, 2)).toBe(1);
      expect(await index.store.remove({ subject: 'x' }, 2)).toBe(0);
      expect(await index.store.remove({ expiredBefore: 11 }, 100)).toBe(1);
      await index.store.settle();
      expect(await index.ids('word')).toEqual(['m1']);
      expect(await index.ids({ kind: 'message', words: 'word' })).toEqual(['edge']);
      await index.put({ id: 'm0', rank: '', subject: 'y', text: 'word of a lower rank' });
      expect(await index.ids('word')).toEqual(['m1']);
    });

    it('keeps what it was given over a restart, and goes on from where it was', async () => {
      await index.put({ id: 'a', text: 'word' });
      index.store = await opened.reopen();
      expect(await index.ids('word')).toEqual(['a']);
      expect(await index.begin()).toBe(5);
      await index.put({ id: 'b', text: 'word' });
      expect(await index.ids('word')).toEqual(['b', 'a']);
    });

    it('writes all of a batch or nothing, and only where it stands', async () => {
      await index.put({ id: 'a', text: 'word' });
      const twice = [memory({ id: 'b', text: 'word', position: 7 }), memory({ id: 'c', text: 'word', position: 7 })];
      await expect(index.store.apply(twice, 5, 8)).rejects.toThrow();
      await expect(index.store.apply([memory({ id: 'b', text: 'word', position: 7 })], 4, 8)).rejects.toThrow();
      expect(await index.store.position(logId)).toBe(5);
      expect(await index.ids('word')).toEqual(['a']);
    });

    it('begins anew for another log, and for one that was restored to before it', async () => {
      await index.put({ id: 'a', text: 'word' });
      expect(await index.begin(5)).toBe(5);
      expect(await index.begin(4)).toBe(0);
      expect(await index.ids('word')).toEqual([]);
      await index.put({ id: 'a', text: 'word' });
      expect(await index.store.begin('another log', 100)).toBe(0);
      expect(await index.store.position(logId)).toBeUndefined();
      await expect(index.ids('word')).rejects.toMatchObject({ code: 'views_unavailable' });
    });

    it('says how much of the log is in an answer', async () => {
      await index.put({ id: 'a', text: 'word' });
      await index.store.apply([], 5, 40);
      expect((await index.page('word')).position).toBe(40);
      expect((await index.page('else')).position).toBe(40);
    });
  });
}
