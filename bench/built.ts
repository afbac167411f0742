/** The hub as it is built: what runs is `dist`, what the compiler knows of it are the sources. */

import type * as KeyFile from '../src/client/key-file.ts';
import type * as Execute from '../src/commands/execute.ts';
import type * as Node from '../src/commands/node.ts';
import type * as Views from '../src/commands/views.ts';
import type * as Catalog from '../src/events/catalog.ts';
import type * as PostgresLog from '../src/events/log-postgres.ts';
import type * as SqliteLog from '../src/events/log-sqlite.ts';
import type * as Kernel from '../src/kernel.ts';
import type * as Projections from '../src/projections/views.ts';
import type * as Protocol from '../src/protocol.ts';

interface Modules {
  readonly 'client/key-file': typeof KeyFile;
  readonly 'commands/execute': typeof Execute;
  readonly 'commands/node': typeof Node;
  readonly 'commands/views': typeof Views;
  readonly 'events/catalog': typeof Catalog;
  readonly 'events/log-postgres': typeof PostgresLog;
  readonly 'events/log-sqlite': typeof SqliteLog;
  readonly kernel: typeof Kernel;
  readonly 'projections/views': typeof Projections;
  readonly protocol: typeof Protocol;
}

/** The built program, for `node` itself. */
export const fedhub = new URL('../dist/cli/fedhub.js', import.meta.url);

/** Loads a module out of `dist`, which `npm run build` made from the very source that gives the type. */
export async function built<N extends keyof Modules>(name: N): Promise<Modules[N]> {
  return (await import(new URL(`../dist/${name}.js`, import.meta.url).href)) as Modules[N];
}
