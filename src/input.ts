/**
 * The one check that everything coming in passes, on HTTP and on sockets: shape by schema, and limits on depth and keys that
 * hold whatever the schema says.
 */
import type { Static, TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { Settings } from 'typebox/system';
import { type Refusal, refuse } from './errors.ts';
import { placesOf } from './input-places.ts';

/** Enough to tell which of several shapes was meant. */
Settings.Set({ maxErrors: 32 });

const deepest = 32;
const mostKeys = 10_000;
/** Names that reach into prototypes when code is careless with them. */
const forbidden = new Set(['__proto__', 'constructor', 'prototype']);

/** Checks a value against a schema. Answers the value, typed, or `invalid_input` with `errors` that name the places. */
export function checker<S extends TSchema>(schema: S): (value: unknown) => Static<S> | Refusal {
  const validator = Compile(schema);
  const binary = binaryMembers(schema);
  return (value) => {
    const excess = beyondLimits(value, binary);
    if (excess) return refuse('invalid_input', excess);
    if (validator.Check(value)) return value;
    const places = placesOf(schema, validator.Errors(value));
    const [first] = places;
    return refuse('invalid_input', `${first?.path}: ${first?.message}`, { errors: places });
  };
}

/** Members of an object that are bytes, by their schema; only those of the object itself may be. */
function binaryMembers(schema: TSchema): ReadonlySet<string> {
  const { properties = {} } = schema as { properties?: Record<string, { contentMediaType?: string }> }; // JSON Schema's own words
  const names = Object.keys(properties);
  return new Set(names.filter((name) => properties[name]?.contentMediaType === 'application/octet-stream'));
}

/** Says what of a parsed value is beyond the limits; undefined when nothing is. Works without recursion. */
function beyondLimits(value: unknown, binary: ReadonlySet<string>): string | undefined {
  let keys = 0;
  let level: object[] = typeof value === 'object' && value !== null ? [value] : [];
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > deepest) return `nested deeper than ${deepest}`;
    const below: object[] = [];
    for (const holder of level) {
      if (ArrayBuffer.isView(holder) || holder instanceof ArrayBuffer) return 'binary attachments are not taken';
      const names = Object.keys(holder);
      keys += names.length;
      if (keys > mostKeys) return `more than ${mostKeys} members`;
      for (const name of names) {
        if (forbidden.has(name)) return `a member is named ${name}`;
        const member = (holder as Record<string, unknown>)[name];
        if (depth === 1 && binary.has(name)) {
          if (member instanceof Uint8Array) continue;
          return `${name} is no binary attachment`;
        }
        if (typeof member === 'object' && member !== null) below.push(member);
      }
    }
    level = below;
  }
  return undefined;
}
