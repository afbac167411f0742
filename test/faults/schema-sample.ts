/** Values made from JSON schemas: mostly such as fit, with members missing, added, or of another kind now and then. */

export interface Schema {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly patternProperties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxItems?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
}

export interface Random {
  /** In [0, 1). */
  number(): number;
  /** Both ends included. */
  integer(from: number, to: number): number;
  pick<T>(from: readonly T[]): T;
}

/** The same numbers for the same seed (mulberry32). */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  const number = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const integer = (from: number, to: number) => from + Math.floor(number() * (to - from + 1));
  return { number, integer, pick: (from) => from[integer(0, from.length - 1)]! };
}

/** How often a value is not what its schema asks for. */
const astray = 0.04;

export function sample(schema: Schema, random: Random): unknown {
  if (random.number() < astray) return hostile(random);
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return random.pick(schema.enum);
  if (schema.anyOf) return sample(random.pick(schema.anyOf), random);
  switch (schema.type) {
    case 'object':
      return object(schema, random);
    case 'array':
      return Array.from({ length: random.integer(0, 3) }, () => sample(schema.items ?? {}, random));
    case 'string':
      return text(schema, random);
    case 'integer':
      return random.integer(schema.minimum ?? -5, Math.min(schema.maximum ?? 1_000, (schema.minimum ?? 0) + 1_000));
    case 'number':
      return (schema.minimum ?? 0) + random.number() * Math.min(100, (schema.maximum ?? 100) - (schema.minimum ?? 0));
    case 'boolean':
      return random.number() < 0.5;
    default:
      return hostile(random);
  }
}

function object({ properties = {}, required = [], patternProperties }: Schema, random: Random): object {
  const made: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(properties)) {
    if (random.number() < (required.includes(name) ? 1 - astray : 0.4)) made[name] = sample(schema, random);
  }
  const free = Object.values(patternProperties ?? {})[0];
  if (free) for (let left = random.integer(0, 3); left > 0; left--) made[`k${left}`] = sample(free, random);
  if (random.number() < astray) made[oddText(random).slice(0, 20)] = hostile(random);
  return made;
}

/** Patterns here ask for ids, keys, nonces, signatures and URLs: their lengths tell them apart. */
function text({ pattern = '', maxLength = 40 }: Schema, random: Random): string {
  const length = /\{(\d+)\}\$?$/.exec(pattern)?.[1];
  if (pattern.startsWith('^https?')) return 'https://node.example/';
  if (pattern.startsWith('^fhi_')) return `fhi_aaaaaaaa_${base64url(43, random)}`;
  if (length) return base64url(Number(length), random);
  if (pattern) return random.pick(['g-0', 'g-1', 'g-2', 'g-3', 'abcdefgh', `n-${random.integer(0, 500)}`]);
  return random.pick([
    '',
    'a',
    'Ada',
    'ä€😀',
    "'; DROP TABLE federation_nodes; --",
    '2026-01-01T00:00:00Z',
    'x'.repeat(maxLength),
  ]);
}

const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

function base64url(length: number, random: Random): string {
  return Array.from({ length }, () => random.pick([...letters])).join('');
}

const odd: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  1e308,
  2 ** 53,
  '',
  '\0',
  '\ud800',
  '__proto__',
  'x'.repeat(5_000),
  [],
  [[]],
  {},
  { a: { b: { c: {} } } },
  { toString: 1 },
  'NaN',
  '1e999',
  '%00',
];

/** A value that hardly any schema takes. */
export function hostile(random: Random): unknown {
  return random.pick(odd);
}

/** The same as text: for names and queries. */
export function oddText(random: Random): string {
  const value = hostile(random);
  return typeof value === 'string' ? value : JSON.stringify(value);
}
