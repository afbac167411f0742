import pg from 'pg';
import { randomUUID } from 'node:crypto';
import { createKernel } from '../src/kernel.ts';
import { openPostgresLog } from '../src/events/log-postgres.ts';
import * as sql from '../src/events/log-postgres.sql.ts';
import { parametersOf } from '../src/events/log-postgres-flush.ts';
const base = process.argv[2]!;
const c = new pg.Client({ connectionString: base }); await c.connect();
const db = 's' + Date.now(); await c.query(`CREATE DATABASE ${db}`);
const url = base.replace(/postgres$/, db);
const kernel = createKernel({ logLevel: 'warn' });
const log = await openPostgresLog({ url, kernel });
const ev = () => ({ id: kernel.uuid(), type: 'node.registered', version: 1, time: new Date().toISOString(), data: 'x'.repeat(200), meta: '{}'.padEnd(100) });
const d = new pg.Client({ connectionString: url, options: process.argv[3] }); await d.connect();
if (process.argv[4]) await d.query(process.argv[4]); await d.query("BEGIN"); await time("warm", 1, 500); await time("warm", 1, 500);
async function time(label: string, n: number, times: number) {
  for (let phase = 0; phase < 2; phase++) {
  const ps = Array.from({ length: times }, () => parametersOf(Array.from({ length: n }, () => ({ stream: `node-${randomUUID()}`, expected: 'noStream' as const, events: [ev()] }))));
  const s = performance.now(); for (const values of ps) await d.query({ ...sql.append, values }); if (phase) console.log(label, ((performance.now() - s) / times).toFixed(3), 'ms'); }
}
await time('1', 1, 300); await time('100', 100, 60); await time('256', 256, 30);
const s = performance.now(); for (let i = 0; i < 500; i++) await d.query({ name: 'z', text: 'select $1::int', values: [i] }); console.log('roundtrip', ((performance.now() - s) / 500).toFixed(3));
await d.query('ROLLBACK');
await d.end(); await log.close(); await c.query(`DROP DATABASE ${db} WITH (FORCE)`); await c.end(); process.exit();
d.on('notice', (n) => console.log(n.message));
await d.query('BEGIN');
for (let i = 0; i < 2; i++) { if (i) console.log('======'); await d.query({ ...sql.append, values: parametersOf(Array.from({ length: 100 }, () => ({ stream: `node-${randomUUID()}`, expected: 'noStream' as const, events: [ev()] }))) }); }
await d.query('ROLLBACK');
await d.end(); await log.close(); await c.query(`DROP DATABASE ${db} WITH (FORCE)`); await c.end();
