/** The built program as a child process, from its start until it listens. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';

export interface HubProcess {
  readonly child: ChildProcess;
  readonly url: string;
  readonly federationId: string;
  /** Of the start that founded the federation. */
  readonly adminToken: string | undefined;
  /** What it wrote to its error stream so far: its log, one JSON line an entry. The last megabyte. */
  stderr(): string;
  /** Resolves when it ended. */
  readonly exited: Promise<unknown>;
}

/** What is started: the built program, or the one that FEDHUB_PROGRAM names. */
export const program = process.env.FEDHUB_PROGRAM ?? path.resolve(import.meta.dirname, '../../dist/cli/fedhub.js');
const longestStartMs = 60_000;
const rememberedLength = 1_000_000;

/** Starts `fedhub serve` with these settings and no others, and waits until it listens. Throws with what it said when it does not. */
export async function startHubProcess(cwd: string, env: Readonly<Record<string, string>>): Promise<HubProcess> {
  const child = spawn(process.execPath, [program, 'serve', '--json'], {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, ...env },
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-rememberedLength);
  });
  const exited = once(child, 'exit');
  const first = await firstLine(child);
  if (first === undefined) {
    child.kill('SIGKILL');
    await exited;
    throw new Error(`the hub did not start. It said:\n${said}`);
  }
  // what `fedhub serve --json` prints once it listens
  const { listening, federation_id, admin_token } = JSON.parse(first) as Record<string, string>;
  return {
    child,
    url: listening!,
    federationId: federation_id!,
    adminToken: admin_token,
    stderr: () => said,
    exited,
  };
}

async function firstLine(child: ChildProcess): Promise<string | undefined> {
  const lines = createInterface({ input: child.stdout! });
  const late = setTimeout(() => lines.close(), longestStartMs);
  try {
    for await (const line of lines) return line;
    return undefined;
  } finally {
    clearTimeout(late);
    child.stdout!.resume();
  }
}
