/** One text for one JSON value, whoever writes it: what gets signed or hashed on both sides of a wire. RFC 8785. */

/**
 * The canonical JSON of a value: members sorted by UTF-16 code units, no white space, numbers and strings as ECMAScript
 * writes them. What JSON cannot hold is treated as `JSON.stringify` treats it, so that the sender's object and the
 * receiver's parsed one give the same text. Lone surrogates, which RFC 8785 leaves out, come as escapes.
 * Recurses as deep as the value is: the doors bound that before.
 */
export function canonicalJson(value: unknown): string {
  return write(value) ?? 'null';
}

/** `undefined` where `JSON.stringify` would leave the member out. */
function write(value: unknown): string | undefined {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members: string[] = [];
  for (const [name, member] of Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const text = write(member);
    if (text !== undefined) members.push(`${JSON.stringify(name)}:${text}`);
  }
  return `{${members.join(',')}}`;
}
