/**
 * What one replica does for all, by lease: ends the secrets of removed nodes, destroys keys that belong to no version, and wraps all
 * keys anew when the master key changes. Each of it may be cut short at any point, and is gone on with by whoever has the lease then.
 */
import { secret, secretStream } from '../../commands/secret.ts';
import { askRotation, endRotation, vault, vaultStream } from '../../commands/vault.ts';
import { isRefusal } from '../../errors.ts';
import { decode } from '../../events/decode.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import { asVaultKey, type VaultKeyRecord } from '../../keyring/vault-keys.ts';
import type { Lease } from '../../lease.ts';
import type { Standing } from '../service.ts';
import type { MasterKey } from './master-key.ts';
import { KeyStuck, type Masters } from './masters.ts';
import { isLeft, type Secrets } from './secrets.ts';
import { caughtUp } from './standing.ts';

const lookEveryMs = 30_000;
const sweepEveryMs = 10 * 60_000;
const pageKeys = 100;
const pageEvents = 50;
/**
 * A key of which the log knows nothing is kept for so long: it may be of a version that is being written, or of a log that is newer
 * than the one that was restored.
 */
const unknownMs = 30 * 24 * 3_600_000;

export class Duties {
  readonly #hub: Hub;
  readonly #masters: Masters;
  readonly #secrets: Secrets;
  readonly #standing: Standing;
  readonly #lease: Lease;
  readonly #stops: Cancel[];
  #running: Promise<void> | undefined;
  #again = false;
  #closed = false;
  #sweptAt = Number.NEGATIVE_INFINITY;

