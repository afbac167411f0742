/** Secrets of nodes and operators: sealed, versioned, shared by name, entity or role, each use written down. Shut without the right master key. */
import { createHmac } from 'node:crypto';
import type { About, Executed } from '../commands/execute.ts';
import { askRotation, vault, vaultStream } from '../commands/vault.ts';
import { isRefusal, type Refusal, refuse } from '../errors.ts';
import type { Hub } from '../hub.ts';
import type { VaultKeyRecord } from '../keyring/vault-keys.ts';
import { Duties } from './secrets-vault/duties.ts';
import { VaultShut } from './secrets-vault/key-source.ts';
import { Masters } from './secrets-vault/masters.ts';
import { tellChanges } from './secrets-vault/notices.ts';
import { Secrets } from './secrets-vault/secrets.ts';
import { type Standing, service } from './service.ts';
import { websocketPool } from './websocket-pool.ts';

export type { SecretValue } from './secrets-vault/envelope.ts';
export type { SeenSecret } from './secrets-vault/secrets.ts';

export interface VaultStatus {
  /** Where the master key comes from. */
  readonly source: 'environment' | 'file';
  /** Id of the master key in use. */
  readonly master: string;
  readonly rotating: boolean;
  /** Data keys, and those of them that the master key in use does not wrap yet. */
  readonly keys: number;
  readonly remaining: number;
  /** Of those that remain, which this replica cannot unwrap; a hundred at most. */
  readonly stuck: readonly StuckKey[];
}

export interface StuckKey {
  readonly key_id: string;
  readonly secret_id: string;
  /** Null where no version has this key. */
  readonly version: number | null;
}

export interface Vault {
  readonly secrets: Secrets;
  /** MAC of what was asked, base64url: a plain hash of a request with a short value in it could be guessed from. */
  fingerprint(asked: unknown): string;
  status(): Promise<VaultStatus>;
  /** Has all keys wrapped anew, in the background. Refuses `master_key_external`, where the environment gives the key. */
  rotateMaster(about: About): Promise<Executed<{ from: string }> | Refusal>;
}

export const secretsVault = service({
  name: 'secrets-vault',
  purpose: 'Encrypted storage of secrets with versions, access control and a trace of each use',
  needs: { sockets: websocketPool },
  async start(hub, { sockets }, standing) {
    const head = await hub.log.head();
    const masters = await Masters.open(hub); // last of what may fail: what comes now is stopped with the service
    const secrets = new Secrets(hub, masters);
    const duties = new Duties(hub, masters, secrets, standing);
    const stopCounting = countStuck(hub, masters);
    const stopTelling = tellChanges(hub, sockets);
    const stopFollowing = followMaster(hub, head, masters, duties, standing);
    return {
      api: createVault(hub, masters, secrets, duties),
      async stop() {
        stopCounting();
        stopTelling();
        await stopFollowing();
        await duties.close();
      },
    };
  },
});

/** Hears at every replica, from a position on, that the master key is to change, or has. What is returned stops it. */
function followMaster(
  { log, kernel }: Hub,
  from: number,
  masters: Masters,
  duties: Duties,
  standing: Standing,
): () => Promise<void> {
  const renew = () =>
    masters.renew().catch((error: unknown) => {
      if (error instanceof VaultShut) standing.failed(error);
      else kernel.log.warn({ err: error }, 'the master key was not read again');
    });
  const subscription = log.subscribe(
    from,
    ({ events }) => {
      for (const { type } of events) {
        if (type === 'vault.rotation-asked') duties.look();
        else void renew(); // the key of before is gone
      }
    },
    { types: ['vault.rotation-asked', 'vault.master-rotated'] },
  );
  return () => subscription.close();
}

/** For the metrics. The store is asked while a rotation is not over: nothing can be left over else. */
function countStuck({ executor, metrics }: Hub, masters: Masters): () => void {
  return metrics.onScrape({
    name: 'vault',
    gauges: ['vaultStuck'],
    async read() {
      const { rotating } = await executor.state(vaultStream, vault);
      metrics.set('vaultStuck', {}, rotating ? (await masters.stuck()).length : 0);
    },
  });
}

function createVault(hub: Hub, masters: Masters, secrets: Secrets, duties: Duties): Vault {
  const { executor, keyring, live } = hub;
  const named = ({ id, secret_id }: VaultKeyRecord): StuckKey => {
    const found = live.secrets.get(secret_id)?.versions.find(({ key_id }) => key_id === id);
    return { key_id: id, secret_id, version: found?.version ?? null };
  };
  return {
    secrets,
    fingerprint: (asked) => createHmac('sha256', masters.hashKey).update(JSON.stringify(asked)).digest('base64url'),
    async status() {
      const [master, counts, { rotating }, stuck] = await Promise.all([
        masters.inUse(),
        keyring.vaultKeys.masters(),
        executor.state(vaultStream, vault),
        masters.stuck(),
      ]);
      const all = counts.reduce((sum, { keys }) => sum + keys, 0);
      const done = counts.find(({ master_id }) => master_id === master)?.keys ?? 0;
      // The first record is of no secret.
      return {
        source: masters.source.kind,
        master,
        rotating: rotating !== undefined,
        keys: all - 1,
        remaining: all - done,
        stuck: stuck.map(named),
      };
    },
    async rotateMaster(about) {
      if (masters.source.kind === 'environment')
        return refuse(
          'master_key_external',
          'change FEDERATION_VAULT_KEY, and give the old one as FEDERATION_VAULT_KEY_PREVIOUS',
        );
      const done = await executor.execute(vaultStream, vault, askRotation, { from: await masters.inUse() }, about);
      if (!isRefusal(done)) duties.look();
      return done;
    },
  };
}
