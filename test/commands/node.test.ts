import { describe, expect, it } from 'vitest';
import { changeRole, heartbeat, judge, leave, node, register, remove, update } from '../../src/commands/node.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import { given } from './given.ts';

const nodeId = 'ada';
const publicKey = 'A'.repeat(43);
const otherKey = 'B'.repeat(43);
const profile = { display_name: 'Ada', capabilities: ['gpu'] };
const grant = { role: 'member', admission: { by: 'open' } } as const;
const asked = { nodeId, publicKey, profile, grant };

const registered: DomainEvent = {
  type: 'node.registered',
  data: { node_id: nodeId, public_key: publicKey, role: 'member', profile, admission: { by: 'open' } },
};
const suspected: DomainEvent = { type: 'node.suspected', data: { node_id: nodeId, phi: 9, silent_ms: 50_000 } };
const lost: DomainEvent = {
  type: 'node.lost',
  data: { node_id: nodeId, phi: 20, silent_ms: 90_000, cause: 'hard_limit' },
};
const left: DomainEvent = { type: 'node.left', data: { node_id: nodeId } };
const removed: DomainEvent = { type: 'node.removed', data: { node_id: nodeId, cause: 'operator' } };
const returned: DomainEvent = { type: 'node.returned', data: { node_id: nodeId, away_ms: 600_000 } };
const cleared: DomainEvent = { type: 'node.cleared', data: { node_id: nodeId } };

describe('registering', () => {
  it('makes a stranger a member of an open federation', () => {
    given(node).when(register, asked).gives(registered);
    given(node).when(register, asked).answers({ role: 'member', known: false });
  });

  it('gives a stranger the role that it was granted, and says how it got in', () => {
    const invited = { role: 'observer', admission: { by: 'invite', invite_id: 'abcdefgh' } } as const;
    given(node)
      .when(register, { ...asked, grant: invited })
      .gives({ type: 'node.registered', data: { node_id: nodeId, public_key: publicKey, profile, ...invited } });
  });

  it('refuses a stranger without leave', () => {
    given(node)
      .when(register, { ...asked, grant: undefined })
      .refused('conflict');
  });

  it('lets a member come back without leave', () => {
    given(node, registered)
      .when(register, { ...asked, grant: undefined })
      .gives();
    given(node, registered)
      .when(register, { ...asked, grant: undefined })
      .answers({ role: 'member', known: true });
  });

  it('writes a changed profile down, and nothing when it is the same', () => {
    const changed = { ...profile, owner: 'Lovelace' };
    given(node, registered)
      .when(register, { ...asked, profile: changed })
      .gives({ type: 'node.updated', data: { node_id: nodeId, profile: changed } });
    given(node, registered).when(register, asked).gives();
  });

  it('refuses an id that belongs to another key', () => {
    given(node, registered)
      .when(register, { ...asked, publicKey: otherKey })
      .refused('node_id_taken');
  });

  it('brings a node back that was doubted, lost or gone', () => {
    given(node, registered, suspected).when(register, asked).gives(cleared);
    given(node, registered, lost).when(register, asked).gives(returned);
    given(node, registered, left).when(register, asked).gives(returned);
  });

  it('takes a removed node as a stranger, with whatever key', () => {
    given(node, registered, removed)
      .when(register, { ...asked, publicKey: otherKey })
      .gives({ type: 'node.registered', data: { ...registered.data, public_key: otherKey } as never });
    given(node, registered, removed)
      .when(register, { ...asked, grant: undefined })
      .refused('conflict');
  });
});

describe('heartbeats', () => {
  const reading = { resources: { cpu_percent: 12.5 }, active_tasks: 2 };

  it('of a member go into the log, whatever its presence', () => {
    const received: DomainEvent = { type: 'heartbeat.received', data: { node_id: nodeId, ...reading } };
    given(node, registered).when(heartbeat, { nodeId, reading }).gives(received);
    given(node, registered, lost).when(heartbeat, { nodeId, reading }).gives(received);
  });

  it('of strangers and of removed nodes are refused', () => {
    given(node).when(heartbeat, { nodeId, reading }).refused('not_found');
    given(node, registered, removed).when(heartbeat, { nodeId, reading }).refused('node_removed');
  });
});

