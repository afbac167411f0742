/**
 * A program that writes to a log until it is killed, and says on stdout what was acknowledged to it, a line each.
 *
 * `writer.mjs <log> <name> [appends]`: the log is `sqlite:<folder>` or `postgres://…`; with a number it ends after so many.
 * Each append has 1 to 5 events, which say in their data which append they belong to and how many they are. It runs the built hub, because that starts in a fraction of the time.
 */
import { openPostgresLog } from '../../dist/events/log-postgres.js';
import { openSqliteLog } from '../../dist/events/log-sqlite.js';
import { createKernel } from '../../dist/kernel.js';

const writers = 24;
const [url = '', name = '', appends = 'Infinity'] = process.argv.slice(2);
const kernel = createKernel({ logLevel: 'silent' });
const log = url.startsWith('sqlite:')
  ? await openSqliteLog({ folder: url.slice('sqlite:'.length), kernel, segmentSize: 5_000 })
  : await openPostgresLog({ url, kernel, segmentSize: 5_000 });
say('ready');

let left = Number(appends);
await Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)));
await log.close();
say('done');

async function write(writer) {
  for (let revision = -1; left > 0; ) {
    left--;
    const append = kernel.uuid();
    const size = 1 + Math.floor(kernel.random() * 5);
    const kept = kernel.random() < 0.7;
    const stream = `${kept ? 'node' : 'heartbeat'}-${name}-${writer}`;
    const expected = !kept ? 'any' : revision === -1 ? 'noStream' : revision;
    const verdict = await log.append(stream, expected, eventsOf(append, size));
    if (verdict.status !== 'written') throw new Error(`${stream} at ${revision}: ${JSON.stringify(verdict)}`);
    if (kept) revision = verdict.revision;
    say(JSON.stringify({ append, size, position: verdict.position }));
  }
}

function eventsOf(append, size) {
  return Array.from({ length: size }, (_, part) => ({
    id: kernel.uuid(),
    type: 'node.registered',
    version: 1,
    time: new Date().toISOString(),
    data: JSON.stringify({ append, size, part, ballast: 'x'.repeat(200) }),
    meta: '{}',
  }));
}

/** stdout is a pipe, to which writes are synchronous: what was said was said, even when the kill comes next. */
function say(line) {
  process.stdout.write(`${line}\n`);
}
