/**
 * The arrows of the house: who may import whom. `npm run check:arrows` holds src/ to them; docs/ARCHITECTURE.md tells why.
 *
 * A rule names a part and forbids it all of src but what `pathNot` lists. infra/check-arrows.ts runs them.
 */

/** Folder or file at the root of src, by its name. */
const part = (name) => `^src/${name}`;

/** Where something starts. Threads and child processes are reached by URL, not by import. */
const entries = [
  part('(cli/(fedhub|demo-node)|client/node)\\.ts$'),
  part(
    '(events/log-sqlite-(writer|reader)|projections/(projector-thread|views-sqlite-reader)|keyring/sqlite-thread|search/search-thread)\\.ts$',
  ),
];

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'no-circles',
      comment: 'A circle of imports that run is a part that cannot be understood alone. Types may refer to each other.',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'no-orphans',
      comment: 'A file that nobody reaches from a program, the SDK or a thread is dead.',
      severity: 'error',
      from: { path: entries },
      to: { path: part(''), pathNot: entries, reachable: false },
    },
    {
      name: 'no-unresolved',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'no-dev-dependencies',
      comment: 'What ships must run without what only tests and tools need.',
      severity: 'error',
      from: {},
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'] },
    },
    {
      name: 'events-know-only-the-frame',
      comment: 'Facts and the log stand below everything else.',
      severity: 'error',
      from: { path: part('events/') },
      to: { path: part(''), pathNot: [part('events/'), part('(errors|kernel|thread)\\.ts$')] },
    },
    {
      name: 'commands-decide-only',
      comment:
        'A decision is a pure function of state and command: it knows facts and refusals, and no adapter of the log.',
      severity: 'error',
      from: { path: part('commands/') },
      to: {
        path: part(''),
        pathNot: [
          part('commands/'),
          part('events/(?!log-|follow|group-commit)'),
          part('protocol/'),
          part('(errors|kernel|knowledge|tracing)\\.ts$'),
        ],
      },
    },
    {
      name: 'commands-do-no-io',
      comment: 'Time, chance and ids come in as data. A command id is a hash, which is pure too.',
      severity: 'error',
      from: { path: part('commands/'), pathNot: [part('commands/command-id\\.ts$')] },
      to: { dependencyTypes: ['core'], pathNot: ['^(node:)?util$'] },
    },
    {
      name: 'command-ids-only-hash',
      severity: 'error',
      from: { path: part('commands/command-id\\.ts$') },
      to: { dependencyTypes: ['core'], pathNot: ['^(node:)?crypto$'] },
    },
    {
      name: 'commands-use-no-libraries',
      comment:
        'The executor keeps states in a bounded cache; a command id is a UUIDv5 of a hash. Nothing else is needed.',
      severity: 'error',
      from: { path: part('commands/'), pathNot: [part('commands/(execute|command-id)\\.ts$')] },
      to: { dependencyTypes: ['npm'] },
    },
    {
      name: 'projections-only-fold-and-answer',
      comment: 'A view is made of facts alone, so it can always be made again.',
      severity: 'error',
      from: { path: part('projections/') },
      to: {
        path: part(''),
        pathNot: [
          part('projections/'),
          part('events/'),
          part('(errors|kernel|knowledge|thread|lease|canonical-json|tracing|tracing/traceparent)\\.ts$'),
        ],
      },
    },
    {
      name: 'adapters-are-picked-in-one-place',
      comment: 'Everyone else speaks to the port. source.ts is where the thread of the projector opens the log.',
      severity: 'error',
      from: {
        path: part(''),
        pathNot: [part('events/log-'), part('backends\\.ts$'), part('projections/source\\.ts$')],
      },
      to: { path: part('events/log-') },
    },
    {
      name: 'stores-of-views-are-picked-in-one-place',
      severity: 'error',
      from: {
        path: part(''),
        pathNot: [part('projections/(views|view-reader|projector-thread)')],
      },
      to: { path: part('projections/(views-|view-reader-)') },
    },
    {
      name: 'services-keep-their-parts-to-themselves',
      comment: 'A service reaches another through its `needs`, never into its folder.',
      severity: 'error',
      from: { path: part('services/([^/]+?)(/|\\.ts$)') },
      to: { path: part('services/[^/]+/'), pathNot: [part('services/$1/')] },
    },
    {
      name: 'nobody-reaches-into-a-service',
      comment: 'The frame starts services by the manifest and knows nothing of their parts.',
      severity: 'error',
      from: { path: part(''), pathNot: [part('services/')] },
      to: { path: part('services/[^/]+/') },
    },
    {
      name: 'only-main-knows-the-manifest',
      comment: 'Services are declared in one list. The lifecycle knows what a service is, not which there are.',
      severity: 'error',
      from: { path: part(''), pathNot: [part('services/'), part('main\\.ts$')] },
      to: { path: part('services/'), pathNot: [part('services/service\\.ts$')] },
    },
    {
      name: 'backups-speak-to-ports',
      comment:
        'A backup reads and fills the log, the keyring and the views as everyone else does; it knows no service.',
      severity: 'error',
      from: { path: part('backup/') },
      to: {
        path: part(''),
        pathNot: [
          part('backup/'),
          part('events/(log|merkle|restore)\\.ts$'),
          part('keyring/store\\.ts$'),
          part('projections/(views|digest)\\.ts$'),
          part('(backends|config|data-lock|errors|hub|kernel|private-file)\\.ts$'),
        ],
      },
    },
    {
      name: 'nobody-below-imports-the-program',
      severity: 'error',
      from: { path: part(''), pathNot: [part('cli/'), part('main\\.ts$')] },
      to: { path: part('(cli/|main\\.ts$)') },
    },
    {
      name: 'client-stands-alone',
      comment: 'A node carries the protocol and the types of facts, not the hub.',
      severity: 'error',
      from: { path: part('client/') },
      to: {
        path: part(''),
        pathNot: [
          part('client/'),
          part('(protocol|p2p)/'),
          part('(protocol|knowledge|negentropy|call-parts|private-file|input|errors|egress|ed25519)\\.ts$'),
        ],
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'client-borrows-only-types-of-facts',
      severity: 'error',
      from: { path: part('client/') },
      to: {
        path: part(''),
        pathNot: [
          part('client/'),
          part('(protocol|p2p)/'),
          part('(protocol|knowledge|negentropy|call-parts|private-file|input|errors|egress|ed25519|kernel)\\.ts$'),
          part('events/(node|heartbeat|health|message|file|memory|knowledge|sovereignty)\\.ts$'),
        ],
      },
    },
    {
      name: 'only-peers-use-the-sdk',
      comment: 'A hub is a node of another hub by the SDK, as every node is. Nothing else in a hub has a use for it.',
      severity: 'error',
      from: { path: part(''), pathNot: [part('(cli|client)/'), part('services/knowledge-sync/peer')] },
      to: { path: part('client/') },
    },
    {
      name: 'cli-starts-or-asks',
      comment: 'The command line starts a hub, speaks to one over HTTP like anyone else, or holds its backup.',
      severity: 'error',
      from: { path: part('cli/') },
      to: {
        path: part(''),
        pathNot: [
          part('(cli|client|backup|p2p|protocol)/'),
          part('(main|config|kernel|thread|version|backends)\\.ts$'),
        ],
      },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      extensions: ['.ts', '.js', '.json'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
    },
  },
};
