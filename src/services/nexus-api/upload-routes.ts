/** Uploads by tus 1.0 at /files: creation, with the first bytes or without, going on after a cut, and asking how far it is. */
import type { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import { FileId } from '../../events/file.ts';
import type { Hub } from '../../hub.ts';
import type { FileTransfer, Uploaded, Uploading } from '../file-transfer.ts';
import { prefix } from './admit.ts';
import { responses } from './describe.ts';
import { pacedBody } from './file-body.ts';
import { sendBytes } from './file-bytes.ts';
import { aboutOf, InvalidInput, sendProblem, writeHeaders } from './http.ts';
import { stillAdmitted } from './still-admitted.ts';

const path = `${prefix}/files`;
const Params = Type.Object({ id: FileId });
const tusVersion = '1.0.0';
const uploadType = 'application/offset+octet-stream';
/** How long what nobody reads may go on to come. */
const restMs = 5_000;
/** How often it is asked whether whoever sends may still do so. */
const judgeMs = 1_000;

const tusHeaders = {
  'tus-resumable': Type.Optional(Type.String({ maxLength: 16, description: '1.0.0' })),
};
const CreationHeaders = Type.Object({
  ...writeHeaders.properties,
  ...tusHeaders,
  'upload-length': Type.Optional(Type.String({ maxLength: 16, description: 'Bytes of the whole file' })),
  'upload-metadata': Type.Optional(
    Type.String({
      description:
        'Names with values in base64: `to` (node:<id>, role:<role>, channel:<name>, entity:<id>, everyone, or an address as JSON), and, if wanted, `filename`, `filetype`, `sha256` (hex), `ttl` (seconds) or `expires_at`, `once`',
    }),
  ),
});

const Nothing = (description: string) => Type.Null({ description });
const uploading = [
  'file_gone',
  'hash_mismatch',
  'upload_locked',
  'offset_mismatch',
  'payload_too_large',
  'unsupported_media_type',
  'tus_unsupported',
  'storage_full',
  'files_unavailable',
  'overloaded',
] as const;

export function uploadRoutes(api: FastifyInstance, hub: Hub, files: FileTransfer): void {
  // Bodies are not read here: they are a scope of their own, where they stay streams.
  void api.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', (_request, body, done) => done(null, body));

    scope.options(
      '/files',
      {
        config: { access: 'anyone' },
        schema: {
          operationId: 'describeUploads',
          summary: 'What of tus the hub speaks, and how large a file may be',
          tags: ['files'],
          response: responses(204, Nothing('The headers say it')),
        },
      },
      (_request, reply) =>
        reply
          .code(204)
          .headers({
            'tus-resumable': tusVersion,
            'tus-version': tusVersion,
            'tus-extension': 'creation,creation-with-upload,termination,expiration',
            'tus-max-size': String(hub.config.fileBytes),
          })
          .send(),
    );

    scope.post(
      '/files',
      {
        config: { access: 'act' },
        schema: {
          operationId: 'beginUpload',
          summary: 'Begins an upload (tus creation); the first bytes may come with it',
          tags: ['files'],
          headers: CreationHeaders,
          response: responses(
            201,
            Nothing('Begun: Location names it, Upload-Offset says how much is there'),
            ...uploading,
            'quota_exceeded',
            'limit_reached',
            'not_found',
            'no_target',
            'conflict',
          ),
        },
      },
      async (request, reply) => {
        const { headers } = request;
        if (headers['tus-resumable'] !== tusVersion) return notTus(reply, request);
        const said = [headers['upload-length'], headers['upload-metadata']];
        const about = aboutOf(request, false, said);
        const answer = (asked: Uploading) => files.uploads.begin(asked, request.identity, about);
        return passed(hub, request, reply, { files, fileId: about.command?.id, answer });
      },
    );

    scope.patch<{ Params: Static<typeof Params> }>(
      '/files/:id',
      {
        config: { access: 'act' },
        schema: {
          operationId: 'continueUpload',
          summary: 'Adds bytes to an upload at its offset; the last of them make it a file',
          tags: ['files'],
          params: Params,
          headers: Type.Object(tusHeaders),
          response: responses(204, Nothing('Upload-Offset says how much is there'), ...uploading, 'not_found'),
        },
      },
      async (request, reply) => {
        const { headers, params, identity } = request;
        if (headers['tus-resumable'] !== tusVersion) return notTus(reply, request);
        if (headers['content-type'] !== uploadType)
          return sendProblem(reply, request, refuse('unsupported_media_type', `bytes come as ${uploadType}`));
        if (!/^\d{1,15}$/.test(String(headers['upload-offset'] ?? '')))
          return sendProblem(reply, request, refuse('invalid_input', 'Upload-Offset says where these bytes belong'));
        const answer = (asked: Uploading) => files.uploads.go(params.id, asked, identity);
        return passed(hub, request, reply, { files, fileId: params.id, answer });
      },
    );

    scope.head<{ Params: Static<typeof Params> }>(
      '/files/:id',
      {
        config: { access: 'read' },
        schema: {
          operationId: 'askUpload',
          summary: 'How far an upload is (tus); without Tus-Resumable, the headers of a download',
          tags: ['files'],
          params: Params,
          headers: Type.Object(tusHeaders),
          response: responses(200, Nothing('Upload-Offset says how much is there'), ...uploading, 'not_found'),
        },
      },
      async (request, reply) => {
        const { id } = request.params;
        if (request.headers['tus-resumable'] === undefined) return sendBytes(hub, files, id, undefined, request, reply);
        if (request.headers['tus-resumable'] !== tusVersion) return notTus(reply, request);
        const asked: Uploading = { method: 'HEAD', path, headers: request.raw.headers, body: undefined };
        return send(await files.uploads.go(id, asked, request.identity), request, reply);
      },
    );
  });
}

