/** What is done with secrets: stored, read, shared, destroyed. Nothing that is thrown or refused here quotes a value. */

import type { About, Executed } from '../../commands/execute.ts';
import {
  destroyVersion,
  remove,
  type SecretAccess,
  type Stored,
  secret,
  secretStream,
  secretUseStream,
  setAccess,
  store,
  unknownSecret,
} from '../../commands/secret.ts';
import { actorOf, type Identity } from '../../doors.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import { decode } from '../../events/decode.ts';
import { ofOperators } from '../../events/secret.ts';
import type { Hub } from '../../hub.ts';
import type { SecretRow } from '../../projections/secrets.ts';
import { may } from '../../rights.ts';
import { keyBytes, openValue, type SecretValue, sealValue } from './envelope.ts';
import { KeyStuck, type Masters } from './masters.ts';
import { allThere, meant, type Standing, since, standingOf, whoAsks } from './standing.ts';

/** Secrets of one node, of the operators together, and of all. Replicas that count at the same moment may pass it by a few. */
const most = { node: 256, operators: 4_096, all: 50_000 };
/** How often a version is sealed anew because another took its number. */
const attempts = 5;
const nonceBytes = 12;

/** A secret as someone sees it. */
export interface SeenSecret {
  readonly row: SecretRow;
  readonly standing: Standing;
  /** Without those who have lost their names. */
  readonly access: SecretAccess;
}

export interface ReadSecret {
  readonly secretId: string;
  readonly version: number;
  readonly value: SecretValue;
  /** Of its use in the log. */
  readonly position: number;
}

export interface StoredVersion {
  readonly secret_id: string;
  readonly version: number;
  readonly created: boolean;
}

export class Secrets {
  readonly #hub: Hub;
  readonly #masters: Masters;

  constructor(hub: Hub, masters: Masters) {
    this.#hub = hub;
    this.#masters = masters;
  }

  /** What this replica has read of the log. */
  get position(): number {
    return this.#hub.live.secrets.position;
  }

