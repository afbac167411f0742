/** What patterns name, what filters let through, and what of each event anyone may see. */
import fc from 'fast-check';
import { Compile } from 'typebox/compile';
import { describe, expect, it } from 'vitest';
import type { Identity } from '../../src/doors.ts';
import { catalog, type EventType, type LogEvent } from '../../src/events/catalog.ts';
import { CloudEvent } from '../../src/protocol.ts';
import { fits, names, typesOf } from '../../src/services/event-bus/patterns.ts';
import { Shown } from '../../src/services/event-bus/shown.ts';
import { viewFor } from '../../src/services/event-bus/visible.ts';
import { retryAfterMsOf } from '../../src/services/event-bus/webhook-call.ts';
import { history } from '../projections/histories.ts';

const node = (role: 'observer' | 'member' | 'admin', nodeId = 'someone'): Identity => ({
  kind: 'node',
  nodeId,
  sessionId: 's',
  role,
});
const operator = (...scopes: string[]): Identity => ({ kind: 'operator', prefix: 'p', scopes });

describe('a pattern', () => {
  it('names types word by word: * is one, a > at the end one or more', () => {
    for (const [pattern, type, named] of [
      ['node.*', 'node.lost', true],
      ['node.*', 'nodexyz', false],
      ['node.*', 'node', false],
      ['node.*', 'node.a.b', false],
      ['node.>', 'node.a.b', true],
      ['node.>', 'node.a', true],
      ['node.>', 'node', false],
      ['>', 'node', true],
      ['>', 'node.a.b', true],
      ['*', 'node', true],
      ['*', 'node.a', false],
      ['*.lost', 'node.lost', true],
      ['*.>', 'node.a.b', true],
      ['node.lost', 'node.lost', true],
      ['node.lost', 'node-lost', false],
    ] as const) {
      expect([pattern, type, names(pattern, type)]).toEqual([pattern, type, named]);
    }
  });

  it('agrees with the same said as a regular expression', () => {
    const word = fc.constantFrom('a', 'b', 'node');
    const text = fc.array(word, { minLength: 1, maxLength: 4 }).map((words) => words.join('.'));
    const pattern = fc
      .tuple(fc.array(fc.oneof(word, fc.constant('*')), { maxLength: 3 }), fc.constantFrom('a', '*', '>'))
      .map(([words, last]) => [...words, last].join('.'));
    fc.assert(
      fc.property(pattern, text, (wanted, type) => {
        const source = wanted.split('.').map((part) => (part === '*' ? '[^.]+' : part === '>' ? '.+' : part));
        expect(names(wanted, type)).toBe(new RegExp(`^${source.join('\\.')}$`).test(type));
      }),
    );
  });

  it('means types of the catalogue, without those that tell of deliveries', () => {
    expect([...typesOf(['ban.*'])]).toEqual(['ban.imposed', 'ban.lifted']);
    const hidden = ['subscription.advanced', 'mail.delivered'];
    const all = Object.keys(catalog).filter((type) => !hidden.includes(type));
    expect([...typesOf(['>'])].sort()).toEqual(all.sort());
    expect(typesOf(hidden).size).toBe(0);
  });
});

describe('a filter', () => {
  it('asks for members as they are, by their text', () => {
    const data = { node_id: 'a', lease: 5, counted: true, nothing: null, deep: { node_id: 'b' } };
    expect(fits(undefined, data)).toBe(true);
    expect(fits({ node_id: 'a', lease: '5', counted: 'true' }, data)).toBe(true);
    expect(fits({ lease: 5 }, data)).toBe(true);
    for (const filter of [
      { node_id: 'b' },
      { nothing: 'null' },
      { deep: '[object Object]' },
      { absent: 'undefined' },
    ]) {
      expect(fits(filter as Record<string, string>, data)).toBe(false);
    }
    expect(fits({ constructor: 'x' }, data)).toBe(false);
  });
});

