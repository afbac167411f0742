/** `fedhub serve`: runs a hub until SIGTERM or SIGINT, then drains. */
import { readConfig, redacted } from '../config.ts';
import { createKernel } from '../kernel.ts';
import { startHub } from '../main.ts';
import type { Output } from './output.ts';

/** A drain that takes longer than this is cut short. */
const drainMs = 4_500;
const lingerMs = 500;

export async function serve(output: Output, env: NodeJS.ProcessEnv): Promise<void> {
  const config = readConfig(env);
  const kernel = createKernel({ logLevel: config.logLevel });
  const hub = await startHub(config, kernel);
  const { url, federationId, adminToken } = hub;
  output.value(
    { listening: url, federation_id: federationId, ...(adminToken && { admin_token: adminToken }) },
    banner(hub, redacted(config.logUrl)),
  );
  const failure = await Promise.race([stopSignal(), hub.failed]);
  if (failure) kernel.log.error({ err: failure }, 'the hub stops, to be started anew by whoever watches over it');
  output.say('draining …');
  const late = setTimeout(() => {
    kernel.log.error({ drainMs }, 'the drain took too long and was cut short');
    process.exit(1);
  }, drainMs);
  await hub.stop();
  clearTimeout(late);
  output.say('stopped');
  if (failure) process.exitCode = 1;
  setTimeout(() => process.exit(), lingerMs).unref(); // what a library may still hold is no reason to stay
}

function banner(
  { url, federationId, adminToken }: { url: string; federationId: string; adminToken: string | undefined },
  log: string,
): string {
  const lines = [
    `Federation Hub listens on ${url}`,
    `  federation  ${federationId}`,
    `  event log   ${log}`,
    `  try         curl ${url}/api/federation/status`,
    `  read        ${url}/docs`,
  ];
  if (adminToken) lines.push('', `  admin token, shown this once:  ${adminToken}`);
  return lines.join('\n');
}

/** Resolves at the first SIGTERM or SIGINT; a second one ends the process at once. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    const stop = () => {
      if (asked) process.exit(1);
      asked = true;
      resolve();
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
  });
}
