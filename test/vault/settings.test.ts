/** The settings of the master key: refused without being repeated, and never shown. */
import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { ConfigError, describeConfig, readConfig } from '../../src/config.ts';

const made = randomBytes(32).toString('hex');

it('settings that are no keys are refused without being repeated, and good ones are shown as set', () => {
  for (const bad of ['quotable', 'quotable'.repeat(8), `${'A'.repeat(42)}`]) {
    const error = tried(() => readConfig({ FEDERATION_VAULT_KEY: bad }));
    expect(error).toBeInstanceOf(ConfigError);
    expect(String(error)).not.toContain(bad);
  }
  expect(tried(() => readConfig({ FEDERATION_VAULT_KEY_PREVIOUS: made }))).toBeInstanceOf(ConfigError);
  expect(JSON.stringify(describeConfig({ FEDERATION_VAULT_KEY: made }))).not.toContain(made);
  expect(
    describeConfig({ FEDERATION_VAULT_KEY: made }).find(({ name }) => name === 'FEDERATION_VAULT_KEY')?.value,
  ).toBe('(set)');
});

function tried(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    return error;
  }
}