describe('what is seen of an event', () => {
  const seen = (identity: Identity, party = false) =>
    (Object.keys(catalog) as EventType[]).filter((type) => viewFor(type, identity, party) !== undefined);

  it('keeps sessions, keys, tokens, invites, requests, limits and the audit log from those who do not govern', () => {
    const guarded = /^(session|key|keyring|operator-token|invite|join|limits|audit|ban|access|admin)\./;
    for (const identity of [node('observer'), node('member'), operator('read'), operator('act')]) {
      expect(seen(identity).filter((type) => guarded.test(type))).toEqual([]);
      expect(seen(identity)).toEqual(expect.arrayContaining(['node.lost', 'task.completed', 'entity.registered']));
    }
    for (const identity of [node('admin'), operator('govern'), operator('audit'), operator('admin')]) {
      expect(seen(identity)).toHaveLength(Object.keys(catalog).length - 2); // what tells of deliveries nobody is shown
    }
    expect(seen({ kind: 'anonymous' }, true)).toEqual([]);
  });

  it('holds no hash, address or sealed text of any event there is, for whoever it may be', () => {
    const steps = fc.sample(history, { numRuns: 100, seed: 7 }).flat();
    const events = steps.flatMap((step) => (step.step === 'tell' ? [step.event] : []));
    expect(new Set(events.map(({ type }) => type)).size).toBeGreaterThan(60);
    for (const { type, data: held } of events) {
      const shown = new Shown(event(type, held), 'fed', [], () => 0);
      for (const view of ['full', 'plain'] as const) {
        expect(Compile(CloudEvent).Check(shown.view(view).event)).toBe(true);
        const { data } = shown.view(view).event as { data: object };
        expect(Object.keys(data), type).not.toContain('hash');
        expect(Object.keys(data), type).not.toContain('address');
      }
    }
  });

  it('shows what a task holds to its parties and to who governs', () => {
    const submitted = (payload: object) =>
      event('task.submitted', {
        task_id: 't',
        type: 'words',
        submitter: 'node:ada',
        payload,
        priority: 5,
        requirements: {},
        max_attempts: 3,
        backoff: { kind: 'fixed', delay_ms: 1, max_ms: 1 },
        callback: { kind: 'webhook', url: 'https://x.example/secret' },
      });
    const plain = (identity: Identity, party: boolean) => viewFor('task.submitted', identity, party);
    expect(plain(node('member'), false)).toBe('plain');
    expect(plain(node('observer'), true)).toBe('full');
    expect(plain(node('admin'), false)).toBe('full');
    expect(plain(operator('audit'), false)).toBe('plain');
    const shown = new Shown(
      submitted({ value: { text: 'hush' } }),
      'fed',
      [{ actor: 'node:ada', position: 1 }],
      () => 0,
    );
    expect(shown.view('plain').json).not.toMatch(/hush|x\.example/);
    expect(shown.view('full').event.data).toMatchObject({ payload: { value: { text: 'hush' } } });
    const sealed = new Shown(
      submitted({ sealed: { subject: 's', key_id: 'k', sealed: 'bytes' } }),
      'fed',
      [{ actor: 'node:ada', position: 1 }],
      () => 0,
    );
    expect(sealed.view('full').event.data).toMatchObject({ payload: { sealed: true } });
    expect(sealed.view('full').json).not.toContain('bytes');
  });

  it('is put into words once for each view', () => {
    const shown = new Shown(event('node.left', { node_id: 'a' }), 'fed', [], () => 0);
    expect(shown.view('full')).toBe(shown.view('full'));
    expect(shown.view('full').frame).toBe(shown.view('full').frame);
    expect(shown.view('full').frame.toString()).toMatch(/^id: 3\nevent: node\.left\ndata: \{.*\}\n\n$/);
  });
});

it('Retry-After is seconds or a date, an hour at most', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  expect(retryAfterMsOf('7', now)).toBe(7_000);
  expect(retryAfterMsOf('Thu, 01 Jan 2026 00:00:30 GMT', now)).toBe(30_000);
  expect(retryAfterMsOf('Wed, 31 Dec 2025 00:00:30 GMT', now)).toBe(0);
  expect(retryAfterMsOf('999999', now)).toBe(3_600_000);
  expect(retryAfterMsOf('soon', now)).toBeUndefined();
  expect(retryAfterMsOf(undefined, now)).toBeUndefined();
});

function event(type: EventType, data: object = {}): LogEvent {
  const meta = { actor: 'hub', correlation: 'c', replica: 'r' };
  const about = { position: 3, stream: 's', revision: 0, id: 'i', time: '2026-01-01T00:00:00.000Z', meta };
  return { type, data, ...about } as LogEvent; // of this very type, as far as the test looks
}
