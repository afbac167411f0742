/** `fedhub degradation`: how much each replica puts aside, why, and what an operator orders. */
import type { Command } from 'commander';
import { seconds } from './duration.ts';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

/** Of GET /degradation, what is shown. */
export interface DegradationAnswer {
  readonly replica: string;
  readonly level: string;
  readonly since: string;
  readonly cause: string;
  readonly sheds: readonly string[];
  readonly measured: {
    readonly level: string;
    readonly signals: readonly {
      readonly signal: string;
      readonly value: number;
      readonly unit: string;
      readonly level: string;
      readonly reduced: number | null;
      readonly essential: number | null;
      readonly core: number | null;
    }[];
  };
  readonly door: { readonly places: number | null; readonly under_way: number; readonly waiting: number };
  readonly order: {
    readonly level: string;
    readonly until: string;
    readonly reason?: string;
    readonly by: string;
  } | null;
  readonly replicas: readonly {
    readonly replica: string;
    readonly level: string;
    readonly since: string;
    readonly cause: string;
  }[];
}

interface Wish {
  readonly for: number;
  readonly reason?: string;
}

export function registerDegradation(program: Command, client: () => HubClient, output: () => Output): void {
  const degradation = program
    .command('degradation')
    .description('how much of its work each replica puts aside, what it measures, and what is ordered')
    .action(() => show(client(), output()));
  degradation
    .command('set <level>')
    .description('order a level for all replicas, whatever they measure: normal, reduced, essential or core')
    .option('--for <time>', 'how long: 90s, 15m, 12h, 2d; at most 7d', seconds, 3_600)
    .option('--reason <text>', 'why')
    .action((level: string, wish: Wish) => order(client(), output(), level, wish));
  degradation
    .command('clear')
    .description('each replica is at the level that it measures again')
    .action(() => clear(client(), output()));
}

async function show(hub: HubClient, output: Output): Promise<void> {
  const answer = await hub.get<DegradationAnswer>('/degradation');
  if (output.json) return output.value(answer, '');
  const { replica, level, since, cause, sheds, measured, door, order: given, replicas } = answer;
  output.say(`level     ${level} since ${since} (${cause}) at replica ${replica.slice(-8)}`);
  output.say(`aside     ${sheds.join(', ') || 'nothing'}`);
  output.say(`measured  ${measured.level}`);
  output.say(`door      ${door.under_way} under way of ${door.places ?? 'any number'}, ${door.waiting} waiting`);
  if (given)
    output.say(
      `order     ${given.level} until ${given.until} by ${given.by}${given.reason ? `: ${given.reason}` : ''}`,
    );
  for (const other of replicas) {
    if (other.replica !== replica)
      output.say(`elsewhere ${other.replica.slice(-8)} is at ${other.level} since ${other.since} (${other.cause})`);
  }
  output.say('');
  output.table(
    ['signal', 'value', 'unit', 'asks', 'reduced', 'essential', 'core'],
    measured.signals.map(({ level: asks, ...signal }) => ({ ...signal, asks })),
  );
}

async function order(hub: HubClient, output: Output, level: string, { for: lasts, reason }: Wish): Promise<void> {
  const given = await hub.put<{ level: string; until: string }>('/degradation', {
    level,
    seconds: lasts,
    ...(reason && { reason }),
  });
  output.value(given, `all replicas are at ${given.level} until ${given.until}`);
}

async function clear(hub: HubClient, output: Output): Promise<void> {
  const done = await hub.delete<{ lifted: boolean }>('/degradation');
  output.value(done, done.lifted ? 'each replica is at the level that it measures' : 'there was no order');
}
