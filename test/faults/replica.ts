/** A replica of its own process: `replica.ts <url>` opens log and views, says when it projects, and asks for rebuilds for ever. */
import { randomUUID } from 'node:crypto';
import { openLog, openViews } from '../../src/backends.ts';
import { createKernel } from '../../src/kernel.ts';
import { heartbeat, tell } from '../projections/facts.ts';

const url = process.argv[2]!;
const kernel = createKernel({ logLevel: 'silent' });
const log = await openLog(url, kernel);
const views = await openViews({ url, logUrl: url, log, kernel, logLevel: 'silent' });
while (!(await views.state()).projecting) await kernel.sleep(20);
process.stdout.write('projecting\n');
for (let n = 0; ; n++) {
  await tell(log, heartbeat(`n-${n % 20}`, n % 100));
  if (n % 10 === 0) await tell(log, { type: 'views.rebuild-requested', data: { rebuild_id: randomUUID() } });
}
