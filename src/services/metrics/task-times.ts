/** How long tasks wait and run, measured at the replica that wrote the end of the waiting or running: so no task is measured twice. */
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';

/** Attempts whose beginning is remembered; more at once are not measured. They begin when a node is given the task: it says so late, or not at all when the work is short. */
const mostRunning = 100_000;

/** Follows the open tasks until it is stopped. */
export function measureTasks({ live, metrics, kernel }: Hub): Cancel {
  /** When the attempt under way at each task began, milliseconds since 1970. */
  const began = new Map<string, number>();
  return live.openTasks.onChange((taskId, row, event) => {
    const at = Date.parse(event.time);
    const mine = event.meta.replica === kernel.replica;
    const end = (outcome: 'completed' | 'failed' | 'cancelled') => {
      const since = began.get(taskId);
      began.delete(taskId);
      if (mine) metrics.taskAttemptEnded(outcome, since === undefined ? undefined : at - since);
    };
    switch (event.type) {
      case 'task.assigned':
        if (mine && row) metrics.taskAssigned(at - Date.parse(row.ready_at ?? row.submitted_at));
        if (began.size < mostRunning || began.has(taskId)) began.set(taskId, at);
        return;
      case 'task.attempt-failed':
        if (mine) metrics.taskAttemptFailed(event.data.cause);
        return end('failed');
      case 'task.completed':
        return end('completed');
      case 'task.failed':
        return end('failed');
      case 'task.cancelled':
        return end('cancelled');
    }
  });
}
