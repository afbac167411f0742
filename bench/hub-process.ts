/** The built hub as a process of its own, watched from inside for how late its event loop is. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fedhub } from './built.ts';
import { type Child, childOf, profiling } from './processes.ts';

/** Milliseconds between turns of the hub's event loop, looked at each millisecond, since this was asked last. */
export interface LoopDelay {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

type Watch = { loopDelay(): LoopDelay };

export interface HubProcess extends Child<Watch> {
  readonly url: string;
  /** On the start that founds the federation. */
  readonly adminToken: string | undefined;
}

export interface HubSettings {
  /** For SQLite and the keyring. */
  readonly folder: string;
  /** `postgres://…`; SQLite in the folder when absent. */
  readonly database?: string | undefined;
  /** Any free one when absent. */
  readonly port?: number;
  /** Further settings of the hub. */
  readonly env?: Readonly<Record<string, string>>;
}

const watch = new URL('./watch.mjs', import.meta.url);

/** Starts a hub and returns when it listens. */
export async function startHub(settings: HubSettings): Promise<HubProcess> {
  const { child, said } = spawnHub(settings);
  const lines = createInterface({ input: child.stdout! }); // piped
  const line = await Promise.race([once(lines, 'line'), once(child, 'exit')]);
  if (typeof line[0] !== 'string') throw new Error(`the hub did not start. It said:\n${said.join('')}`);
  const { listening, admin_token } = JSON.parse(line[0]) as { listening: string; admin_token?: string };
  return { ...childOf<Watch>(child), url: listening, adminToken: admin_token };
}

/** A load asks for more than any identity would be allowed; the limits are counted all the same. */
const unlimited = Object.fromEntries(
  ['REQUESTS', 'MEGABYTES', 'MESSAGES', 'STRANGERS'].map((kind) => [`FEDERATION_LIMIT_${kind}`, '10000000']),
);

/** The same without waiting. `said`: the end of what it wrote on its error stream. */
export function spawnHub({ folder, database, port = 0, env }: HubSettings) {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(FEDERATION_|FEDHUB_|DATABASE_URL|REDIS_URL|NODE_OPTIONS)/.test(name),
  );
  const child = spawn(process.execPath, ['--import', watch.href, ...profiling, fedhub.pathname, '--json', 'serve'], {
    env: {
      ...Object.fromEntries(inherited),
      FEDERATION_DATA_DIR: folder,
      PORT: String(port),
      LOG_LEVEL: 'warn',
      ...unlimited,
      ...(database && { DATABASE_URL: database }),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  const said: string[] = [];
  child.stderr?.on('data', (text: Buffer) => {
    said.push(text.toString());
    if (said.length > 50) said.shift();
  });
  return { child, said };
}
