import pg from 'pg';
import { randomUUID } from 'node:crypto';
import { createKernel } from '../src/kernel.ts';
import { openPostgresLog } from '../src/events/log-postgres.ts';
const base = process.argv[2]!;
const c = new pg.Client({ connectionString: base }); await c.connect();
const db = 's' + Date.now(); await c.query(`CREATE DATABASE ${db}`);
const url = base.replace(/postgres$/, db);
const kernel = createKernel({ logLevel: 'warn' });
const data = JSON.stringify({ node_id: 'n', text: 'x'.repeat(200) });
const ev = () => ({ id: kernel.uuid(), type: 'node.registered', version: 1, time: new Date().toISOString(), data, meta: '{}'.padEnd(100) });
const d = new pg.Client({ connectionString: url }); await d.connect();
await d.query(`create table plain(position bigint generated always as identity primary key, stream text, revision bigint, id uuid unique, type text, version int, time text, data text, meta text, unique(stream, revision))`);
const log = await openPostgresLog({ url, kernel });
const a = () => log.append(`node-${randomUUID()}`, 'noStream', [ev()]);
const b = async () => { const s = `node-${randomUUID()}`; const e = ev();
    await d.query('BEGIN'); const { rows } = await d.query({ name: 'a', text: 'SELECT coalesce(max(revision), -1) r FROM plain WHERE stream = $1', values: [s] });
    await d.query({ name: 'b', text: 'INSERT INTO plain(stream, revision, id, type, version, time, data, meta) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)', values: [s, Number(rows[0].r) + 1, e.id, e.type, e.version, e.time, e.data, e.meta] }); await d.query('COMMIT'); };
const bareB = async () => { const es = Array.from({ length: 100 }, ev); const r = randomUUID(); const ss = es.map((_, k) => `node-${r}-${k}`);
    await d.query({ name: 'u', text: 'INSERT INTO plain(stream, revision, id, type, version, time, data, meta) SELECT * FROM unnest($1::text[],$2::bigint[],$3::uuid[],$4::text[],$5::int[],$6::text[],$7::text[],$8::text[])', values: [ss, ss.map(() => 0), es.map(e => e.id), es.map(e => e.type), es.map(e => e.version), es.map(e => e.time), es.map(e => e.data), es.map(e => e.meta)] }); };
const logB = () => Promise.all(Array.from({ length: 100 }, a));
const t = { a: 0, b: 0, na: 0, nb: 0, c: 0, d: 0, nc: 0, nd: 0 };
for (let round = 0; round < 40; round++) {
  for (let i = 0; i < 20; i++) { const s = performance.now(); await a(); t.a += performance.now() - s; t.na++; }
  for (let i = 0; i < 20; i++) { const s = performance.now(); await b(); t.b += performance.now() - s; t.nb++; }
  for (let i = 0; i < 5; i++) { const s = performance.now(); await bareB(); t.c += performance.now() - s; t.nc += 100; }
  for (let i = 0; i < 5; i++) { const s = performance.now(); await logB(); t.d += performance.now() - s; t.nd += 100; }
}
console.log('log 1:', (t.a / t.na).toFixed(3), 'ms; tx 1:', (t.b / t.nb).toFixed(3), 'ms; bare 100 /s', Math.round(t.nc / t.c * 1000), 'log 100 /s', Math.round(t.nd / t.d * 1000));
await log.close(); await d.end();
await c.query(`DROP DATABASE ${db} WITH (FORCE)`); await c.end();