/** A request whose bytes pass. */
interface Passing {
  readonly files: FileTransfer;
  /** Of a request that was signed, always: what comes with it is checked. */
  readonly fileId: string | undefined;
  answer(asked: Uploading): Promise<Uploaded | Refusal>;
}

/** Has a request with bytes answered; what nobody read of them is let run out, or cut. */
async function passed(
  hub: Hub,
  request: FastifyRequest,
  reply: FastifyReply,
  { files, fileId, answer }: Passing,
): Promise<FastifyReply> {
  const body = request.body as Readable | undefined; // of the parser above
  const { method, raw } = request;
  if (!body) return send(await answer({ method, path, headers: raw.headers, body: undefined }), request, reply);
  let wrong: InvalidInput | undefined;
  body.once('error', (error) => {
    if (error instanceof InvalidInput) wrong = error;
  });
  const paced = pacedBody(hub, request, body);
  const may = stillAdmitted(hub, request.identity, 'act');
  const stop = hub.kernel.every(judgeMs, () => {
    if (!may()) raw.destroy();
  });
  reply.raw.once('finish', () => {
    if (body.readableEnded) return;
    body.resume();
    const late = hub.kernel.after(restMs, () => raw.destroy());
    body.once('close', late);
  });
  try {
    const done = await answer({ method, path, headers: raw.headers, body: paced.body }).catch((error: unknown) => {
      if (wrong) return wrong.refused; // that is why it failed
      throw error;
    });
    if (!wrong) return send(done, request, reply);
    if (fileId !== undefined) await files.uploads.refuse(fileId, request.identity, wrong.refused);
    return sendProblem(reply, request, wrong.refused);
  } finally {
    stop();
    paced.end();
  }
}

function send(done: Uploaded | Refusal, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  reply.header('tus-resumable', tusVersion);
  if (isRefusal(done)) return sendProblem(reply, request, done);
  if (done.position !== undefined) reply.header('federation-position', String(done.position));
  return reply.code(done.status).headers(done.headers).send();
}

function notTus(reply: FastifyReply, request: FastifyRequest): FastifyReply {
  reply.headers({ 'tus-resumable': tusVersion, 'tus-version': tusVersion }); // as the protocol wants it
  return sendProblem(reply, request, refuse('tus_unsupported', 'uploads are by tus: say Tus-Resumable: 1.0.0'));
}
