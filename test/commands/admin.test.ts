import { describe, expect, it } from 'vitest';
import { admins, appoint, dismiss } from '../../src/commands/admin.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import { given } from './given.ts';

const appointed = (admin: string): DomainEvent => ({ type: 'admin.appointed', data: { admin } });
const dismissed = (admin: string): DomainEvent => ({ type: 'admin.dismissed', data: { admin } });

describe('the administrators', () => {
  it('are appointed once', () => {
    given(admins).when(appoint, { admin: 'node:ada' }).gives(appointed('node:ada'));
    given(admins, appointed('node:ada')).when(appoint, { admin: 'node:ada' }).gives();
  });

  it('may go while another is left', () => {
    const two = given(admins, appointed('node:ada'), appointed('operator:abcdefgh'));
    two.when(dismiss, { admin: 'node:ada' }).gives(dismissed('node:ada'));
    two.when(dismiss, { admin: 'node:ada' }).answers({ dismissed: true });
  });

  it('keep their last one', () => {
    const last = given(admins, appointed('node:ada'), appointed('node:bob'), dismissed('node:ada'));
    last.when(dismiss, { admin: 'node:bob' }).refused('last_admin');
  });

  it('let even the last one go that is none any more', () => {
    given(admins, appointed('node:ada')).when(dismiss, { admin: 'node:ada', gone: true }).gives(dismissed('node:ada'));
  });

  it('are not changed by dismissing someone else', () => {
    given(admins, appointed('node:ada')).when(dismiss, { admin: 'node:bob' }).gives();
    given(admins, appointed('node:ada')).when(dismiss, { admin: 'node:bob' }).answers({ dismissed: false });
  });

  it('have a state that no event of another kind changes', () => {
    const event = { type: 'ban.lifted', data: { node_id: 'ada' }, time: '', revision: 0 } as const;
    expect(admins.evolve(admins.initial, event)).toBe(admins.initial);
  });
});
