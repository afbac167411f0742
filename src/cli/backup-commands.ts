/** The commands `fedhub backup` and `fedhub restore`; what they need is loaded when they run. */
import type { Command } from 'commander';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

export function registerBackup(program: Command, client: () => HubClient, output: () => Output): void {
  program
    .command('backup')
    .description('back up the event log of a serving hub into a folder; needs a token of scope operate')
    .argument('<folder>', 'where to; made when it is missing, never overwritten')
    .option('--keyring <file>', "also the hub's own keys, apart; run it where the hub's settings hold")
    .action(async (folder: string, { keyring }: { keyring?: string }) =>
      (await import('./backup.ts')).backup(client(), output(), { folder, keyring, env: process.env }),
    );
  program
    .command('restore')
    .description('restore a backup into an empty place, named by the settings of `fedhub serve`; no hub may run there')
    .argument('<folder>', 'the folder that `fedhub backup` wrote')
    .option('--keyring <file>', "the hub's own keys, as `fedhub backup --keyring` wrote them")
    .action(async (folder: string, { keyring }: { keyring?: string }) =>
      (await import('./restore.ts')).restore(output(), { folder, keyring, env: process.env }),
    );
}
