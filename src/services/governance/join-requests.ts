/** Requests to join: who waits, and what happens when an administrator decides. */
import { appointIfUsable, shutOut } from '../../admins.ts';
import { wasDone } from '../../commands/command-id.ts';
import type { About, Executed } from '../../commands/execute.ts';
import {
  type Approved,
  approve,
  expire,
  isSpent,
  join,
  joinStream,
  reject,
  request,
  settle,
  takeBack,
} from '../../commands/join.ts';
import { node, nodeIdTaken, nodeStream } from '../../commands/node.ts';
import type { Candidate } from '../../doors.ts';
import { keyThumbprint } from '../../ed25519.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { NodeRole } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { JoinRow } from '../../projections/joins.ts';
import type { NodeRegistry } from '../node-registry.ts';

/** Requests that may wait at once; beyond, strangers are asked to come back. Held by each replica as it reads the log. */
const mostPending = 1_000;
/** Of these, from one address. */
const mostFromOne = 20;

export class JoinRequests {
  readonly #hub: Hub;
  readonly #registry: Pick<NodeRegistry, 'register'>;
  /** Node ids whose requests wait, with the address that each asked from last. */
  readonly #pending = new Map<string, string>();
  /** How many wait from each address. */
  readonly #from = new Map<string, number>();
  readonly #stop: Cancel;

  constructor(hub: Hub, registry: Pick<NodeRegistry, 'register'>) {
    this.#hub = hub;
    this.#registry = registry;
    for (const row of hub.live.joins.values()) this.#note(row.node_id, row);
    this.#stop = hub.live.joins.onChange((nodeId, row) => this.#note(nodeId, row));
  }

  /** How many wait. */
  waiting(): number {
    return this.#pending.size;
  }

