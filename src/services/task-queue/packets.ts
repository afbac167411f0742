/** What nodes say of tasks over their sockets. */
import { isRefusal } from '../../errors.ts';
import type { TaskQueue } from '../task-queue.ts';
import { once, speakerOf, type WebsocketPool } from '../websocket-pool.ts';

/** Takes the packets; what is returned stops it. */
export function handlePackets(sockets: WebsocketPool, queue: TaskQueue): () => void {
  const claiming = new Map<string, Set<AbortController>>();
  const stops = [
    sockets.onGone((nodeId) => {
      for (const controller of claiming.get(nodeId) ?? []) controller.abort();
    }),
    sockets.handle('federation:task:submit', async (client, { key, ...submission }) => {
      const { identity, about } = speakerOf(client);
      const done = await queue.submit(submission, identity, once(about, 'federation:task:submit', key, submission));
      return isRefusal(done) ? done : { task_id: done.reply.taskId, position: done.position };
    }),
    sockets.handle('federation:task:claim', async (client, { types, wait_ms: waitMs = 0 }) => {
      const { nodeId, about } = speakerOf(client);
      const controller = new AbortController();
      const controllers = claiming.get(nodeId) ?? new Set();
      claiming.set(nodeId, controllers.add(controller));
      const got = await queue
        .claim(nodeId, { types, waitMs, signal: controller.signal }, about)
        .finally(() => controllers.delete(controller) && controllers.size === 0 && claiming.delete(nodeId));
      return isRefusal(got) ? got : { task: got ?? null };
    }),
    sockets.handle('federation:task:started', async (client, { task_id: taskId, lease }) => {
      const { nodeId, about } = speakerOf(client);
      const done = await queue.start({ taskId, nodeId, lease }, about);
      return isRefusal(done) ? done : { position: done.position };
    }),
    sockets.handle('federation:task:progress', async (client, { task_id: taskId, lease, ...said }) => {
      const { nodeId, about } = speakerOf(client);
      const done = await queue.progress({ taskId, nodeId, lease, ...said }, about);
      return isRefusal(done) ? done : { recorded: done.reply.recorded };
    }),
    sockets.handle('federation:task:complete', async (client, { task_id: taskId, lease, result }) => {
      const { nodeId, about } = speakerOf(client);
      const done = await queue.complete({ taskId, nodeId, lease }, result, about);
      return isRefusal(done) ? done : { position: done.position };
    }),
    sockets.handle(
      'federation:task:fail',
      async (client, { task_id: taskId, lease, error, retryable = true, declined }) => {
        const { nodeId, about } = speakerOf(client);
        const failure = { taskId, nodeId, lease, error, retryable, ...(declined && { declined }) };
        const done = await queue.fail(failure, about);
        return isRefusal(done) ? done : { status: done.reply.status, position: done.position };
      },
    ),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}
