/** Who may do what, as a page: made from what each route and packet asks for, so that it cannot say anything else. */
import { clientPackets } from '../src/protocol.ts';
import { type Access, type Right, rights, scopes, scopesFor } from '../src/rights.ts';

interface Operation {
  readonly summary: string;
  readonly 'x-access'?: readonly Access[];
}

/** `openApi`: what the hub answers at /openapi.json. */
export function rolesPage(openApi: { readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>> }) {
  const routes = Object.entries(openApi.paths)
    .flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        name: `${method.toUpperCase()} ${path.replace('/api/federation', '')}`,
        access: operation['x-access'] ?? ['anyone' as const],
        summary: operation.summary,
      })),
    )
    .filter(({ name }) => !name.startsWith('HEAD '))
    .sort((a, b) => (pathOf(a.name) < pathOf(b.name) ? -1 : pathOf(a.name) > pathOf(b.name) ? 1 : 0));
  const packets = Object.entries(clientPackets).map(([name, { who }]) => ({ name, access: [who] as const }));
  return `# Who may do what

<!-- Made by \`npm run docs\` from the code. Do not edit: change the code and run it again. -->

A node has a role: \`observer\`, \`member\` or \`admin\`, each with all that the one before it may. An operator token has
scopes; any of them lets its bearer read, and \`admin\` stands for all. To make a node an administrator, and to decide on
a node that is one (its role, removal, ban, block or key), takes the right \`admin\`, whatever the row says. Who is banned or blocked may nothing. A test walks
every row below against a running hub.

| right | node role | token scope | what it is for |
| --- | --- | --- | --- |
${scopes.map((right) => `| \`${right}\` | ${rights[right].role} | ${scopesOf(right)} | ${rights[right].means} |`).join('\n')}

"itself" is the node that the path names, whatever its role. "worker" is a node that may \`act\`.

## HTTP, under /api/federation

| route | asks for | anyone | observer | member | admin | token with | what it does |
| --- | --- | --- | --- | --- | --- | --- | --- |
${routes.map(({ name, access, summary }) => `| \`${name}\` | ${access.join(' or ')} | ${marks(access)} | ${tokens(access)} | ${summary} |`).join('\n')}

## Packets

| packet | asks for | anyone | observer | member | admin |
| --- | --- | --- | --- | --- | --- |
${packets.map(({ name, access }) => `| \`${name}\` | ${access.join(' or ')} | ${marks(access)} |`).join('\n')}
`;
}

/** `yes`, `no`, or `itself`, for anyone, observers, members and admins. */
function marks(access: readonly Access[]): string {
  const [asked, alternative] = access;
  if (asked === 'anyone') return 'yes | yes | yes | yes';
  const ranks = ['observer', 'member', 'admin'] as const;
  const cells = ranks.map((_role, rank) => {
    if (asked === 'node') return 'yes';
    if (asked === 'itself' || asked === undefined) return 'itself';
    const enough = rank >= ranks.indexOf(rights[asked === 'worker' ? 'act' : asked].role);
    return enough ? 'yes' : (alternative ?? 'no');
  });
  return ['no', ...cells].join(' | ');
}

function tokens([asked]: readonly Access[]): string {
  if (asked === 'anyone') return 'any';
  const nodesOnly = asked === 'node' || asked === 'itself' || asked === 'worker' || asked === undefined;
  return nodesOnly ? 'none' : scopesOf(asked);
}

function scopesOf(right: Right): string {
  const given = scopesFor(right);
  return given.length === scopes.length ? 'any' : given.map((scope) => `\`${scope}\``).join(', ');
}

function pathOf(name: string): string {
  return name.slice(name.indexOf(' ') + 1);
}