  pending(): readonly string[] {
    return [...this.#pending.keys()];
  }

  isPending(nodeId: string): boolean {
    return this.#pending.has(nodeId);
  }

  /**
   * Asks, or asks again, for a stranger. Answers the role of one that was approved. Refuses `approval_required` with
   * `waiting: true` for one that waits now, `join_rejected`, `node_id_taken`, `key_taken`, and `overloaded` when too many wait.
   */
  async ask(candidate: Candidate, removedAt: number | undefined, about: About): Promise<NodeRole | Refusal> {
    const { nodeId, publicKey, profile, address } = candidate;
    const taken = this.#taken(nodeId, publicKey);
    if (taken) return taken;
    const full = this.#pending.has(nodeId) ? undefined : this.#full(address);
    if (full) return full;
    const lifetimeMs = this.#hub.config.joinMs;
    const command = { nodeId, publicKey, profile, address, lifetimeMs, removedAt };
    const asked = await this.#hub.executor.execute(joinStream(nodeId), join, request, command, about);
    if (isRefusal(asked)) return asked;
    if (asked.reply.standing === 'approved') return asked.reply.role;
    const { position } = asked;
    await this.#hub.live.joins.waitFor(position); // what is decided from now on finds the connection that waits
    const row = this.#hub.live.joins.get(nodeId);
    const { requestedAt: requested_at, expiresAt: expires_at } = asked.reply;
    const detail = 'an administrator decides on this request to join; stay, or come again';
    const since = row?.requested_at ?? requested_at; // as everyone else reads it
    return refuse('approval_required', detail, { waiting: true, requested_at: since, expires_at, position });
  }

  /**
   * Lets a waiting node in: approved, then registered. Refuses `not_found`, `conflict`, and what makes it impossible: `banned`,
   * `node_id_taken`, `key_taken`, `key_revoked`. What is found only when it is registered turns the request into a rejected one.
   */
  async approve(nodeId: string, role: NodeRole, about: About): Promise<Executed<Approved> | Refusal> {
    const { executor } = this.#hub;
    const state = await executor.state(joinStream(nodeId), join);
    const barred = state.status === 'pending' ? this.#barred(nodeId, state.publicKey) : undefined;
    if (barred) return barred;
    const judged = role === 'admin' && state.status === 'pending' && !(await wasDone(this.#hub.log, about));
    const useless = judged ? await shutOut(this.#hub, nodeId, state.publicKey) : undefined;
    if (useless) return refuse('conflict', `${useless}, so it cannot be an administrator`);
    const approved = await executor.execute(joinStream(nodeId), join, approve, { nodeId, role }, about);
    if (isRefusal(approved)) return approved;
    const failed = await this.complete(nodeId, about);
    return failed ?? approved;
  }

  /** What stands against a node that waits: its id or key is taken, or is banned or blocked by now. */
  #barred(nodeId: string, publicKey: string): Refusal | undefined {
    const identity = { kind: 'node', nodeId, sessionId: '', role: 'observer', publicKey } as const;
    return this.#taken(nodeId, publicKey) ?? this.#hub.doors.judge(identity);
  }

  reject(nodeId: string, reason: string, about: About): Promise<Executed<undefined> | Refusal> {
    return this.#hub.executor.execute(joinStream(nodeId), join, reject, { nodeId, reason }, about);
  }

  /** Writes down that a request lapsed, or that a rejection counts no more, if that is so. */
  async expire(nodeId: string): Promise<void> {
    await this.#hub.executor.execute(joinStream(nodeId), join, expire, { nodeId }, { actor: 'hub' });
  }

  /** The node got in by other means: its request does not wait any more. */
  async settle(nodeId: string, publicKey: string, role: NodeRole): Promise<void> {
    const command = { nodeId, publicKey, role };
    await this.#hub.executor.execute(joinStream(nodeId), join, settle, command, { actor: 'hub' });
  }

  /** Registers an approved node that is not registered yet. Doing it twice is harmless. Answers why it could not be. */
  async complete(nodeId: string, { command: _, ...about }: About): Promise<Refusal | undefined> {
    const { executor } = this.#hub;
    const state = await executor.state(joinStream(nodeId), join);
    if (state.status !== 'approved') return undefined;
    const { publicKey, profile, role } = state;
    const known = await executor.state(nodeStream(nodeId), node);
    const isIn = known.membership === 'member' && known.publicKey === publicKey;
    if (isIn || isSpent(state, known.membership === 'removed' ? known.since : undefined)) return undefined;
    const registration = { nodeId, publicKey, profile, grant: { role, admission: { by: 'approval' as const } } };
    const registered = await this.#registry.register(registration, about);
    if (isRefusal(registered)) {
      const reason = `${registered.refused}: ${registered.detail}`;
      await executor.execute(joinStream(nodeId), join, takeBack, { nodeId, reason }, about);
      return registered;
    }
    return role === 'admin' ? appointIfUsable(this.#hub, nodeId, about) : undefined;
  }

  close(): void {
    this.#stop();
  }

  #note(nodeId: string, row: JoinRow | undefined): void {
    const before = this.#pending.get(nodeId);
    if (before !== undefined) {
      const others = (this.#from.get(before) ?? 1) - 1;
      if (others > 0) this.#from.set(before, others);
      else this.#from.delete(before);
      this.#pending.delete(nodeId);
    }
    if (row?.status !== 'pending') return;
    this.#pending.set(nodeId, row.address);
    this.#from.set(row.address, (this.#from.get(row.address) ?? 0) + 1);
  }

  #full(address: string): Refusal | undefined {
    if (this.#pending.size >= mostPending) return refuse('overloaded', `${mostPending} requests to join wait already`);
    if ((this.#from.get(address) ?? 0) < mostFromOne) return undefined;
    return refuse('overloaded', `${mostFromOne} requests to join wait already from this address`);
  }

  /** Whether id or key are another's by now, as this replica reads the log. */
  #taken(nodeId: string, publicKey: string): Refusal | undefined {
    const { nodes, keys } = this.#hub.live;
    const known = nodes.get(nodeId);
    if (known && known.public_key !== publicKey) return nodeIdTaken(nodeId);
    const key = keys.get(keyThumbprint(publicKey));
    if (key?.status === 'retired') return refuse('key_revoked', 'this public key was revoked or rotated away');
    if (key?.status === 'confirmed' && key.node_id !== nodeId)
      return refuse('key_taken', 'another node uses this public key');
    return undefined;
  }
}