  /** Those that an identity may know of, in order of id. Throws a `Fault`. */
  async list(by: Identity): Promise<readonly SeenSecret[] | Refusal> {
    const identity = await whoAsks(this.#hub, by)();
    if (isRefusal(identity)) return identity;
    const seen = [...this.#hub.live.secrets.values()].flatMap((row) => this.#seen(row, identity) ?? []);
    return seen.sort((one, other) => (one.row.secret_id < other.row.secret_id ? -1 : 1));
  }

  /** Refuses `not_found`, also to those who may not know of it, and what the doors refuse. Throws a `Fault`. */
  async see(secretId: string, by: Identity): Promise<SeenSecret | Refusal> {
    const identity = await whoAsks(this.#hub, by)();
    if (isRefusal(identity)) return identity;
    const row = this.#hub.live.secrets.get(secretId);
    return (row && this.#seen(row, identity)) ?? unknownSecret(secretId);
  }

  /**
   * The value; its use is in the log on return. Refuses `not_found` (alike whether there is no such secret or the value is not for
   * them), and `secret_lost` for a version whose key is destroyed or damaged. Throws a `Fault`.
   */
  async read(secretId: string, version: number | undefined, by: Identity, about: About): Promise<ReadSecret | Refusal> {
    const seen = await this.see(secretId, by);
    if (isRefusal(seen)) return seen;
    const { row, standing } = seen;
    if (standing.reads === undefined) return mayNot(seen, 'read');
    const wanted = version ?? row.newest;
    if (wanted > row.newest) return refuse('not_found', `there is no version ${wanted} of ${secretId} yet`);
    const found = row.versions.find((one) => one.version === wanted);
    const key = found && (await this.#keyOf(found.key_id));
    if (!found || !key) return refuse('secret_lost', `the key of version ${wanted} of ${secretId} is destroyed`);
    if (key === 'damaged') return refuse('secret_lost', `the key of version ${wanted} of ${secretId} is damaged`);
    const about_ = { federationId: this.#hub.federationId, secretId, version: wanted, keyId: found.key_id };
    const value = openValue(key, await this.#sealedAt(secretId, found.revision), about_);
    key.fill(0);
    const used = { secret_id: secretId, secret_version: wanted, by: actorOf(by), through: standing.reads };
    const position = await this.#hub.executor.note(
      secretUseStream(secretId),
      [{ type: 'secret.used', data: used }],
      about,
    );
    return { secretId, version: wanted, value, position };
  }

  /**
   * Adds a version, or makes the secret where the name is the writer's own; `fresh`: it must not be there. `access` counts where it is
   * made. Refuses `not_found` (also for parties that are not there), `forbidden`, `secret_id_taken`, `limit_reached`, `conflict`. Throws a `Fault`.
   */
  async put(
    { secretId, value, access, fresh }: { secretId: string; value: SecretValue; access: SecretAccess; fresh: boolean },
    by: Identity,
    about: About,
  ): Promise<Executed<StoredVersion> | Refusal> {
    const asks = whoAsks(this.#hub, by);
    for (let attempt = 0; ; attempt++) {
      const identity = await asks();
      if (isRefusal(identity)) return identity;
      const row = this.#hub.live.secrets.get(secretId);
      if (row && isLeft(this.#hub, row) && attempt < attempts) {
        await this.bury(row);
        continue;
      }
      const refused = row ? this.#mayAdd(row, identity) : this.#mayMake(secretId, access, identity);
      if (refused) return shownStored(await this.#orDone<Stored>(refused, secretId, about));
      const done = await this.#add(secretId, row, value, { access, fresh }, about);
      if (isRefusal(done) && done.refused === 'conflict' && attempt < attempts) continue;
      return done;
    }
  }

  /** Refuses `not_found`, also for parties that are not there, and `forbidden`. Throws a `Fault`. */
  async setAccess(
    secretId: string,
    access: SecretAccess,
    by: Identity,
    about: About,
  ): Promise<Executed<{ secret_id: string }> | Refusal> {
    const seen = await this.#managed(secretId, by);
    const refused = isRefusal(seen) ? seen : allThere(this.#hub, access);
    if (refused) return this.#orDone(refused, secretId, about);
    return this.#hub.executor.execute(secretStream(secretId), secret, setAccess, { secretId, access }, about);
  }

  /** Destroys the keys of all versions: they are gone on return. Refuses `not_found`, `forbidden`. Throws a `Fault`. */
  async remove(secretId: string, by: Identity, about: About): Promise<Executed<{ secret_id: string }> | Refusal> {
    const seen = await this.#managed(secretId, by);
    if (isRefusal(seen)) return this.#destroyed(await this.#orDone(seen, secretId, about));
    const command = { secretId, born: seen.row.created_revision, cause: 'asked' as const };
    return this.#destroyed(await this.#hub.executor.execute(secretStream(secretId), secret, remove, command, about));
  }

  /** Destroys the key of one version. Refuses `not_found`, `forbidden`. Throws a `Fault`. */
  async destroy(
    secretId: string,
    version: number,
    by: Identity,
    about: About,
  ): Promise<Executed<{ secret_id: string }> | Refusal> {
    const seen = await this.#managed(secretId, by);
    if (isRefusal(seen)) return this.#destroyed(await this.#orDone(seen, secretId, about));
    const { executor } = this.#hub;
    const command = { secretId, version };
    return this.#destroyed(await executor.execute(secretStream(secretId), secret, destroyVersion, command, about));
  }

  /** Ends a secret whose node is a member no more. Doing it twice is harmless. Throws a `Fault`. */
  async bury({ secret_id: secretId, created_revision: born }: SecretRow): Promise<void> {
    const command = { secretId, born, cause: 'node_removed' as const };
    const about = { actor: 'hub' };
    const done = await this.#hub.executor.execute(secretStream(secretId), secret, remove, command, about);
    await this.#destroyed(done);
  }

  async #add(
    secretId: string,
    row: SecretRow | undefined,
    value: SecretValue,
    { access, fresh }: { access: SecretAccess; fresh: boolean },
    about: About,
  ): Promise<Executed<StoredVersion> | Refusal> {
    const { kernel, executor, federationId } = this.#hub;
    const keyId = kernel.uuid();
    const key = kernel.secretBytes(keyBytes);
    const version = (row?.newest ?? 0) + 1;
    await this.#masters.keep(keyId, secretId, key); // first: a version without its key would be lost
    const sealed = sealValue(key, kernel.secretBytes(nonceBytes), { federationId, secretId, version, keyId }, value);
    key.fill(0);
    const owner = ownerOf(secretId);
    const command = { secretId, owner, version, keyId, sealed, access, fresh };
    const done = await executor.execute(secretStream(secretId), secret, store, command, about);
    if (isRefusal(done) || done.reply.key_id !== keyId) await this.#destroyKeys([keyId]); // it was not stored
    if (!isRefusal(done)) await this.#destroyKeys(done.reply.destroyed);
    return shownStored(done);
  }

  async #keyOf(keyId: string): Promise<Uint8Array | 'damaged' | undefined> {
    return this.#masters.find(keyId).catch((error: unknown) => {
      if (error instanceof KeyStuck) return 'damaged';
      throw error;
    });
  }

  async #sealedAt(secretId: string, revision: number): Promise<string> {
    const [recorded] = await this.#hub.log.readStream(secretStream(secretId), revision, 1);
    const event = recorded && decode(recorded);
    if (event?.type !== 'secret.stored') throw new Error(`the log holds no version of a secret where one was written`);
    return event.data.sealed;
  }

  async #managed(secretId: string, by: Identity): Promise<SeenSecret | Refusal> {
    const seen = await this.see(secretId, by);
    return isRefusal(seen) || seen.standing.manages ? seen : mayNot(seen, 'manage');
  }

  /** Keys go after what ends them is written; those that a crash leaves, the sweep finds. */
  async #destroyed(
    done: Executed<{ secret_id: string; destroyed: readonly string[] }> | Refusal,
  ): Promise<Executed<{ secret_id: string }> | Refusal> {
    if (isRefusal(done)) return done;
    await this.#destroyKeys(done.reply.destroyed);
    return { position: done.position, reply: { secret_id: done.reply.secret_id } };
  }

  async #destroyKeys(ids: readonly string[]): Promise<void> {
    if (ids.length > 0) await this.#hub.keyring.vaultKeys.destroy(ids);
  }

  /** A command that was done before has its answer, though what it was about may be gone by now. */
  async #orDone<Reply>(refused: Refusal, secretId: string, about: About): Promise<Executed<Reply> | Refusal> {
    const known = about.command && (await this.#hub.log.findCommand(about.command.id));
    if (!known) return refused;
    return this.#hub.executor.execute(secretStream(secretId), secret, () => refused, undefined, about);
  }

  /** What a node left is over for everyone, also before its end is written. */
  #seen(row: SecretRow, identity: Identity): SeenSecret | undefined {
    if (isLeft(this.#hub, row)) return undefined;
    const standing = standingOf(this.#hub, identity, row);
    const { manages, reads, writes } = standing;
    if (!manages && reads === undefined && writes === undefined) return undefined;
    const access = {
      readers: meant(this.#hub, row.readers, row.granted_position),
      writers: meant(this.#hub, row.writers, row.granted_position),
    };
    return { row, standing, access };
  }

  #mayAdd(row: SecretRow, identity: Identity): Refusal | undefined {
    const seen = this.#seen(row, identity);
    if (!seen) return unknownSecret(row.secret_id);
    return seen.standing.writes !== undefined && may(identity, 'act') ? undefined : mayNot(seen, 'write');
  }

  /** A secret is made under a name of one's own. */
  #mayMake(secretId: string, access: SecretAccess, identity: Identity): Refusal | undefined {
    const owner = ownerOf(secretId);
    const isOwn = owner === null ? may(identity, 'govern') : identity.kind === 'node' && identity.nodeId === owner;
    if (!isOwn || !may(identity, 'act')) return unknownSecret(secretId);
    const { secrets } = this.#hub.live;
    const own = [...secrets.values()].filter(({ node_id }) => node_id === owner).length;
    const room = owner === null ? most.operators : most.node;
    if (own < room && secrets.size < most.all) return allThere(this.#hub, access);
    return refuse(
      'limit_reached',
      own < room ? `the vault holds ${most.all} secrets` : `${room} secrets are there already`,
    );
  }
}

/** Without what only the vault needs to know. */
function shownStored(done: Executed<Stored> | Refusal): Executed<StoredVersion> | Refusal {
  if (isRefusal(done)) return done;
  const { secret_id, version, created } = done.reply;
  return { position: done.position, reply: { secret_id, version, created } };
}

/** Whose a secret of this name is: the node, or null for the operators. */
function ownerOf(secretId: string): string | null {
  const owner = secretId.slice(0, secretId.indexOf(':'));
  return owner === ofOperators ? null : owner;
}

/** Whether a node left it that is a member no more: another may have its name by now. */
export function isLeft(hub: Pick<Hub, 'live'>, row: SecretRow): boolean {
  return row.node_id !== null && since(hub, row.node_id) > row.created_position;
}

/** They know that it is there, but may not do this. */
function mayNot({ row }: SeenSecret, what: 'read' | 'write' | 'manage'): Refusal {
  return refuse('forbidden', `this identity may not ${what} ${row.secret_id}`);
}
