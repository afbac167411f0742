import pg from 'pg';
import { randomUUID } from 'node:crypto';
import { createKernel } from '../src/kernel.ts';
import { openPostgresLog } from '../src/events/log-postgres.ts';
const base = process.argv[2]!; const secs = Number(process.argv[3] ?? 3);
const c = new pg.Client({ connectionString: base }); await c.connect();
const db = 's' + Date.now(); await c.query(`CREATE DATABASE ${db}`);
const url = base.replace(/postgres$/, db);
const kernel = createKernel({ logLevel: 'warn' });
const data = JSON.stringify({ node_id: 'n', text: 'x'.repeat(200) });
const meta = JSON.stringify({ actor: 'node:n', correlation: randomUUID(), replica: randomUUID() }).slice(0, 100);
const ev = () => ({ id: kernel.uuid(), type: 'node.registered', version: 1, time: new Date().toISOString(), data, meta });
const d = new pg.Client({ connectionString: url }); await d.connect();
await d.query(`create table plain(position bigint generated always as identity primary key, stream text, revision bigint, id uuid unique, type text, version int, time text, data text, meta text, unique(stream, revision))`);
async function writers(n: number, one: (w: number, i: number) => Promise<unknown>) {
  const end = performance.now() + secs * 1000; let count = 0; const start = performance.now();
  await Promise.all(Array.from({ length: n }, async (_, w) => { for (let i = 0; performance.now() < end; i++) { await one(w, i); count++; } }));
  return Math.round(count / (performance.now() - start) * 1000);
}
const log = await openPostgresLog({ url, kernel });
async function group(n: number, cat: string) { const run = randomUUID(); return writers(n, (w, i) => log.append(`${cat}-${run}-${w}-${i}`, cat === 'node' ? 'noStream' : 'any', [ev()])); }
async function poolTx(n: number, size: number) {
  const pool = new pg.Pool({ connectionString: url, max: size }); const run = randomUUID();
  const r = await writers(n, async (w, i) => { const cl = await pool.connect(); const s = `node-${run}-${w}-${i}`; const e = ev();
    await cl.query('BEGIN'); const { rows } = await cl.query({ name: 'a', text: 'SELECT coalesce(max(revision), -1) r FROM plain WHERE stream = $1', values: [s] });
    await cl.query({ name: 'b', text: 'INSERT INTO plain(stream, revision, id, type, version, time, data, meta) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)', values: [s, Number(rows[0].r) + 1, e.id, e.type, e.version, e.time, e.data, e.meta] }); await cl.query('COMMIT'); cl.release(); });
  await pool.end(); return r;
}
async function bare(batch: number) {
  const run = randomUUID(); let k = 0;
  return batch * await writers(1, async () => { const es = Array.from({ length: batch }, ev); const ss = es.map(() => `node-${run}-${k++}`);
    await d.query({ name: 'u', text: 'INSERT INTO plain(stream, revision, id, type, version, time, data, meta) SELECT * FROM unnest($1::text[],$2::bigint[],$3::uuid[],$4::text[],$5::int[],$6::text[],$7::text[],$8::text[])', values: [ss, ss.map(() => 0), es.map(e => e.id), es.map(e => e.type), es.map(e => e.version), es.map(e => e.time), es.map(e => e.data), es.map(e => e.meta)] }); });
}
const only = process.argv[4];
if (!only || only === 'g') console.log('group 256 kept', await group(256, 'node'));
if (!only || only === 'h') console.log('group 256 transient', await group(256, 'heartbeat'));
if (!only || only === 'g') console.log('group 64 kept', await group(64, 'node'));
if (!only || only === '1') console.log('group 1', await group(1, 'node'));
if (!only) console.log('pool 20 at 256', await poolTx(256, 20));
if (!only) console.log('pool 50 at 256', await poolTx(256, 50));
if (!only || only === '1') console.log('pool at 1', await poolTx(1, 1));
if (!only || only === 'b') console.log('bare 100', await bare(100));
await log.close(); await d.end();
await c.query(`DROP DATABASE ${db} WITH (FORCE)`); await c.end();
