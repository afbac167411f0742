/** /backup: the log as a stream, for `fedhub backup`. */
import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { backupBytes, beginBackup } from '../../backup/stream.ts';
import { refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { responses } from './describe.ts';
import { sendProblem } from './http.ts';
import { cutWhenStuck } from './stuck-readers.ts';

/** Backups that one replica streams at the same time. */
const mostAtOnce = 2;

const ndjson = {
  'x-response-description': 'A head, the events, the records of commands, and a foot that says that it is whole',
  content: { 'application/x-ndjson': { schema: Type.String() } },
};

export function backupRoutes(api: FastifyInstance, hub: Hub): void {
  let running = 0;
  api.get(
    '/backup/log',
    {
      config: { access: 'operate', sensitive: true },
      exposeHeadRoute: false, // it would read all of the log and throw it away
      schema: {
        operationId: 'backUpLog',
        summary: 'The whole log up to one position, with the digest of the views at it; a line of JSON each',
        tags: ['backup'],
        response: { ...responses(200, Type.String(), 'overloaded', 'log_unavailable'), 200: ndjson },
      },
    },
    async (request, reply) => {
      if (running >= mostAtOnce) {
        return sendProblem(reply, request, refuse('overloaded', `${mostAtOnce} backups are running here already`));
      }
      running++;
      const done = () => void running--;
      const head = await beginBackup(hub).catch((error: unknown) => {
        done();
        throw error;
      });
      const bytes = Readable.from(backupBytes(hub.log, head), { objectMode: false });
      bytes.once('close', done);
      bytes.once('error', (error) => hub.kernel.log.warn({ err: error }, 'a backup could not be finished'));
      cutWhenStuck(hub.kernel, reply.raw);
      return reply.type('application/x-ndjson').send(bytes);
    },
  );
}
