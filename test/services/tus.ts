/** Uploads by hand, as the protocol has them, so that what a client would never send can be sent. */
import { createHash } from 'node:crypto';
import { connect, type Socket } from 'node:net';

type Body = NonNullable<RequestInit['body']>;

export interface Asked {
  readonly url: string;
  readonly token: string;
}

export interface Told {
  readonly status: number;
  readonly headers: Headers;
  /** Of a problem; else the name of the upload, or ''. */
  readonly code: string;
  readonly id: string;
  readonly offset: number;
}

export const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');

/** Values in base64, as tus has them. */
export function metadataOf(values: Readonly<Record<string, string>>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name} ${Buffer.from(value).toString('base64')}`)
    .join(',');
}

export async function ask(
  { url, token }: Asked,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  body?: Body,
): Promise<Told> {
  const response = await fetch(`${url}/api/federation${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, 'tus-resumable': '1.0.0', ...headers },
    ...(body !== undefined && { body, duplex: 'half' }),
  });
  const text = await response.text();
  const { code = '' } = text.startsWith('{') ? (JSON.parse(text) as { code?: string }) : {};
  const id = response.headers.get('location')?.split('/').at(-1) ?? '';
  return {
    status: response.status,
    headers: response.headers,
    code,
    id,
    offset: Number(response.headers.get('upload-offset')),
  };
}

export const begin = (
  at: Asked,
  size: number,
  values: Readonly<Record<string, string>>,
  headers: Readonly<Record<string, string>> = {},
): Promise<Told> =>
  ask(at, 'POST', '/files', { 'upload-length': String(size), 'upload-metadata': metadataOf(values), ...headers });

export const send = (
  at: Asked,
  id: string,
  offset: number,
  bytes: Body,
  headers: Readonly<Record<string, string>> = {},
): Promise<Told> => {
  const about = { 'upload-offset': String(offset), 'content-type': 'application/offset+octet-stream' };
  return ask(at, 'PATCH', `/files/${id}`, { ...about, ...headers }, bytes);
};

/** Begins to send to an upload and never ends: what is left of a client whose network is gone. Close it. */
export function sendForever({ url, token }: Asked, id: string, offset: number, bytes: Buffer): Socket {
  const { hostname, port, pathname } = new URL(`${url}/api/federation/files/${id}`);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => {});
  socket.write(
    [
      `PATCH ${pathname} HTTP/1.1`,
      `host: ${hostname}`,
      `authorization: Bearer ${token}`,
      'tus-resumable: 1.0.0',
      `upload-offset: ${offset}`,
      'content-type: application/offset+octet-stream',
      `content-length: ${bytes.length + 1}`,
      '\r\n',
    ].join('\r\n'),
  );
  socket.write(bytes);
  return socket;
}

/** Asks for the bytes of a file and never reads them. Close it: what waited for it is lost then, and the hub is told so. */
export function fetchUnread({ url, token }: Asked, id: string): Socket {
  const { hostname, port, pathname } = new URL(`${url}/api/federation/files/${id}`);
  const socket = connect(Number(port), hostname).pause();
  socket.write(
    [`GET ${pathname} HTTP/1.1`, `host: ${hostname}`, `authorization: Bearer ${token}`, '\r\n'].join('\r\n'),
  );
  return socket;
}

/** All of a file in one go. Answers its name. Throws when it was refused. */
export async function upload(
  at: Asked,
  bytes: Buffer<ArrayBuffer>,
  values: Readonly<Record<string, string>>,
): Promise<string> {
  const told = await ask(
    at,
    'POST',
    '/files',
    {
      'upload-length': String(bytes.length),
      'upload-metadata': metadataOf(values),
      'content-type': 'application/offset+octet-stream',
    },
    bytes,
  );
  if (told.status !== 201 || told.offset !== bytes.length)
    throw new Error(`the upload was refused: ${told.status} ${told.code}`);
  return told.id;
}

/** The bytes of a file, or a range of them. */
export async function fetchBytes(
  { url, token }: Asked,
  id: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ status: number; headers: Headers; bytes: Buffer; code: string }> {
  const response = await fetch(`${url}/api/federation/files/${id}`, {
    headers: { authorization: `Bearer ${token}`, ...headers },
  });
  const bytes = Buffer.from(await response.arrayBuffer());
  const isProblem = response.headers.get('content-type')?.startsWith('application/problem+json') ?? false;
  const { code = '' } = isProblem ? (JSON.parse(bytes.toString()) as { code?: string }) : {};
  return { status: response.status, headers: response.headers, bytes, code };
}
