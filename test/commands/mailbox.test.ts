/** What a node has got of its mail only grows; what is let go is let go once. */
import { describe, expect, it } from 'vitest';
import { deliver, mail, mailbox, mailboxStream, mailStream, purge } from '../../src/commands/mailbox.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import { given } from './given.ts';

const delivered = (through: number): DomainEvent => ({ type: 'mail.delivered', data: { node_id: 'ada', through } });
const purged = (before: string): DomainEvent => ({ type: 'mail.purged', data: { before } });
const to = (through: number) => ({ nodeId: 'ada', through });

describe('an acknowledgement', () => {
  it('moves the mark', () => {
    const decided = given(mailbox).when(deliver, to(7));
    decided.gives(delivered(7));
    decided.answers({ through: 7 });
  });
  it('of a later position moves it on', () => given(mailbox, delivered(7)).when(deliver, to(8)).gives(delivered(8)));
  it.each([7, 6, 0])('of what was had before (%i) changes nothing, and says how far it is', (through) => {
    const decided = given(mailbox, delivered(3), delivered(7)).when(deliver, to(through));
    decided.gives();
    decided.answers({ through: 7 });
  });
  it('of nothing is nothing', () => given(mailbox).when(deliver, to(0)).gives());
  it('is not moved by other facts', () =>
    given(mailbox, delivered(7), purged('2026-01-01')).when(deliver, to(8)).gives(delivered(8)));
});

describe('letting go', () => {
  const [one, two] = ['2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z'];
  it('says before which time', () => given(mail).when(purge, { before: one }).gives(purged(one)));
  it('goes on to a later one', () => given(mail, purged(one)).when(purge, { before: two }).gives(purged(two)));
  it.each([one, two])('does not go back, nor twice to the same (%s)', (before) =>
    given(mail, purged(one), purged(two)).when(purge, { before }).gives(),
  );
  it('is not moved by other facts', () => given(mail, purged(one), delivered(7)).when(purge, { before: one }).gives());
});

it('each mailbox has a stream of its own, and all purges share one', () => {
  expect([mailboxStream('ada'), mailStream]).toEqual(['mailbox-ada', 'mail']);
});
