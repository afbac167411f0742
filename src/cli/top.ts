/** `fedhub top`: a hub at work, drawn anew each second until `q`; `--once` and `--json` show one picture. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';
import { draw } from './top/draw.ts';
import { type Look, look } from './top/picture.ts';

const everyMs = 1_000;
/** q, Q, Ctrl-C, Ctrl-D. */
const enders = [0x71, 0x51, 3, 4];

/** Terminal: another screen and back, the cursor away and back, the beginning, the rest of a line, the rest of the screen. */
const screen = {
  enter: '\u001b[?1049h\u001b[?25l',
  leave: '\u001b[?25h\u001b[?1049l',
  home: '\u001b[H',
  endLine: '\u001b[K\r\n',
  endScreen: '\u001b[J',
} as const;

export function registerTop(program: Command, client: () => HubClient, output: () => Output): void {
  program
    .command('top')
    .description('a live view of replicas, nodes, tasks, log and load; q ends it')
    .option('--once', 'print one picture, and end')
    .action(async ({ once }: { once?: true }) => {
      if (once || output().json || !process.stdout.isTTY) await printOnce(client(), output());
      else await live(client());
    });
}

/** Two looks, so that there are rates. */
async function printOnce(hub: HubClient, output: Output): Promise<void> {
  const first = await look(hub, performance.now(), undefined);
  await sleep(everyMs);
  const { picture } = await look(hub, performance.now(), first);
  if (output.json) return output.value(picture, '');
  for (const line of draw(picture, { columns: process.stdout.columns ?? 120, rows: 60, colour: false }))
    output.say(line);
}

/** Draws until `q` or Ctrl-C. Whatever happens, the terminal is left as it was. */
async function live(hub: HubClient): Promise<void> {
  const { stdin, stdout } = process;
  const ended = new AbortController();
  let asking = new AbortController();
  let last: Look | undefined;
  let trouble = '';
  const paint = () => {
    const rows = stdout.rows || 24; // some terminals say 0
    const size = { columns: stdout.columns || 80, rows: rows - 1, colour: process.env.NO_COLOR === undefined };
    const lines = last ? draw(last.picture, size) : [];
    if (trouble) lines.splice(0, 1, trouble.slice(0, size.columns));
    stdout.write(screen.home + lines.map((line) => line + screen.endLine).join('') + screen.endScreen);
  };
  const hear = (keys: Buffer) => {
    if (keys.some((key) => enders.includes(key))) end();
  };
  const end = () => {
    ended.abort();
    asking.abort(); // whoever leaves does not wait for a hub that hangs
  };
  stdin.setRawMode?.(true);
  stdin.on('data', hear).on('end', end);
  stdout.on('resize', paint);
  process.on('SIGTERM', end);
  stdout.write(screen.enter);
  try {
    while (!ended.signal.aborted) {
      asking = new AbortController();
      try {
        last = await look(hub.until(asking.signal), performance.now(), last);
        trouble = '';
      } catch (error) {
        trouble = `${error instanceof Error ? error.message : String(error)}; trying again`;
      }
      if (!ended.signal.aborted) paint();
      await sleep(everyMs, undefined, { signal: ended.signal }).catch(() => {});
    }
  } finally {
    stdout.off('resize', paint);
    process.off('SIGTERM', end);
    stdin.off('data', hear).off('end', end);
    stdin.setRawMode?.(false);
    stdin.pause();
    stdout.write(screen.leave);
  }
}
