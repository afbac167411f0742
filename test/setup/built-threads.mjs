/**
 * Preload of the processes of tests: a thread that sources would start is started from what was built of them. A loader of
 * TypeScript in each thread takes seconds of processor time for every log and view that a test opens.
 */
import { syncBuiltinESMExports } from 'node:module';
import { pathToFileURL } from 'node:url';
import threads from 'node:worker_threads';

const sources = new URL('../../src/', import.meta.url).href;
const program = process.env.FEDHUB_PROGRAM;
const built = program ? new URL('../', pathToFileURL(program)).href : new URL('../../dist/', import.meta.url).href;

threads.Worker = class extends threads.Worker {
  constructor(module, options) {
    const ours = module instanceof URL && module.href.startsWith(sources) && module.href.endsWith('.ts');
    super(ours ? new URL(`${built}${module.href.slice(sources.length, -'.ts'.length)}.js`) : module, options);
  }
};
syncBuiltinESMExports();
