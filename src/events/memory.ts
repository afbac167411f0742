/**
 * Facts of one memory, a document of knowledge, in the stream `memory-<memory id>`. Each is a *version*, and says what it knew of: two
 * that did not know of each other are concurrent, and both stay until one comes that knew of both.
 */
import { Type } from 'typebox';
import { kept } from './define.ts';
import { Sealed } from './sealed.ts';

/** A name in its federation; one that came from another has that federation's id behind an '@'. */
export const MemoryId = Type.String({
  pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(?:@[A-Za-z0-9][A-Za-z0-9._-]{0,63})?$',
  description: 'Name of a memory; of a foreign one with the id of its federation behind an @',
});

/** SHA-256 of what the version says (knowledge.ts), hex: two that are the same have the same id everywhere. */
export const VersionId = Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256 of a version, hex' });

/**
 * Hybrid logical clock: 15 digits of milliseconds since 1970, 6 of a counter, who. Later sorts later; what was written knowing of another is
 * later than it, whatever the clocks of the two say.
 */
export const Clock = Type.String({
  pattern: '^\\d{15}-\\d{6}-[A-Za-z0-9][A-Za-z0-9._:@-]{0,200}$',
  description: 'Hybrid logical clock: milliseconds, counter, who',
});

export const Category = Type.String({
  pattern: '^[a-z0-9][a-z0-9_-]{0,31}(?:/[a-z0-9][a-z0-9_-]{0,31}){0,3}$',
  description: 'What kind of knowledge it is, at most four words with slashes between them: `recipes/bread`',
});

export const Tag = Type.String({ minLength: 1, maxLength: 64, pattern: '^\\P{Cc}*$' });
export const Tags = Type.Array(Tag, { maxItems: 32, uniqueItems: true });

/** Where the knowledge comes from, as its author says. */
export const Provenance = Type.Object({
  source: Type.Optional(Type.String({ maxLength: 2_048 })),
  derived_from: Type.Optional(Type.Array(MemoryId, { maxItems: 32 })),
});
export type Provenance = Type.Static<typeof Provenance>;

/** How a version came here from another federation. Nothing of the trust it had there comes with it. */
export const Foreign = Type.Object({
  /** The federation it was written in. */
  federation: Type.String({ maxLength: 64 }),
  /** Federations it passed through, the first first, this one not among them. */
  hops: Type.Array(Type.String({ maxLength: 64 }), { minItems: 1, maxItems: 16 }),
  /** Whether the rule that let it out lets it be handed on. */
  pass_on: Type.Boolean(),
  /** Until when it may be kept here. */
  until: Type.Optional(Type.String()),
});
export type Foreign = Type.Static<typeof Foreign>;

const version = {
  memory_id: MemoryId,
  version: VersionId,
  clock: Clock,
  /** Whose it is, and under whose sovereignty: `node:<id>` or `operator:<prefix>`, with `@<federation>` when foreign. */
  owner: Type.String({ maxLength: 200 }),
  /** Who wrote this version, as `owner`. */
  author: Type.String({ maxLength: 200 }),
  category: Category,
  tags: Tags,
  /** The newest clock of each author that this version knew of; it replaces what they had written by then. Its own author's too. */
  seen: Type.Record(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._:@-]{0,199}$' }), Clock, { maxProperties: 64 }),
  foreign: Type.Optional(Foreign),
};

export const memoryEvents = {
  'memory.stored': kept(
    Type.Object({
      ...version,
      /** `{ title?, content, provenance? }` as JSON. */
      content: Sealed,
      /** SHA-256 of that JSON in its canonical form, hex. */
      content_hash: Type.String({ pattern: '^[0-9a-f]{64}$' }),
      /** Of that JSON, in UTF-8. */
      bytes: Type.Integer({ minimum: 0 }),
    }),
  ),
  /** A tombstone: a version that says that the memory is no more. */
  'memory.deleted': kept(Type.Object(version)),
  /**
   * What came from another federation is kept here no more, for its rule ended or was taken back. Nothing of it is known from then on: when it
   * may come again, it is new.
   */
  'memory.let-go': kept(
    Type.Object({
      memory_id: MemoryId,
      /** Of the version that was shown. */
      clock: Clock,
      cause: Type.Union([Type.Literal('asked'), Type.Literal('kept_long_enough')]),
    }),
  ),
} as const;
