/** Secrets of a node, and those that others let it have: over HTTP, and kept nowhere here. */
import { randomUUID } from 'node:crypto';
import type { HubRefusal } from './connection.ts';
import { callHub } from './http.ts';
import type { Line } from './sender.ts';

/** Who besides the owner. */
export interface SecretParties {
  readonly nodes?: readonly string[];
  /** Through the node that they belong to. */
  readonly entities?: readonly string[];
  /** Nodes of these roles, those that come later included. */
  readonly roles?: readonly ('admin' | 'member' | 'observer')[];
  /** Operators that govern. */
  readonly operators?: true;
}

export interface SecretAccess {
  readonly readers?: SecretParties;
  readonly writers?: SecretParties;
}

export interface StoredSecret {
  readonly secretId: string;
  readonly version: number;
  /** It was not there before. */
  readonly created: boolean;
}

export interface GivenSecret {
  readonly secretId: string;
  readonly version: number;
  /** As it was stored: text, or bytes. */
  readonly value: string | Uint8Array;
}

/** A secret without its value. */
export interface KnownSecret {
  readonly secretId: string;
  readonly newest: number;
  readonly versions: readonly { readonly version: number; readonly storedAt: string; readonly storedBy: string }[];
  /** What this node may do with it. */
  readonly may: readonly ('manage' | 'write' | 'read')[];
  /** Told to those who may change it. */
  readonly readers?: SecretParties;
  readonly writers?: SecretParties;
}

const names = /^(?:(?:@federation|[A-Za-z0-9][A-Za-z0-9._-]{0,63}):)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** A name without an owner is one of this node: `openai` is `<node>:openai`. Each call throws `HubRefusal`, `HubUnreachable`, and `TypeError` for what is no name. */
export class Secrets {
  readonly #line: Pick<Line, 'nodeId' | 'url' | 'clock' | 'token'>;

  constructor(line: Pick<Line, 'nodeId' | 'url' | 'clock' | 'token'>) {
    this.#line = line;
  }

  /** Stores a value as the newest version; at most 64 KiB. `access` counts where the secret is made; `grant` changes it later. */
  async put(name: string, value: string | Uint8Array, access: SecretAccess = {}): Promise<StoredSecret> {
    const given =
      typeof value === 'string'
        ? { value, encoding: 'text' }
        : { value: Buffer.from(value).toString('base64'), encoding: 'base64' };
    const answer = await this.#call('PUT', `/secrets/${this.#path(name)}`, { ...given, ...access });
    const { secret_id, version, created } = answer as { secret_id: string; version: number; created: boolean };
    return { secretId: secret_id, version, created };
  }

  /** The newest version, or the one that is named. The hub writes down that it was read. */
  async get(name: string, { version }: { version?: number } = {}): Promise<GivenSecret> {
    const query = version === undefined ? '' : `?version=${version}`;
    const answer = await this.#call('GET', `/secrets/${this.#path(name)}${query}`);
    const given = answer as { secret_id: string; version: number; value: string; encoding: 'text' | 'base64' };
    const value = given.encoding === 'text' ? given.value : new Uint8Array(Buffer.from(given.value, 'base64'));
    return { secretId: given.secret_id, version: given.version, value };
  }

  /** All that this node may read, write or manage. */
  async list(): Promise<KnownSecret[]> {
    const all: KnownSecret[] = [];
    let cursor: string | null = null;
    do {
      const page = (await this.#call('GET', `/secrets?limit=500${cursor === null ? '' : `&cursor=${cursor}`}`)) as Page;
      all.push(...page.secrets.map(known));
      cursor = page.next_cursor;
    } while (cursor !== null);
    return all;
  }

  /** Says anew who may read it, and who may add versions, besides the owner: both are named, `{}` is nobody. */
  async grant(name: string, { readers, writers }: Required<SecretAccess>): Promise<void> {
    await this.#call('PUT', `/secrets/${this.#path(name)}/access`, { readers, writers });
  }

  /** Destroys all versions, or the one that is named: nobody can read them again. */
  async remove(name: string, { version }: { version?: number } = {}): Promise<void> {
    await this.#call('DELETE', `/secrets/${this.#path(name)}${version === undefined ? '' : `/versions/${version}`}`);
  }

  /** What is no name goes nowhere, and is not repeated: it may be a value in the wrong place. */
  #path(name: string): string {
    if (!names.test(name)) throw new TypeError('this is no name of a secret: <name>, or <owner>:<name>');
    return encodeURIComponent(name.includes(':') ? name : `${this.#line.nodeId}:${name}`);
  }

  /** The same key again for each try, so that a change is made once. What the hub says of a shut vault is not tried for long. */
  #call(method: 'GET' | 'PUT' | 'DELETE', path: string, body?: object): Promise<unknown> {
    const headers = method === 'GET' ? {} : { 'idempotency-key': randomUUID() };
    const isShut = (refusal: HubRefusal) => refusal.code === 'vault_shut';
    return callHub(this.#line, method, path, body, { headers, isFinal: isShut });
  }
}

interface Page {
  readonly secrets: readonly Listed[];
  readonly next_cursor: string | null;
}

interface Listed extends Pick<KnownSecret, 'newest' | 'may' | 'readers' | 'writers'> {
  readonly secret_id: string;
  readonly versions: readonly { readonly version: number; readonly stored_at: string; readonly stored_by: string }[];
}

function known({ secret_id, newest, versions, may, readers, writers }: Listed): KnownSecret {
  return {
    secretId: secret_id,
    newest,
    versions: versions.map(({ version, stored_at, stored_by }) => ({
      version,
      storedAt: stored_at,
      storedBy: stored_by,
    })),
    may,
    ...(readers && { readers }),
    ...(writers && { writers }),
  };
}