  constructor(hub: Hub, masters: Masters, secrets: Secrets, standing: Standing) {
    this.#hub = hub;
    this.#masters = masters;
    this.#secrets = secrets;
    this.#standing = standing;
    this.#lease = hub.leases.acquire('secrets-vault');
    this.#stops = [
      this.#lease.onChange(() => this.look()),
      hub.live.nodes.onChange((_nodeId, row) => {
        if (!row) this.look();
      }),
      hub.kernel.every(lookEveryMs, () => this.look()),
    ];
    this.look();
  }

  /** Looks for something to do; once more, when it is doing it already. */
  look(): void {
    this.#again = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const stop of this.#stops) stop();
    await this.#running;
    await this.#lease.release();
  }

  get #mayWork(): boolean {
    return !this.#closed && this.#lease.held();
  }

  async #run(): Promise<void> {
    while (this.#again && this.#mayWork) {
      this.#again = false;
      let lacking: string | undefined;
      for (const duty of [() => this.#bury(), () => this.#rotate(), () => this.#sweep()]) {
        try {
          if (this.#mayWork) await duty();
        } catch (error) {
          this.#hub.kernel.log.warn({ err: error }, 'a duty of the vault was not done; it is tried again');
          lacking = 'a duty of the vault is not done, and tried again: the log of the hub says why';
        }
      }
      this.#standing.degraded(lacking);
    }
    if (!this.#lease.held()) this.#standing.degraded(undefined); // another replica tells of it
  }

  async #bury(): Promise<void> {
    await caughtUp(this.#hub);
    for (const row of [...this.#hub.live.secrets.values()]) {
      if (isLeft(this.#hub, row) && this.#mayWork) await this.#secrets.bury(row);
    }
  }

  /** Keys of versions that are over, or never came to be: a crash came between the two, or before the key was destroyed. */
  async #sweep(): Promise<void> {
    const { kernel, keyring } = this.#hub;
    if (kernel.monotonicMs() - this.#sweptAt < sweepEveryMs) return;
    this.#sweptAt = kernel.monotonicMs();
    for await (const page of this.#pages()) {
      await caughtUp(this.#hub);
      const over: string[] = [];
      for (const record of page) if (await this.#isOver(record)) over.push(record.id);
      if (over.length > 0) await keyring.vaultKeys.destroy(over);
    }
  }

  /** The view is asked first; what it does not know, the stream decides. */
  async #isOver({ id, secret_id, created_at }: VaultKeyRecord): Promise<boolean> {
    const { live, log, kernel } = this.#hub;
    if (live.secrets.get(secret_id)?.versions.some(({ key_id }) => key_id === id)) return false;
    let state = secret.initial;
    let known = false;
    for (let from = 0; ; from += pageEvents) {
      const page = await log.readStream(secretStream(secret_id), from, pageEvents);
      for (const event of page.map(decode)) {
        known ||= event.type === 'secret.stored' && event.data.key_id === id;
        state = secret.evolve(state, event);
      }
      if (page.length < pageEvents) break;
    }
    if (!known) return Date.parse(created_at) < kernel.now() - unknownMs;
    return !state.there || !state.versions.some(({ keyId }) => keyId === id);
  }

  async #rotate(): Promise<void> {
    const { executor } = this.#hub;
    await this.#wishOfEnvironment();
    const { rotating } = await executor.state(vaultStream, vault);
    if (rotating) await this.#turnTo(rotating);
    else await this.#letGo();
  }

  /** Another key in the environment than the one in use is a wish to rotate, unless it was rotated away from before. */
  async #wishOfEnvironment(): Promise<void> {
    if (this.#masters.source.kind !== 'environment') return;
    const { executor, kernel } = this.#hub;
    const from = await this.#masters.inUse();
    const { id: to } = this.#masters.keys.current;
    if (from === to) return;
    const { retired } = await executor.state(vaultStream, vault);
    if (retired.includes(to)) {
      kernel.log.warn(
        { inUse: from, given: to },
        'FEDERATION_VAULT_KEY was rotated away from before: give the newer key',
      );
      return;
    }
    await executor.execute(vaultStream, vault, askRotation, { from, to }, { actor: 'hub' });
  }

  async #turnTo({ from, to }: { readonly from: string; readonly to: string | undefined }): Promise<void> {
    const { executor, kernel } = this.#hub;
    const masters = this.#masters;
    await masters.reload();
    if ((await masters.inUse()) === from && !(await masters.use(from, await this.#next(from, to)))) return this.look();
    const inUse = await masters.inUse();
    const { current, other } = masters.keys;
    const master = [current, other].find((key) => key?.id === inUse);
    if (!master) throw new Error(`this replica does not have the master key ${inUse}, which is in use`);
    const stuck = await this.#wrapAnew(inUse, master);
    if (!this.#mayWork) return;
    const counts = await this.#hub.keyring.vaultKeys.masters();
    const left = counts.reduce((sum, { master_id, keys }) => sum + (master_id === inUse ? 0 : keys), 0);
    if (left > stuck) return this.look();
    if (left > 0) return; // the status names them, and the old key stays: they are tried again at the next look
    await this.#letGo();
    const ended = { from, to: inUse, keys: (counts[0]?.keys ?? 1) - 1 }; // the first record is of no secret
    const done = await executor.execute(vaultStream, vault, endRotation, ended, { actor: 'hub' });
    if (!isRefusal(done)) kernel.log.info(ended, 'all keys of the vault are wrapped with another master key');
  }

  /** Wraps what another master key wrapped; one that does not unwrap holds up none of the others. Answers how many did not. */
  async #wrapAnew(inUse: string, master: MasterKey): Promise<number> {
    let stuck = 0;
    for await (const page of this.#pages(inUse)) {
      for (const record of page) {
        if (!this.#mayWork) return stuck;
        await this.#masters.rewrap(record, master).catch((error: unknown) => {
          if (!(error instanceof KeyStuck)) throw error;
          stuck++;
        });
      }
    }
    if (stuck > 0) this.#hub.kernel.log.warn({ stuck }, 'keys of the vault do not unwrap: the status names them');
    return stuck;
  }

  /** The key to turn to. A file gets it now, once what is left in it of an earlier rotation is gone. */
  async #next(from: string, to: string | undefined): Promise<MasterKey> {
    const masters = this.#masters;
    const { source } = masters;
    if (source.kind === 'file' && masters.keys.current.id === from) {
      await this.#letGo();
      masters.changed(await source.addNext(from));
    }
    const { current, other } = masters.keys;
    const next = [current, source.kind === 'file' ? undefined : other].find(
      (key) => key && key.id !== from && (to === undefined || key.id === to),
    );
    if (!next) throw new Error(`this replica does not have the master key ${to ?? ''} to which the vault is to turn`);
    return next;
  }

  /** The key of before goes when nothing is wrapped with it. */
  async #letGo(): Promise<void> {
    const { source, keys } = this.#masters;
    if (source.kind !== 'file' || !keys.other) return;
    const counts = await this.#hub.keyring.vaultKeys.masters();
    if (counts.some(({ master_id }) => master_id !== keys.current.id)) return;
    this.#masters.changed(await source.dropOther(keys.current.id));
  }

  async *#pages(notWith?: string): AsyncGenerator<VaultKeyRecord[]> {
    for (let after = ''; this.#mayWork; ) {
      const found = await this.#hub.keyring.vaultKeys.page(after, pageKeys, notWith);
      const page = found.map((one) => asVaultKey(one)!); // a store gives no holes
      if (page.length > 0) yield page;
      if (page.length < pageKeys) return;
      after = page.at(-1)!.id; // it is full
    }
  }
}
