/** The replicas that `infra/compose.yaml` starts have in common what replicas must. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';

interface Service {
  readonly build?: object;
  readonly environment: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
}

const text = readFileSync(path.resolve(import.meta.dirname, '../../infra/compose.yaml'), 'utf8');
const compose = parse(text, { merge: true }) as { services: Record<string, Service>; volumes: object };
const replicas = Object.values(compose.services).filter(({ build }) => build);

it('they have one master key, which compose asks for and its head says how to make', () => {
  expect(replicas.length).toBeGreaterThan(1);
  for (const { environment } of replicas)
    expect(environment.FEDERATION_VAULT_KEY).toMatch(/^\$\{FEDERATION_VAULT_KEY:\?/);
  expect(text).toMatch(/^#.*FEDERATION_VAULT_KEY=%s.*openssl rand -hex 32/m);
});

it('they have one place of files, which outlives them', () => {
  for (const { volumes } of replicas) expect(volumes).toEqual(['files:/data/files']);
  expect(compose.volumes).toHaveProperty('files');
});