describe('judging a silence', () => {
  const judgement = { nodeId, phi: 20, silentMs: 90_000 };
  const suspect = { ...judgement, verdict: 'suspect', cause: 'suspicion' } as const;
  const lose = { ...judgement, verdict: 'lost', cause: 'hard_limit' } as const;
  const clear = { ...judgement, verdict: 'clear', cause: 'suspicion' } as const;

  it('doubts only a node that is online', () => {
    given(node, registered)
      .when(judge, suspect)
      .gives({ type: 'node.suspected', data: { node_id: nodeId, phi: 20, silent_ms: 90_000 } });
    given(node, registered, suspected).when(judge, suspect).gives();
    given(node, registered, lost).when(judge, suspect).gives();
  });

  it('loses a node once', () => {
    given(node, registered, suspected).when(judge, lose).gives(lost);
    given(node, registered, lost).when(judge, lose).gives();
    given(node, registered, left).when(judge, lose).gives();
  });

  it('clears a doubt, and welcomes back who was lost', () => {
    given(node, registered, suspected).when(judge, clear).gives(cleared);
    given(node, registered, lost).when(judge, clear).gives(returned);
    given(node, registered).when(judge, clear).gives();
  });

  it('says nothing of strangers and removed nodes', () => {
    given(node).when(judge, lose).gives();
    given(node, registered, removed).when(judge, clear).gives();
  });
});

describe('leaving', () => {
  it('is written once', () => {
    given(node, registered).when(leave, { nodeId }).gives(left);
    given(node, registered, left).when(leave, { nodeId }).gives();
  });

  it('is no removal: the node is still a member', () => {
    given(node, registered, left)
      .when(register, { ...asked, grant: undefined })
      .gives(returned);
  });
});

describe('changing and removing', () => {
  it('changes the named parts of a profile only', () => {
    given(node, registered)
      .when(update, { nodeId, changes: { owner: 'Byron' } })
      .gives({ type: 'node.updated', data: { node_id: nodeId, profile: { ...profile, owner: 'Byron' } } });
    given(node, registered)
      .when(update, { nodeId, changes: { display_name: 'Ada' } })
      .gives();
  });

  it('removes a member and answers its key, once', () => {
    given(node, registered).when(remove, { nodeId, cause: 'operator' }).gives(removed);
    given(node, registered).when(remove, { nodeId, cause: 'operator' }).answers({ publicKey });
    given(node, registered, removed).when(remove, { nodeId, cause: 'operator' }).refused('node_removed');
    given(node).when(remove, { nodeId, cause: 'operator' }).refused('not_found');
  });

  it('keeps decisions pure: the same asked twice gives equal decisions', () => {
    const context = { now: 1, id: 'x' };
    expect(register(node.initial, asked, context)).toEqual(register(node.initial, asked, context));
  });
});

describe('changing a role', () => {
  it('writes it down with the role before, and nothing when it is the same', () => {
    given(node, registered)
      .when(changeRole, { nodeId, role: 'admin' })
      .gives({ type: 'node.role-changed', data: { node_id: nodeId, role: 'admin', previous: 'member' } });
    given(node, registered).when(changeRole, { nodeId, role: 'member' }).gives();
    given(node, registered)
      .when(changeRole, { nodeId, role: 'member' })
      .answers({ role: 'member', previous: 'member' });
  });

  it('is refused for a node that is not there any more, or never was', () => {
    given(node).when(changeRole, { nodeId, role: 'admin' }).refused('not_found');
    given(node, registered, removed).when(changeRole, { nodeId, role: 'admin' }).refused('node_removed');
  });
});
