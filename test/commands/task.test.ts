/** What may happen to a task: given to one node at a time, completed once, tried again within bounds, ended for good reasons. */
import { describe, it } from 'vitest';
import {
  assign,
  callBack,
  cancel,
  complete,
  expire,
  fail,
  lapse,
  progress,
  retry,
  type Submission,
  start,
  submit,
  task,
} from '../../src/commands/task.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import { isoTime } from '../../src/kernel.ts';
import { given, now, past } from './given.ts';

const taskId = 't1';
const submission: Submission = {
  task_id: taskId,
  type: 'count',
  submitter: 'node:ada',
  payload: { value: 'one two' },
  priority: 5,
  requirements: {},
  max_attempts: 3,
  backoff: { kind: 'exponential', delay_ms: 1_000, max_ms: 3_000 },
};
const submitted = (more: Partial<Submission> = {}): DomainEvent => ({
  type: 'task.submitted',
  data: { ...submission, ...more },
});
const assigned = (lease = 1, nodeId = 'bob', ack_by = isoTime(now + 5_000)): DomainEvent => ({
  type: 'task.assigned',
  data: { task_id: taskId, node_id: nodeId, lease, how: 'push', ack_by, considered: 1, candidates: [] },
});
const started = (lease = 1, node_id = 'bob'): DomainEvent => ({
  type: 'task.started',
  data: { task_id: taskId, node_id, lease },
});
const attemptFailed = (
  lease: number,
  cause: 'reported' | 'declined' | 'not_acknowledged' | 'lease_expired' | 'node_gone',
  counted: boolean,
  retryInMs: number,
  error = { code: 'broken', message: 'it broke' },
): DomainEvent => ({
  type: 'task.attempt-failed',
  data: { task_id: taskId, node_id: 'bob', lease, cause, error, counted, retry_at: isoTime(now + retryInMs) },
});
const completed = (lease = 1): DomainEvent => ({
  type: 'task.completed',
  data: { task_id: taskId, node_id: 'bob', lease, result: { value: 2 } },
});
const failed = (more: object = {}): DomainEvent => ({
  type: 'task.failed',
  data: { task_id: taskId, cause: 'attempts', error: { code: 'broken', message: 'it broke' }, ...more },
});
const cancelled: DomainEvent = { type: 'task.cancelled', data: { task_id: taskId } };
const bob = { taskId, nodeId: 'bob', lease: 1 };
const broken = { code: 'broken', message: 'it broke' };
const ada = { actor: 'node:ada', governs: false };
const who = { actor: 'node:eve', governs: false };
const admin = { actor: 'operator:x', governs: true };

describe('handing a task in', () => {
  it('takes it, once', () => {
    given(task).when(submit, submission).gives(submitted());
    given(task, submitted()).when(submit, submission).refused('conflict');
  });

  it('refuses a deadline that has passed, or is no time', () => {
    given(task)
      .when(submit, { ...submission, deadline: isoTime(now + 1) })
      .gives(submitted({ deadline: isoTime(now + 1) }));
    given(task)
      .when(submit, { ...submission, deadline: isoTime(now) })
      .refused('invalid_input');
    given(task)
      .when(submit, { ...submission, deadline: 'soon' })
      .refused('invalid_input');
  });
});

describe('a queue that is full', () => {
  it('takes no task, and has none tried again', () => {
    given(task)
      .when(submit, { ...submission, full: true })
      .refused('queue_full');
    const by = { actor: 'node:ada', governs: true };
    given(task, submitted(), failed()).when(retry, { taskId, by, full: true }).refused('queue_full');
    given(task, submitted()).when(retry, { taskId, by, full: true }).refused('conflict');
  });
});

