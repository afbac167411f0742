/** Sends the bytes of a file: as an attachment, from where they are asked for, for as long as whoever fetches them may have them. */
import type { OutgoingHttpHeaders } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { isRefusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { FileRow } from '../../projections/files.ts';
import type { FileTransfer, Found } from '../file-transfer.ts';
import { Paced } from './file-body.ts';
import { AwaitedEnd } from './file-end.ts';
import { type ByteRange, ifRangeHolds, isKnown, rangeOf } from './file-range.ts';
import { aboutOf, sendProblem } from './http.ts';
import { passOn } from './pass-on.ts';
import { stillAdmitted } from './still-admitted.ts';

/** How often it is asked whether whoever fetches may still have it. */
const judgeMs = 1_000;

export async function sendBytes(
  hub: Hub,
  files: FileTransfer,
  fileId: string,
  minPosition: number | undefined,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { identity, headers } = request;
  const found = await files.find(fileId, identity, minPosition);
  const refused = await files.mayFetch(found, identity);
  if (refused || !found) return sendProblem(reply, request, refused!); // what is not found is refused
  const { row } = found;
  const etag = `"${row.sha256}"`;
  describe(reply, row, etag);
  if (isKnown(headers['if-none-match'], etag)) return reply.code(304).send();
  const wanted = ifRangeHolds(String(headers['if-range'] ?? etag), etag) ? rangeOf(headers.range, row.size) : undefined;
  if (isRefusal(wanted)) {
    undescribe(reply);
    return sendProblem(reply.header('content-range', `bytes */${row.size}`), request, wanted);
  }
  const range = wanted ?? { start: 0, end: row.size - 1 };
  reply.code(wanted ? 206 : 200).header('content-length', String(range.end - range.start + 1));
  if (wanted) reply.header('content-range', `bytes ${range.start}-${range.end}/${row.size}`);
  if (request.method === 'HEAD') return reply.send();
  return stream(hub, files, found, range, request, reply);
}

async function stream(
  hub: Hub,
  files: FileTransfer,
  found: Found,
  range: ByteRange,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { identity } = request;
  const { size, once } = found.row;
  // Of nothing, no range can be asked.
  const opened = await files.open(found, identity, size === 0 ? { start: 0, end: 0 } : range, aboutOf(request));
  if (isRefusal(opened)) {
    undescribe(reply);
    return sendProblem(reply, request, opened);
  }
  const paced = new Paced(hub, request, 0, opened.passed);
  opened.bytes.on('error', (cause) => paced.destroy(cause)); // `pipe` does not pass errors on
  opened.bytes.pipe(paced);
  // What is given once is gone with its last byte.
  const isGivenAway = once === 1 && range.end === size - 1;
  const end = isGivenAway ? new AwaitedEnd(hub.kernel, reply.raw, size - range.start) : undefined;
  if (end) {
    reply.header('connection', 'close');
    paced.on('error', (cause) => end.destroy(cause));
  }
  const body = end ? paced.pipe(end) : paced;
  const may = stillAdmitted(hub, identity, 'read');
  const stop = hub.kernel.every(judgeMs, () => {
    if (!may() || !files.mayGoOn(found, identity)) reply.raw.destroy();
  });
  reply.hijack();
  reply.paidFor = true; // by `paced`
  const headers = reply.getHeaders();
  reply.raw.writeHead(reply.statusCode, headers as OutgoingHttpHeaders); // as Fastify would send them
  let sent = 0;
  try {
    await passOn(hub.kernel, { headers, body }, reply.raw, (bytes) => {
      sent += bytes;
    });
  } finally {
    stop();
    paced.destroy();
    const whole = end ? end.taken : reply.raw.writableFinished && range.start + sent === size;
    await opened.close(whole);
  }
  return reply;
}

/** Whatever somebody says a file is, it is something to be saved, and nothing that a browser runs. */
function describe(reply: FastifyReply, { name, media_type }: FileRow, etag: string): void {
  reply.headers({
    'content-type': media_type,
    'content-disposition': `attachment; filename="${plain(name)}"; filename*=UTF-8''${encoded(name)}`,
    'x-content-type-options': 'nosniff',
    'content-security-policy': "sandbox; default-src 'none'",
    'cache-control': 'private, no-cache',
    'accept-ranges': 'bytes',
    etag,
  });
}

function undescribe(reply: FastifyReply): void {
  for (const name of ['content-disposition', 'content-length', 'content-range', 'etag', 'cache-control'])
    reply.removeHeader(name);
}

function plain(name: string): string {
  return name.replaceAll(/[^\x20-\x7e]|["\\%]/g, '_');
}

/** RFC 8187: letters and digits as they are, all else by its bytes. */
function encoded(name: string): string {
  return encodeURIComponent(name).replaceAll(
    /['()*!]/g,
    (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
