/** What is said of a file when its upload begins: the header `Upload-Metadata` of tus, read and checked. */
import { type Static, Type } from 'typebox';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import { FileAddress } from '../../events/file.ts';
import { checker } from '../../input.ts';
import { closed } from '../../protocol/shapes.ts';

/** What somebody wants to send. */
export interface Wish {
  readonly name: string;
  readonly mediaType: string;
  readonly size: number;
  readonly sha256: string | undefined;
  readonly to: FileAddress;
  readonly once: boolean;
  /** When it is to expire, milliseconds since 1970; undefined: as late as may be. */
  readonly expiresAt: number | undefined;
}

const longestHeader = 4_096;
const fallbackName = 'file';
const fallbackType = 'application/octet-stream';

const Said = closed(
  Type.Object({
    filename: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
    filetype: Type.Optional(Type.String({ maxLength: 127, pattern: '^[\\w.+-]+/[\\w.+-]+(; ?[\\w.+-]+=[\\w.+-]+)?$' })),
    sha256: Type.Optional(Type.String({ pattern: '^[0-9a-fA-F]{64}$' })),
    to: Type.String({ minLength: 1, maxLength: 256 }),
    once: Type.Optional(Type.Union([Type.Literal(''), Type.Literal('true'), Type.Literal('false')])),
    ttl: Type.Optional(Type.String({ pattern: '^[1-9][0-9]{0,8}$' })),
    expires_at: Type.Optional(Type.String({ format: 'date-time' })),
  }),
);
const checkSaid = checker(Said);
const checkAddress = checker(closed(FileAddress));

/** Refuses `invalid_input`. */
export function wishOf(header: unknown, size: number, now: number): Wish | Refusal {
  const pairs = typeof header === 'string' ? pairsOf(header) : undefined;
  if (!pairs) return wrong('it is a list of names, each with a value in base64, and every name stands once');
  const said = checkSaid(pairs) as Static<typeof Said> | Refusal;
  if (isRefusal(said)) return wrong(said.detail);
  const name = said.filename ?? fallbackName;
  if (!isPlainName(name)) return wrong('the filename is a name, not a path, and without control characters');
  const to = addressOf(said.to);
  if (isRefusal(to)) return to;
  if (said.ttl !== undefined && said.expires_at !== undefined) return wrong('give ttl or expires_at');
  const expiresAt =
    said.ttl === undefined
      ? said.expires_at === undefined
        ? undefined
        : Date.parse(said.expires_at)
      : now + Number(said.ttl) * 1_000;
  if (expiresAt !== undefined && !(expiresAt > now)) return wrong('expires_at is not in the future');
  return {
    name,
    mediaType: said.filetype ?? fallbackType,
    size,
    sha256: said.sha256?.toLowerCase(),
    to,
    once: said.once !== undefined && said.once !== 'false',
    expiresAt,
  };
}

/** Undefined for a header that is none. */
function pairsOf(header: string): Record<string, string> | undefined {
  if (header.length > longestHeader) return undefined;
  const pairs = new Map<string, string>();
  for (const pair of header.split(',')) {
    const [name = '', value = '', more] = pair.trim().split(' ');
    if (!/^[\w-]{1,64}$/.test(name) || more !== undefined || pairs.has(name)) return undefined;
    if (!/^[A-Za-z0-9+/]*={0,2}$/.test(value) || value.length % 4 !== 0) return undefined;
    const text = Buffer.from(value, 'base64');
    if (!isUtf8(text)) return undefined;
    pairs.set(name, text.toString());
  }
  return Object.fromEntries(pairs);
}

function isUtf8(bytes: Buffer): boolean {
  return Buffer.from(bytes.toString()).equals(bytes);
}

/** `{"node":"ada"}` as in messages, or in short `node:ada`, `role:admin`, `channel:news`, `entity:bot`, `everyone`. */
function addressOf(text: string): FileAddress | Refusal {
  const address = checkAddress(text.startsWith('{') ? parsed(text) : inShort(text)) as FileAddress | Refusal;
  return isRefusal(address)
    ? wrong('to is node:<id>, role:<role>, channel:<name>, entity:<id> or everyone, or the same as JSON')
    : address;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function inShort(text: string): object {
  if (text === 'everyone') return { everyone: true };
  const colon = text.indexOf(':');
  return { [text.slice(0, Math.max(colon, 0))]: text.slice(colon + 1) };
}

/** No path, nothing that turns text around or hides in it, and no name that means a folder. */
function isPlainName(name: string): boolean {
  return !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}/\\]/u.test(name) && !/^\.+$/.test(name) && name.trim() === name;
}

function wrong(detail: string): Refusal {
  return refuse('invalid_input', `Upload-Metadata: ${detail}`);
}