describe('giving a task to a node', () => {
  const command = { taskId, nodeId: 'bob', how: 'push' as const, considered: 1, candidates: [] };

  it('raises the lease each time, and asks for an answer within ten seconds', () => {
    given(task, submitted())
      .when(assign, command)
      .gives(assigned(1, 'bob', isoTime(now + 10_000)));
    given(task, submitted(), assigned(), attemptFailed(1, 'declined', false, 0))
      .when(assign, command)
      .gives(assigned(2, 'bob', isoTime(now + 10_000)));
  });

  it('a claim is begun at once', () => {
    const { data } = assigned(1, 'bob', isoTime(now + 10_000)) as DomainEvent & { type: 'task.assigned' };
    given(task, submitted())
      .when(assign, { ...command, how: 'claim' })
      .gives({ type: 'task.assigned', data: { ...data, how: 'claim' } }, started());
  });

  it('refuses one that is not there, is taken, is over, or waits for its time', () => {
    given(task).when(assign, command).refused('not_found');
    given(task, submitted(), assigned()).when(assign, command).refused('task_taken');
    given(task, submitted(), assigned(), completed()).when(assign, command).refused('task_taken');
    given(task, submitted(), cancelled).when(assign, command).refused('task_taken');
    const later = given(task, submitted(), assigned(), started(), attemptFailed(1, 'reported', true, 5_000));
    later.when(assign, command).refused('task_taken');
    later
      .at(now + 5_000)
      .when(assign, command)
      .answers({ taskId, lease: 2 });
  });

  it('clocks of replicas may differ by a second', () => {
    given(task, submitted(), assigned(), attemptFailed(1, 'declined', false, 900))
      .when(assign, command)
      .answers({ taskId, lease: 2 });
  });
});

describe('the node at work', () => {
  const held = [submitted(), assigned()] as const;

  it('starts, and again is harmless', () => {
    given(task, ...held)
      .when(start, bob)
      .gives(started());
    given(task, ...held, started())
      .when(start, bob)
      .gives();
  });

  it('completes, and has begun then; again under the same lease is harmless', () => {
    const done = { ...bob, result: { value: 2 } };
    given(task, ...held)
      .when(complete, done)
      .gives(started(), completed());
    given(task, ...held, started())
      .when(complete, done)
      .gives(completed());
    given(task, ...held, started(), completed())
      .when(complete, done)
      .gives();
  });

  it('says how far it is, at most once a second', () => {
    const told: DomainEvent = {
      type: 'task.progressed',
      data: { task_id: taskId, node_id: 'bob', lease: 1, percent: 10 },
    };
    given(task, ...held)
      .when(progress, { ...bob, percent: 10 })
      .gives(started(), told);
    const after = given(task, ...held, started(), told);
    after
      .at(Date.parse(past) + 999)
      .when(progress, { ...bob, percent: 11 })
      .answers({ recorded: false });
    after
      .at(Date.parse(past) + 1_000)
      .when(progress, { ...bob, percent: 10 })
      .gives(told);
  });

  it.each([
    ['start', start, {}],
    ['progress', progress, { percent: 1 }],
    ['complete', complete, { result: {} }],
    ['fail', fail, { error: broken, retryable: true }],
  ] as const)('%s is refused without the newest lease', (_name, decide, more) => {
    const step = decide as typeof complete; // they refuse alike
    const command = { ...bob, ...more } as Parameters<typeof complete>[1];
    given(task).when(step, command).refused('not_found');
    given(task, ...held)
      .when(step, { ...command, lease: 2 })
      .refused('lease_lost');
    given(task, ...held)
      .when(step, { ...command, nodeId: 'eve' })
      .refused('lease_lost');
    const lapsed = [...held, attemptFailed(1, 'node_gone', false, 0)];
    given(task, ...lapsed)
      .when(step, command)
      .refused('lease_lost');
    given(task, ...lapsed, assigned(2, 'carol'))
      .when(step, command)
      .refused('lease_lost');
    given(task, ...lapsed, assigned(2, 'bob'))
      .when(step, command)
      .refused('lease_lost');
    given(task, ...held, cancelled)
      .when(step, command)
      .refused('task_over');
  });

  it('a late completion under an old lease is refused, the one under the new lease counts', () => {
    const facts = [...held, started(), attemptFailed(1, 'lease_expired', true, 0), assigned(2, 'bob'), started(2)];
    given(task, ...facts)
      .when(complete, { ...bob, result: {} })
      .refused('lease_lost');
    given(task, ...facts)
      .when(complete, { ...bob, lease: 2, result: { value: 2 } })
      .gives(completed(2));
  });
});

