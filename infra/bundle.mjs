/**
 * Puts the built program together in few files: to start it, Node would else look for, read and link more than a thousand modules, which
 * takes longer than all the rest of a start. What the SDK and the types need stays as the compiler wrote it.
 *
 * node infra/bundle.mjs [folder of the build]
 */
import { readdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';

const root = resolve(import.meta.dirname, '..');
const out = resolve(process.argv[2] ?? join(root, 'dist'));
const parts = /^chunk-.*\.js(\.map)?$/;
/** Libraries of hundreds of ES modules. All others stay outside: to put CommonJS into ES modules is to change what it does. */
const inside = new Set(['typebox', 'kysely', 'jose', 'uuid']);

for (const name of await readdir(out)) if (parts.test(name)) await rm(join(out, name));
await build({
  absWorkingDir: root,
  entryPoints: [
    'src/cli/fedhub.ts',
    'src/cli/demo-node.ts',
    // what is started as a thread
    'src/events/log-sqlite-writer.ts',
    'src/events/log-sqlite-reader.ts',
    'src/keyring/sqlite-thread.ts',
    'src/projections/projector-thread.ts',
    'src/projections/views-sqlite-reader.ts',
    'src/search/search-thread.ts',
    // these look for files from where they lie
    'src/thread.ts',
    'src/version.ts',
  ],
  outdir: out,
  outbase: 'src',
  bundle: true,
  splitting: true,
  chunkNames: 'chunk-[hash]',
  format: 'esm',
  platform: 'node',
  target: 'node20',
  keepNames: true,
  sourcemap: true,
  logLevel: 'warning',
  plugins: [{ name: 'only what comes in many files', setup: leaveOutside }],
});

function leaveOutside({ onResolve }) {
  onResolve({ filter: /^[^./]/ }, ({ path, kind }) => {
    const name = path.split('/', path.startsWith('@') ? 2 : 1).join('/');
    return kind === 'entry-point' || inside.has(name) ? undefined : { path, external: true };
  });
}
