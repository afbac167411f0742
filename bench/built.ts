/** The hub as it is built: what runs is `dist`, what the compiler knows of it are the sources. */

import type * as KeyFile from '../src/client/key-file.ts';
import type * as FederationNode from '../src/client/node.ts';
import type * as Execute from '../src/commands/execute.ts';
import type * as Node from '../src/commands/node.ts';
import type * as Views from '../src/commands/views.ts';
import type * as Config from '../src/config.ts';
import type * as Ed25519 from '../src/ed25519.ts';
import type * as Catalog from '../src/events/catalog.ts';
import type * as PostgresLog from '../src/events/log-postgres.ts';
import type * as SqliteLog from '../src/events/log-sqlite.ts';
import type * as Kernel from '../src/kernel.ts';
import type * as Main from '../src/main.ts';
import type * as Metrics from '../src/metrics.ts';
import type * as Projections from '../src/projections/views.ts';
import type * as Protocol from '../src/protocol.ts';
import type * as SessionToken from '../src/services/identity-auth/session-token.ts';
import type * as Manifest from '../src/services/manifest.ts';
import type * as Flushes from '../src/tracing/flushes.ts';
import type * as Tracing from '../src/tracing.ts';

interface Modules {
  readonly 'client/key-file': typeof KeyFile;
  readonly 'client/node': typeof FederationNode;
  readonly 'commands/execute': typeof Execute;
  readonly 'commands/node': typeof Node;
  readonly 'commands/views': typeof Views;
  readonly config: typeof Config;
  readonly ed25519: typeof Ed25519;
  readonly 'events/catalog': typeof Catalog;
  readonly 'events/log-postgres': typeof PostgresLog;
  readonly 'events/log-sqlite': typeof SqliteLog;
  readonly kernel: typeof Kernel;
  readonly main: typeof Main;
  readonly metrics: typeof Metrics;
  readonly 'projections/views': typeof Projections;
  readonly protocol: typeof Protocol;
  readonly 'services/identity-auth/session-token': typeof SessionToken;
  readonly 'services/manifest': typeof Manifest;
  readonly tracing: typeof Tracing;
  readonly 'tracing/flushes': typeof Flushes;
}

/** The built program, for `node` itself. */
export const fedhub = new URL('../dist/cli/fedhub.js', import.meta.url);

/** Loads a module out of `dist`, which `npm run build` made from the very source that gives the type. */
export async function built<N extends keyof Modules>(name: N): Promise<Modules[N]> {
  return (await import(new URL(`../dist/${name}.js`, import.meta.url).href)) as Modules[N];
}