describe('an attempt that fails', () => {
  const failure = { ...bob, error: broken, retryable: true };

  it('is followed by another after its backoff, which doubles up to its limit', () => {
    given(task, submitted(), assigned(), started())
      .when(fail, failure)
      .gives(attemptFailed(1, 'reported', true, 1_000));
    const second = [
      submitted({ max_attempts: 9 }),
      assigned(),
      started(),
      attemptFailed(1, 'reported', true, 0),
      assigned(2),
      started(2),
    ];
    given(task, ...second)
      .when(fail, { ...failure, lease: 2 })
      .gives(attemptFailed(2, 'reported', true, 2_000));
    const third = [...second, attemptFailed(2, 'reported', true, 0), assigned(3), started(3)];
    given(task, ...third)
      .when(fail, { ...failure, lease: 3 })
      .gives(attemptFailed(3, 'reported', true, 3_000));
  });

  it('waits as long each time when the backoff is fixed', () => {
    const backoff = { kind: 'fixed' as const, delay_ms: 700, max_ms: 9_000 };
    const facts = [
      submitted({ backoff }),
      assigned(),
      started(),
      attemptFailed(1, 'reported', true, 0),
      assigned(2),
      started(2),
    ];
    given(task, ...facts)
      .when(fail, { ...failure, lease: 2 })
      .gives(attemptFailed(2, 'reported', true, 700));
  });

  it('counts as begun when the node failed without a word before', () => {
    given(task, submitted(), assigned())
      .when(fail, failure)
      .gives(started(), attemptFailed(1, 'reported', true, 1_000));
    given(task, submitted({ max_attempts: 1 }), assigned())
      .when(fail, failure)
      .gives(started(), failed({ node_id: 'bob', lease: 1 }));
  });

  it('ends the task when no attempt is left, or when trying again is of no use', () => {
    const facts = [submitted({ max_attempts: 1 }), assigned(), started()];
    given(task, ...facts)
      .when(fail, failure)
      .gives(failed({ node_id: 'bob', lease: 1 }));
    given(task, submitted(), assigned(), started())
      .when(fail, { ...failure, retryable: false })
      .gives(failed({ cause: 'not_retryable', node_id: 'bob', lease: 1 }));
  });

  it('a task that was declined goes elsewhere at once and has lost no attempt', () => {
    given(task, submitted({ max_attempts: 1 }), assigned())
      .when(fail, { ...failure, declined: true })
      .gives(attemptFailed(1, 'declined', false, 0));
    given(task, submitted(), assigned(), started())
      .when(fail, { ...failure, declined: true })
      .gives(attemptFailed(1, 'reported', true, 1_000)); // what was begun cannot be declined
  });
});

