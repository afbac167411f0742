/** `npm run docs`: writes what programs read about the hub, `openapi.yaml` and `asyncapi.yaml`, from the code itself. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { readConfig } from '../src/config.ts';
import { createKernel } from '../src/kernel.ts';
import { startHub } from '../src/main.ts';
import { asyncApi } from './asyncapi.ts';

/** Every generated file of this folder, by name. */
export async function generate(): Promise<Record<string, string>> {
  return { 'openapi.yaml': yaml(await openApi()), 'asyncapi.yaml': yaml(asyncApi()) };
}

/** What a hub answers at `/openapi.json`: asks one that is started for it, in a folder of its own. */
async function openApi(): Promise<object> {
  const folder = await mkdtemp(join(tmpdir(), 'fedhub-docs-'));
  try {
    const config = readConfig({ FEDERATION_DATA_DIR: folder, PORT: '0', LOG_LEVEL: 'silent' });
    const hub = await startHub(config, createKernel({ logLevel: config.logLevel }));
    try {
      const response = await fetch(`${hub.url}/openapi.json`);
      if (!response.ok) throw new Error(`/openapi.json answered ${response.status}`);
      return (await response.json()) as object; // an OpenAPI document is an object
    } finally {
      await hub.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function yaml(document: object): string {
  const text = stringify(document, { lineWidth: 120, aliasDuplicateObjects: false });
  return `# Made by \`npm run docs\` from the code. Do not edit: change the code and run it again.\n${text}`;
}

if (process.argv[1] === import.meta.filename) {
  for (const [name, text] of Object.entries(await generate())) await writeFile(join(import.meta.dirname, name), text);
}
