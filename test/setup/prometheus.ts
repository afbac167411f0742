/** A real Prometheus and its promtool: those of the PATH, or those of the package of the system, unpacked for the tests alone. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { freePort } from './free-port.ts';

const run = promisify(execFile);

export interface Programs {
  readonly prometheus: string;
  readonly promtool: string;
}

let found: Promise<Programs> | undefined;

/** Throws, and says what to install, where there is none to be had: a test that cannot ask it has not passed. */
export function prometheusPrograms(): Promise<Programs> {
  found ??= findPrograms();
  return found;
}

async function findPrograms(): Promise<Programs> {
  const [prometheus, promtool] = await Promise.all([onPath('prometheus'), onPath('promtool')]);
  if (prometheus && promtool) return { prometheus, promtool };
  const unpacked = path.join(tmpdir(), `fedhub-prometheus-${process.getuid?.() ?? 0}`);
  const programs = {
    prometheus: path.join(unpacked, 'usr/bin/prometheus'),
    promtool: path.join(unpacked, 'usr/bin/promtool'),
  };
  if (await isThere(programs.promtool)) return programs;
  if (await onPath('apt-get')) await unpack(unpacked).catch(() => {});
  if (await isThere(programs.promtool)) return programs;
  throw new Error(
    'these tests need prometheus and promtool: install them (Debian: apt-get install prometheus; macOS: brew install prometheus)',
  );
}

/** Takes the programs out of the package without installing it, which would start a service. */
async function unpack(folder: string): Promise<void> {
  const work = await mkdtemp(path.join(tmpdir(), 'fedhub-deb-'));
  try {
    const download = () => run('apt-get', ['download', 'prometheus'], { cwd: work });
    await download().catch(async () => {
      await run('apt-get', ['update']);
      await download();
    });
    const [deb] = (await readdir(work)).filter((name) => name.endsWith('.deb'));
    if (deb === undefined) return;
    await mkdir(folder, { recursive: true });
    await run('dpkg', ['-x', path.join(work, deb), folder]);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function onPath(name: string): Promise<string | undefined> {
  for (const folder of (process.env.PATH ?? '').split(path.delimiter)) {
    const file = path.join(folder, name);
    if (await isThere(file)) return file;
  }
  return undefined;
}

function isThere(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

/** Runs promtool. Answers what it said; throws with that when it is not content. */
export async function promtool(args: readonly string[], input = ''): Promise<string> {
  const { promtool: program } = await prometheusPrograms();
  const child = spawn(program, [...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  }
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`promtool ${args.join(' ')} ended with ${code}:\n${said}`);
  return said;
}

export interface Result {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

export interface PrometheusServer {
  /** Asks a query now. Throws what Prometheus says is wrong with it. */
  query(expression: string): Promise<readonly Result[]>;
  get(path: string): Promise<unknown>;
  stop(): Promise<void>;
}

/** Starts a server with this configuration (as YAML), files beside it, and returns when it is ready. */
export async function startPrometheus(
  config: string,
  files: Readonly<Record<string, string>> = {},
): Promise<PrometheusServer> {
  const [{ prometheus }, port, folder] = await Promise.all([
    prometheusPrograms(),
    freePort(),
    mkdtemp(path.join(tmpdir(), 'fedhub-prometheus-')),
  ]);
  const all = { ...files, 'prometheus.yml': config };
  for (const [name, text] of Object.entries(all)) await writeFile(path.join(folder, name), text);
  const url = `http://127.0.0.1:${port}`;
  const options = [
    `--config.file=${path.join(folder, 'prometheus.yml')}`,
    `--storage.tsdb.path=${path.join(folder, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
    '--enable-feature=exemplar-storage',
  ];
  const child = spawn(prometheus, options, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-10_000);
  });
  const ended = once(child, 'exit');
  const stop = async () => {
    child.kill('SIGKILL');
    await ended;
    await rm(folder, { recursive: true, force: true });
  };
  const get = async (where: string) => {
    const response = await fetch(`${url}${where}`);
    const body = (await response.json()) as { status: string; error?: string; data: unknown };
    if (body.status !== 'success') throw new Error(body.error);
    return body.data;
  };
  try {
    for (
      let tries = 0;
      !(await fetch(`${url}/-/ready`).then(
        ({ ok }) => ok,
        () => false,
      ));
      tries++
    ) {
      if (tries > 200 || child.exitCode !== null) throw new Error(`prometheus did not start. It said:\n${said}`);
      await new Promise((done) => setTimeout(done, 100));
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    get,
    stop,
    query: async (expression) => {
      const { result } = (await get(`/api/v1/query?query=${encodeURIComponent(expression)}`)) as { result: Result[] };
      return result;
    },
  };
}
