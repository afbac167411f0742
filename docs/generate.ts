/** `npm run docs`: writes what is known about the hub from its code itself: `openapi.yaml`, `asyncapi.yaml`, `roles.md`. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { readConfig } from '../src/config.ts';
import { createKernel } from '../src/kernel.ts';
import { startHub } from '../src/main.ts';
import { asyncApi } from './asyncapi.ts';
import { rolesPage } from './roles.ts';

/** Every generated file of this folder, by name. */
export async function generate(): Promise<Record<string, string>> {
  const described = await openApi();
  return {
    'openapi.yaml': yaml(described),
    'asyncapi.yaml': yaml(asyncApi()),
    'roles.md': aligned(rolesPage(described as Parameters<typeof rolesPage>[0])), // routes made it, by `requireAccess`
  };
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

/** The cells of each table as wide as its widest. */
function aligned(page: string): string {
  return page.replaceAll(/(?:^\|.*\n)+/gm, (table) => {
    const rows = table
      .trimEnd()
      .split('\n')
      .map((line) =>
        line
          .slice(1, -1)
          .split('|')
          .map((cell) => cell.trim()),
      );
    const widths = rows[0]!.map((_, at) => Math.max(...rows.map((row) => row[at]!.length)));
    const line = (row: string[]) =>
      `| ${row.map((cell, at) => (cell === '---' ? '-'.repeat(widths[at]!) : cell.padEnd(widths[at]!))).join(' | ')} |\n`;
    return rows.map(line).join('');
  });
}

if (process.argv[1] === import.meta.filename) {
  for (const [name, text] of Object.entries(await generate())) await writeFile(join(import.meta.dirname, name), text);
}
