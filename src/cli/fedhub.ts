#!/usr/bin/env node
/** `fedhub`: serves a hub, and speaks to one. Exit codes: 0 done, 1 refused or failed, 2 wrong use. */
import { Command, CommanderError, Option } from 'commander';
import { ConfigError, describeConfig } from '../config.ts';
import { version } from '../version.ts';
import { registerAccess } from './access.ts';
import { registerAudit } from './audit.ts';
import { registerBackup } from './backup-commands.ts';
import { registerChannels } from './channel.ts';
import { registerDegradation } from './degradation.ts';
import { registerEntities } from './entities.ts';
import { registerEvents } from './events.ts';
import { registerFiles } from './file.ts';
import { registerGovern } from './govern.ts';
import { HubClient, HubProblem } from './hub-client.ts';
import { registerLimits } from './limits.ts';
import { registerMemories } from './memory.ts';
import { registerMessages } from './message.ts';
import { registerModels } from './models.ts';
import { Output } from './output.ts';
import { registerP2p } from './p2p.ts';
import { registerSecrets } from './secret.ts';
import { registerSovereignty } from './sovereignty.ts';
import { registerSyncs } from './sync.ts';
import { registerTasks } from './task.ts';
import { registerTokens } from './tokens.ts';
import { registerTop } from './top.ts';

// Each command loads what it needs when it runs: `fedhub status` has no use for a database.

interface Everywhere {
  readonly json?: true;
  readonly url: string;
  readonly token?: string;
}

const program = new Command('fedhub')
  .description('Federation Hub: serve one, or speak to one')
  .version(version)
  .exitOverride()
  .configureHelp({ showGlobalOptions: true })
  .addOption(new Option('--json', 'print JSON, one value a line'))
  .addOption(new Option('--url <url>', 'the hub to speak to').env('FEDHUB_URL').default('http://127.0.0.1:3002'))
  .addOption(new Option('--token <token>', 'operator token').env('FEDHUB_TOKEN'));

program
  .command('serve')
  .description('run a hub; settings come from the environment, see `fedhub config`')
  .action(async () => (await import('./serve.ts')).serve(output(), process.env));

program
  .command('demo')
  .description('a hub and five nodes in this terminal: they join, do work, one dies and comes back')
  .option('--seconds <n>', 'how long it may take', positive, 60)
  .action(async (options: { seconds: number }) => (await import('./demo.ts')).demo(output(), options.seconds));

program
  .command('status')
  .description('the federation at a glance')
  .action(async () => (await import('./inspect.ts')).showStatus(client(), output()));

program
  .command('nodes')
  .description('the directory of nodes')
  .addOption(new Option('--status <status>', 'only these').choices(['online', 'suspect', 'offline']))
  .option('--owner <owner>', 'only of this owner')
  .option('--capability <name>', 'only with this capability')
  .option('--model <name>', 'only with this model')
  .action(async (filter: Record<string, string>) =>
    (await import('./inspect.ts')).showNodes(client(), output(), filter),
  );

program
  .command('replay')
  .description('rebuild all views of a serving hub from its log')
  .action(async () => (await import('./replay.ts')).replay(client(), output()));

for (const register of [
  registerEntities,
  registerTasks,
  registerMessages,
  registerChannels,
  registerFiles,
  registerMemories,
  registerSovereignty,
  registerSyncs,
  registerSecrets,
  registerModels,
  registerP2p,
  registerEvents,
  registerGovern,
  registerAccess,
  registerTokens,
  registerLimits,
  registerDegradation,
  registerTop,
  registerAudit,
  registerBackup,
]) {
  register(program, client, output);
}

program
  .command('config')
  .description('all settings, with secrets left out')
  .action(() => output().table(['name', 'value', 'meaning'], describeConfig(process.env)));

function output(): Output {
  return new Output(program.opts<Everywhere>().json === true);
}

/** For commands that ask a hub and print: whoever stops to read, as `head` does, has seen enough. */
function client(): HubClient {
  process.stdout.once('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  const { url, token } = program.opts<Everywhere>();
  return new HubClient(url, token);
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new CommanderError(2, 'usage', `error: '${text}' is not a number above 0`);
  return value;
}

/** Says what went wrong on the error stream, in the words of who found it. */
function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) {
    if (error.code === 'usage') process.stderr.write(`${error.message}\n`);
    return error.exitCode === 0 ? 0 : 2;
  }
  const usage = error instanceof ConfigError;
  const message = error instanceof Error ? error.message : String(error);
  const problem = error instanceof HubProblem ? error.problem : { code: usage ? 'usage' : 'failed', detail: message };
  const json = program.opts<Everywhere>().json === true;
  process.stderr.write(json ? `${JSON.stringify({ error: problem })}\n` : `fedhub: ${message}\n`);
  return usage ? 2 : 1;
}

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitCodeOf(error);
}
