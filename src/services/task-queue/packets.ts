/** What nodes say of tasks over their sockets. */
import { bodyHash, commandId } from '../../commands/command-id.ts';
import type { About } from '../../commands/execute.ts';
import type { Identity } from '../../doors.ts';
import { isRefusal } from '../../errors.ts';
import type { TaskQueue } from '../task-queue.ts';
import type { WebsocketPool } from '../websocket-pool.ts';

type Client = Parameters<Parameters<WebsocketPool['handle']>[1]>[0];

/** Takes the packets; what is returned stops it. */
export function handlePackets(sockets: WebsocketPool, queue: TaskQueue): () => void {
  const claiming = new Map<string, Set<AbortController>>();
  const stops = [
    sockets.onGone((nodeId) => {
      for (const controller of claiming.get(nodeId) ?? []) controller.abort();
    }),
    sockets.handle('federation:task:submit', async (client, { key, ...submission }) => {
      const about = aboutOf(client);
      const command = key === undefined ? {} : { command: commandOf(about.actor, key, submission) };
      const done = await queue.submit(submission, identityOf(client), { ...about, ...command });
      return isRefusal(done) ? done : { task_id: done.reply.taskId, position: done.position };
    }),
    sockets.handle('federation:task:claim', async (client, { types, wait_ms: waitMs = 0 }) => {
      const nodeId = nodeOf(client);
      const controller = new AbortController();
      const controllers = claiming.get(nodeId) ?? new Set();
      claiming.set(nodeId, controllers.add(controller));
      const got = await queue
        .claim(nodeId, { types, waitMs, signal: controller.signal }, aboutOf(client))
        .finally(() => controllers.delete(controller) && controllers.size === 0 && claiming.delete(nodeId));
      return isRefusal(got) ? got : { task: got ?? null };
    }),
    sockets.handle('federation:task:started', async (client, { task_id: taskId, lease }) => {
      const done = await queue.start({ taskId, nodeId: nodeOf(client), lease }, aboutOf(client));
      return isRefusal(done) ? done : { position: done.position };
    }),
    sockets.handle('federation:task:progress', async (client, { task_id: taskId, lease, ...said }) => {
      const done = await queue.progress({ taskId, nodeId: nodeOf(client), lease, ...said }, aboutOf(client));
      return isRefusal(done) ? done : { recorded: done.reply.recorded };
    }),
    sockets.handle('federation:task:complete', async (client, { task_id: taskId, lease, result }) => {
      const done = await queue.complete({ taskId, nodeId: nodeOf(client), lease }, result, aboutOf(client));
      return isRefusal(done) ? done : { position: done.position };
    }),
    sockets.handle(
      'federation:task:fail',
      async (client, { task_id: taskId, lease, error, retryable = true, declined }) => {
        const failure = { taskId, nodeId: nodeOf(client), lease, error, retryable, ...(declined && { declined }) };
        const done = await queue.fail(failure, aboutOf(client));
        return isRefusal(done) ? done : { status: done.reply.status, position: done.position };
      },
    ),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}

/** Packets about tasks are of nodes with a session. */
function nodeOf({ session }: Client): string {
  return session!.nodeId;
}

/** Its right to act was checked at the door. */
function identityOf({ session }: Client): Identity {
  const { nodeId, sessionId } = session!; // as above
  return { kind: 'node', nodeId, sessionId, role: 'member' };
}

function aboutOf(client: Client): About {
  return { actor: `node:${nodeOf(client)}`, address: client.address };
}

function commandOf(actor: string, key: string, submission: object) {
  return { id: commandId(actor, 'federation:task:submit', key), bodyHash: bodyHash(submission) };
}
