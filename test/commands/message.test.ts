/** What becomes of one message: sent once, read, refused or expired, each by whom it concerns and once. */
import { describe, it } from 'vitest';
import { expire, message, messageStream, read, refuseMessage, type Sending, send } from '../../src/commands/message.ts';
import { refuse } from '../../src/errors.ts';
import type { DomainEvent, EventData } from '../../src/events/catalog.ts';
import { given, now } from './given.ts';

const message_id = '00000000-0000-4000-8000-000000000001';
const content = { subject: 'mail:node:bob', key_id: 'k', sealed: 'AAAA' };
const expires_at = new Date(now + 60_000).toISOString();
const data: EventData<'message.sent'> = {
  message_id,
  from: 'node:ada',
  to: { node: 'bob' },
  box: 'node:bob',
  content,
  bytes: 7,
  expires_at,
};
const sending = (more: Partial<Sending> = {}): Sending => ({ ...data, full: undefined, ...more });
const sent: DomainEvent = { type: 'message.sent', data };
const known = { message_id, box: 'node:bob', from: 'node:ada', expires_at, sent_position: 5 };
const readBy = (node_id: string): DomainEvent => ({ type: 'message.read', data: { ...known, node_id } });
const refusedBy = (node_id: string): DomainEvent => ({
  type: 'message.refused',
  data: { ...known, node_id, code: 'declined', reason: 'no' },
});
const expired = (unreached: string[] = ['bob'], others = 0): DomainEvent => ({
  type: 'message.expired',
  data: { ...known, unreached, others },
});
const by = (nodeId: string) => ({ nodeId, sentPosition: 5 });
const declining = (nodeId: string) => ({ ...by(nodeId), code: 'declined', reason: 'no' });

describe('sending', () => {
  it('writes it down, and answers its id', () => {
    const decided = given(message).when(send, sending());
    decided.gives(sent);
    decided.answers({ message_id });
  });

  it('keeps what the sender said of it, and says whom it is not for', () => {
    const more = {
      to: { channel: 'news' },
      box: 'channel:news',
      correlation_id: 'c',
      reply_to: { everyone: true as const },
      without: ['cy'],
    };
    const decided = given(message).when(send, sending(more));
    decided.gives({ type: 'message.sent', data: { ...data, ...more } });
    decided.answers({ message_id, without: ['cy'] });
  });

  it('refuses what there is no room for, as it is told', () => {
    given(message)
      .when(send, sending({ full: refuse('queue_full', 'full') }))
      .refused('queue_full');
  });

  it('refuses an id that is taken, whether there is room or not', () => {
    given(message, sent).when(send, sending()).refused('conflict');
    given(message, sent)
      .when(send, sending({ full: refuse('queue_full', 'full') }))
      .refused('conflict');
  });
});

describe('reading', () => {
  it('says who read it, and repeats what the message said of itself', () =>
    given(message, sent).when(read, by('bob')).gives(readBy('bob')));
  it('twice is once', () => given(message, sent, readBy('bob')).when(read, by('bob')).gives());
  it('is of each for itself', () => given(message, sent, readBy('bob')).when(read, by('cy')).gives(readBy('cy')));
  it('counts also when the time of the message is over, or it was refused', () => {
    given(message, sent, expired()).when(read, by('bob')).gives(readBy('bob'));
    given(message, sent, refusedBy('bob')).when(read, by('bob')).gives(readBy('bob'));
  });
  it('refuses a message that is not there', () => given(message).when(read, by('bob')).refused('not_found'));
  it('knows nothing from facts of a message that was not sent', () =>
    given(message, readBy('bob')).when(read, by('bob')).refused('not_found'));
});

describe('refusing', () => {
  it('says who will not have it, and why', () =>
    given(message, sent).when(refuseMessage, declining('bob')).gives(refusedBy('bob')));
  it('twice is once, and is of each for itself', () => {
    given(message, sent, refusedBy('bob')).when(refuseMessage, declining('bob')).gives();
    given(message, sent, refusedBy('bob')).when(refuseMessage, declining('cy')).gives(refusedBy('cy'));
  });
  it('may follow the reading of it', () =>
    given(message, sent, readBy('bob')).when(refuseMessage, declining('bob')).gives(refusedBy('bob')));
  it('is too late for a message that expired', () =>
    given(message, sent, expired()).when(refuseMessage, declining('bob')).refused('message_over'));
  it('refuses a message that is not there', () =>
    given(message).when(refuseMessage, declining('bob')).refused('not_found'));
});

describe('expiry', () => {
  const over = { sentPosition: 5, unreached: ['bob'] };
  const due = Date.parse(expires_at);

  it('says who did not get it, from the very millisecond on', () => {
    given(message, sent).at(due).when(expire, over).gives(expired());
    given(message, sent).at(due).when(expire, over).answers({ expired: true });
  });
  it('does not happen a millisecond before', () => {
    given(message, sent)
      .at(due - 1)
      .when(expire, over)
      .gives();
    given(message, sent)
      .at(due - 1)
      .when(expire, over)
      .answers({ expired: false });
  });
  it('happens once, and not to a message that is not there', () => {
    given(message, sent, expired()).at(due).when(expire, over).gives();
    given(message).at(due).when(expire, over).answers({ expired: false });
  });
  it('happens to one that some have read or refused', () =>
    given(message, sent, readBy('cy'), refusedBy('dan')).at(due).when(expire, over).gives(expired()));
  it('names all who did not get it, a thousand a fact', () => {
    const all = Array.from({ length: 2_003 }, (_, at) => `n-${at}`);
    given(message, sent)
      .at(due)
      .when(expire, { sentPosition: 5, unreached: all })
      .gives(expired(all.slice(0, 1_000)), expired(all.slice(1_000, 2_000)), expired(all.slice(2_000)));
    given(message, sent)
      .at(due)
      .when(expire, { sentPosition: 5, unreached: all.slice(0, 1_000) })
      .gives(expired(all.slice(0, 1_000)));
  });
  it('happens also to one that nobody waits for any more', () =>
    given(message, sent).at(due).when(expire, { sentPosition: 5, unreached: [] }).gives(expired([])));
});

describe('a stream of its own', () => {
  it('is named by the id', ({ expect }) => expect(messageStream(message_id)).toBe(`message-${message_id}`));
});
