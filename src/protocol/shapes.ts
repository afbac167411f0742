/** Shapes that packets of every noun are made of. */
import { type TSchema, Type } from 'typebox';

export const Position = Type.Integer({ minimum: 0, description: 'Place in the log' });
export const Time = Type.String({ description: 'ISO 8601 UTC' });

/** What every answer of success holds. */
export const done = { ok: Type.Literal(true) };

/** Bytes, as a binary attachment of Socket.IO. The hub takes attachments where a schema says so, and nowhere else. */
export const Bytes = Type.Unsafe<Uint8Array>({
  contentMediaType: 'application/octet-stream',
  description: 'At most 64 KiB, as a binary attachment',
});

/** The same schema with every object and record in it closed to members it does not name. */
export function closed<S extends TSchema>(schema: S): S {
  return close(schema) as S; // only `additionalProperties` was added, which changes no static type
}

function close(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(close);
  if (typeof schema !== 'object' || schema === null) return schema;
  // Descriptors, because TypeBox keeps its own marks (kind, optional) as members that do not enumerate.
  const copy = Object.defineProperties({}, Object.getOwnPropertyDescriptors(schema));
  for (const [name, member] of Object.entries(schema)) Reflect.set(copy, name, close(member));
  const isObject = 'properties' in schema || 'patternProperties' in schema;
  if (isObject) Reflect.set(copy, 'additionalProperties', false);
  return copy;
}