describe('taking a task back', () => {
  const lapsed = { ...bob, cause: 'not_acknowledged' as const };
  const silent = { code: 'not_acknowledged', message: 'the node did not say in time that it started' };
  const gone = { code: 'node_gone', message: 'the node is gone' };
  const expired = { code: 'lease_expired', message: 'the node was not heard of in time' };

  it('from a node that did not answer in time, and not before', () => {
    const facts = given(task, submitted(), assigned());
    facts.when(lapse, lapsed).gives();
    facts
      .at(now + 5_000)
      .when(lapse, lapsed)
      .gives(attemptFailed(1, 'not_acknowledged', false, 5_000, silent));
    given(task, submitted(), assigned(), started())
      .at(now + 60_000)
      .when(lapse, lapsed)
      .gives();
  });

  it('from a node that is gone, at once', () => {
    given(task, submitted(), assigned())
      .when(lapse, { ...bob, cause: 'node_gone' })
      .gives(attemptFailed(1, 'node_gone', false, 0, gone));
    given(task, submitted(), assigned(), started())
      .when(lapse, { ...bob, cause: 'node_gone' })
      .gives(attemptFailed(1, 'node_gone', true, 0, gone));
  });

  it('uses up an attempt when it was begun', () => {
    given(task, submitted({ max_attempts: 1 }), assigned(), started())
      .when(lapse, { ...bob, cause: 'lease_expired' })
      .gives(failed({ error: expired, node_id: 'bob', lease: 1 }));
  });

  it('does nothing when it is another’s by now, or waits, or is over', () => {
    const command = { ...bob, cause: 'node_gone' as const };
    given(task).when(lapse, command).gives();
    given(task, submitted()).when(lapse, command).gives();
    given(task, submitted(), assigned(), attemptFailed(1, 'declined', false, 0), assigned(2))
      .when(lapse, command)
      .gives();
    given(task, submitted(), assigned(), completed()).when(lapse, command).gives();
  });

  it('asks ever more slowly when nobody answers, and gives up after twenty', () => {
    const unanswered = (times: number) => {
      const facts = [submitted()];
      for (let lease = 1; lease <= times; lease++)
        facts.push(assigned(lease), attemptFailed(lease, 'not_acknowledged', false, 0));
      return given(task, ...facts, assigned(times + 1));
    };
    const next = (times: number) => unanswered(times).when(lapse, { ...bob, lease: times + 1, cause: 'node_gone' });
    next(2).gives(attemptFailed(3, 'node_gone', false, 0, gone));
    next(3).gives(attemptFailed(4, 'node_gone', false, 500, gone));
    next(5).gives(attemptFailed(6, 'node_gone', false, 2_000, gone));
    next(15).gives(attemptFailed(16, 'node_gone', false, 60_000, gone));
    next(19).gives(failed({ cause: 'unassignable', error: gone, node_id: 'bob', lease: 20 }));
  });
});

describe('the deadline', () => {
  const deadline = isoTime(now + 1_000);
  const over = failed({ cause: 'deadline', error: { code: 'deadline', message: 'the deadline passed' } });

  it('ends a task whoever has it, and not before', () => {
    given(task, submitted({ deadline })).when(expire, { taskId }).gives();
    given(task, submitted({ deadline }))
      .at(now + 1_000)
      .when(expire, { taskId })
      .gives(over);
    given(task, submitted({ deadline }), assigned())
      .at(now + 1_000)
      .when(expire, { taskId })
      .gives(
        failed({
          cause: 'deadline',
          error: { code: 'deadline', message: 'the deadline passed' },
          node_id: 'bob',
          lease: 1,
        }),
      );
  });

  it('is nothing to a task without one, that is over, or that was tried anew', () => {
    const after = now + 60_000;
    given(task).at(after).when(expire, { taskId }).gives();
    given(task, submitted()).at(after).when(expire, { taskId }).gives();
    given(task, submitted({ deadline }), assigned(), completed()).at(after).when(expire, { taskId }).gives();
    given(task, submitted({ deadline }), failed(), retried()).at(after).when(expire, { taskId }).gives();
  });
});

