/** Values that no schema here takes, or that careless code breaks on. */
import fc from 'fast-check';

/** A value inside `levels` objects. */
export function deep(levels: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < levels; level++) value = { a: value };
  return value;
}

export function wide(keys: number): Record<string, number> {
  return Object.fromEntries(Array.from({ length: keys }, (_, at) => [`k${at}`, at]));
}

/** Packets as JSON text, because some of them cannot be built as objects that keep what is written here. */
export const hostileTexts: readonly string[] = [
  'null',
  'true',
  '0',
  '-1.5e308',
  '1e999',
  '""',
  '"function(){return 1}"',
  '"() => process.exit(1)"',
  '[]',
  '[[]]',
  '[null,null]',
  '{}',
  '{"":""}',
  '{"node_id":null}',
  '{"node_id":{}}',
  '{"node_id":["alpha"]}',
  '{"node_id":"\\u0000"}',
  '{"node_id":"__proto__"}',
  '{"node_id":"../../etc/passwd"}',
  '{"position":-1}',
  '{"position":1e308}',
  '{"position":"0"}',
  '{"patterns":[]}',
  '{"patterns":{"length":1}}',
  '{"toString":1,"valueOf":1,"toJSON":1,"then":1,"hasOwnProperty":1}',
  '{"__proto__":{"polluted":true}}',
  '{"constructor":{"prototype":{"polluted":true}}}',
  '{"a":{"__proto__":{"polluted":true}}}',
  '{"prototype":1}',
  '{"_placeholder":true,"num":0}',
  '{"_placeholder":true,"num":"constructor"}',
  JSON.stringify(deep(40)),
  '['.repeat(40) + ']'.repeat(40),
  '['.repeat(50_000) + ']'.repeat(50_000),
  `${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`,
  JSON.stringify(wide(10_001)),
  JSON.stringify(Array(10_001).fill(0)),
  JSON.stringify('x'.repeat(200_000)),
  JSON.stringify({ node_id: 'y'.repeat(200_000) }),
  JSON.stringify({ capabilities: Array(9_000).fill('same') }),
];

/** A name as attackers choose them. */
export const hostileName = fc.oneof(
  fc.constantFrom(
    'federation:challenge',
    'federation:register',
    'federation:heartbeat',
    'federation:renew',
    'federation:resume',
    'federation:subscribe',
    'federation:unsubscribe',
    'federation:message',
    'federation:task:claim',
    'entity:register',
    'federation:connected',
    'error',
    'connection',
    'message',
    'data',
    'close',
    'toString',
    '__proto__',
    'constructor',
    '',
    '*',
    'federation:heartbeat ',
    'FEDERATION:HEARTBEAT',
    'x'.repeat(10_000),
  ),
  fc.string({ maxLength: 64, unit: 'binary' }),
  fc.integer(),
);

/** Members that packets of the hub have, so that generated ones come close to good ones. */
const member = fc.constantFrom(
  'node_id',
  'purpose',
  'protocol_version',
  'public_key',
  'nonce',
  'signature',
  'position',
  'patterns',
  'services',
  'resources',
  'models',
  'active_tasks',
  'capabilities',
  'hardware',
  'network',
  'sovereignty',
  'mode',
  'toString',
  'constructor',
);

/** Any JSON value, often an object with members that the hub knows. */
export const hostileValue = fc.oneof(
  { weight: 3, arbitrary: fc.jsonValue({ maxDepth: 4 }) },
  {
    weight: 3,
    arbitrary: fc.dictionary(member, fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constantFrom('alpha', 'register', 1))),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(...hostileTexts.filter((one) => one.length < 1_000)).map((one) => JSON.parse(one)),
  },
);
