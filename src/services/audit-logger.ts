/** Who did, asked or was refused what, when and from where: written down, so that it can be read afterwards. */
import { auditStream } from '../commands/audit.ts';
import { type AuditGuard, actorOf } from '../doors.ts';
import { ReadCounts } from './audit-logger/read-counts.ts';
import { Refusals } from './audit-logger/refusals.ts';
import { Trimming } from './audit-logger/trimming.ts';
import { Writer } from './audit-logger/writer.ts';
import { service } from './service.ts';

/** How soon the first refusal of a kind is written. */
const lookEveryMs = 1_000;

export const auditLogger = service({
  name: 'audit-logger',
  purpose: 'Audit trail of every action, refusal and sensitive read',
  needs: {},
  async start({ doors, executor, kernel, config, views, leases, metrics }) {
    const writer = new Writer(executor, kernel);
    const refusals = new Refusals(kernel);
    const reads = new ReadCounts(kernel);
    const guard: AuditGuard = {
      refused: (asked, code) => refusals.add(asked, code),
      read: (identity) => reads.add(actorOf(identity)),
      async sensitive({ identity, address, action, target }) {
        const actor = actorOf(identity);
        const fact = { type: 'audit.read' as const, data: { actor, address, action, target } };
        await executor.note(auditStream, [fact], { actor, address });
      },
    };
    const cancel = kernel.every(lookEveryMs, () => void writer.write([...refusals.due(), ...reads.due()]));
    const lease = leases.acquire('audit-logger');
    const trimming = new Trimming({ views, executor, kernel, lease, days: config.auditDays });
    const undo = doors.audit.fill(guard);
    const unread = metrics.onScrape({
      name: 'audit',
      gauges: ['auditWaiting'],
      read: () => metrics.set('auditWaiting', {}, writer.waiting),
    });
    return {
      api: {},
      async stop() {
        undo();
        unread();
        cancel();
        await writer.write([...refusals.all(), ...reads.all()]);
        await trimming.close();
        await lease.release();
      },
    };
  },
});