describe('ending and trying again', () => {
  it('is for whoever handed it in, and for who governs', () => {
    given(task, submitted())
      .when(cancel, { taskId, by: ada, reason: 'no need' })
      .gives({
        type: 'task.cancelled',
        data: { task_id: taskId, reason: 'no need' },
      });
    given(task, submitted()).when(cancel, { taskId, by: admin }).gives(cancelled);
    given(task, submitted()).when(cancel, { taskId, by: who }).refused('forbidden');
    given(task, submitted(), failed()).when(retry, { taskId, by: who }).refused('forbidden');
    given(task, submitted(), failed()).when(retry, { taskId, by: admin }).gives(retried());
  });

  it('a cancelled task says who was at work on it; again is harmless; what is over otherwise stays so', () => {
    given(task).when(cancel, { taskId, by: ada }).refused('not_found');
    given(task, submitted(), assigned())
      .when(cancel, { taskId, by: ada })
      .gives({
        type: 'task.cancelled',
        data: { task_id: taskId, node_id: 'bob', lease: 1 },
      });
    given(task, submitted(), cancelled).when(cancel, { taskId, by: ada }).gives();
    given(task, submitted(), assigned(), completed()).when(cancel, { taskId, by: ada }).refused('task_over');
    given(task, submitted(), failed()).when(cancel, { taskId, by: ada }).refused('task_over');
  });

  it('a failed task gets all its attempts again, and its lease goes on', () => {
    const facts = [submitted({ max_attempts: 1 }), assigned(), started(), failed()];
    given(task, ...facts)
      .when(retry, { taskId, by: ada })
      .gives(retried({ lease: 1 }));
    given(task, ...facts, retried({ lease: 1 }), assigned(2))
      .when(fail, { ...bob, lease: 2, error: broken, retryable: true })
      .gives(started(2), failed({ node_id: 'bob', lease: 2 }));
    given(task, ...facts, retried({ lease: 1 }))
      .when(assign, { taskId, nodeId: 'bob', how: 'push', considered: 1, candidates: [] })
      .answers({ taskId, lease: 2 });
  });

  it('only what failed is tried again', () => {
    given(task).when(retry, { taskId, by: ada }).refused('not_found');
    given(task, submitted()).when(retry, { taskId, by: ada }).refused('conflict');
    given(task, submitted(), cancelled).when(retry, { taskId, by: ada }).refused('conflict');
  });

  it('a sensitive task stays sensitive', () => {
    const sealed = { subject: 'node:ada', key_id: 'k', sealed: 'x' };
    given(task, submitted({ payload: { sealed } }), failed())
      .when(retry, { taskId, by: ada })
      .gives(retried({ sensitive: true }));
  });
});

describe('telling of the end', () => {
  const callback = { kind: 'webhook' as const, url: 'https://example.org/hook' };
  const told = { type: 'task.callback-delivered', data: { task_id: taskId, status: 204, attempts: 2 } } as const;

  it('is written once', () => {
    const facts = [submitted({ callback }), assigned(), completed()];
    given(task, ...facts)
      .when(callBack, { taskId, ended: 2, attempts: 2, status: 204 })
      .gives(told);
    given(task, ...facts, told)
      .when(callBack, { taskId, ended: 2, attempts: 2, status: 204 })
      .gives();
    given(task, ...facts)
      .when(callBack, { taskId, ended: 2, attempts: 10, error: 'it answered 500' })
      .gives({ type: 'task.callback-failed', data: { task_id: taskId, error: 'it answered 500', attempts: 10 } });
  });

  it('is owed again when the task was tried again, and to nobody who did not ask for it', () => {
    const again = [submitted({ callback }), failed(), told, retried({ callback })];
    given(task, ...again)
      .when(callBack, { taskId, ended: 2, attempts: 2, status: 204 })
      .gives();
    given(task, ...again, failed())
      .when(callBack, { taskId, ended: 4, attempts: 2, status: 204 })
      .gives(told);
    given(task, submitted(), failed()).when(callBack, { taskId, ended: 1, attempts: 1, status: 204 }).gives();
    given(task, submitted({ callback: { kind: 'socket' } }), failed())
      .when(callBack, { taskId, ended: 1, attempts: 1, status: 204 })
      .gives();
  });

  it('of an earlier end leaves the newest one owed', () => {
    given(task, submitted({ callback }), failed(), retried({ callback }), failed())
      .when(callBack, { taskId, ended: 1, attempts: 1, status: 204 })
      .gives();
  });
});

function retried(more: object = {}): DomainEvent {
  const { type, submitter, priority, requirements } = submission;
  return {
    type: 'task.retried',
    data: { task_id: taskId, type, submitter, priority, requirements, lease: 0, ...more },
  };
}
