/** One session of a node at a hub: proves the key, then heartbeats and renews its token until something ends it. */
import { decodeJwt } from 'jose';
import type { Reading } from '../events/heartbeat.ts';
import type { NodeProfile } from '../events/node.ts';
import { type Ack, PROTOCOL_VERSION, proofText, rotationText } from '../protocol.ts';
import type { NodeClock } from './clock.ts';
import { type Connection, HubRefusal, HubUnreachable } from './connection.ts';
import type { NodeKey } from './key-file.ts';

/** Who registers, and as what. */
export interface NodeIdentity {
  readonly nodeId: string;
  readonly key: NodeKey;
  readonly profile: NodeProfile;
  /** Leave to join, shown once by whoever runs the federation; of no use to a member. */
  readonly invite: string | undefined;
}

export type Registered = Ack<'federation:register'>;

/** Two heartbeats in a row without an answer end the session: sooner than the hub takes the node for lost. */
const missedMax = 2;
const answerTimeoutMaxMs = 10_000;

/**
 * Registers over a fresh connection. Every session registers, not only the first, so that the hub has the profile as it is now
 * and a node that was removed while it was away is told. Throws `HubRefusal` or `HubUnreachable`.
 */
export async function register(
  connection: Connection,
  { nodeId, key, profile, invite }: NodeIdentity,
): Promise<Registered> {
  const purpose = 'register';
  const challenge = await connection.ask('federation:challenge', { node_id: nodeId, purpose });
  const { nonce, federation_id: federationId } = challenge;
  const text = proofText({ purpose, federationId, nodeId, publicKey: key.publicKey, nonce, profile });
  return connection.ask('federation:register', {
    protocol_version: PROTOCOL_VERSION,
    node_id: nodeId,
    public_key: key.publicKey,
    nonce,
    signature: Buffer.from(await key.sign(Buffer.from(text))).toString('base64url'),
    ...(invite !== undefined && { invite }),
    ...profile,
  });
}

/** Changes the key of the session's node; both keys sign for it. Throws `HubRefusal` or `HubUnreachable`. */
export async function rotate(connection: Connection, nodeId: string, key: NodeKey, next: NodeKey): Promise<Registered> {
  const challenge = await connection.ask('federation:challenge', { node_id: nodeId, purpose: 'rotate' });
  const { nonce, federation_id: federationId } = challenge;
  const rotation = { federationId, nodeId, publicKey: key.publicKey, newPublicKey: next.publicKey, nonce };
  const text = Buffer.from(rotationText(rotation));
  const signedBy = async (signer: NodeKey) => Buffer.from(await signer.sign(text)).toString('base64url');
  const [signature, new_signature] = [await signedBy(key), await signedBy(next)];
  return connection.ask('federation:rotate', { public_key: next.publicKey, nonce, signature, new_signature });
}

export interface SessionParts {
  readonly nodeId: string;
  readonly connection: Connection;
  readonly clock: NodeClock;
  readonly reading: () => Reading;
  /** The hub refused a heartbeat or could not be asked, but the session goes on. */
  onTrouble(error: Error): void;
  /** Position of the newest event that this node was told of. */
  seen(): number | undefined;
  /** A heartbeat was written at `position`, before what was seen when it was sent: the log is not the one it was. */
  onRestored(position: number): void;
  /** The session is of no more use. */
  onBroken(error: Error): void;
}

/** The heartbeats and the token of a session. */
export class Session {
  readonly #parts: SessionParts;
  readonly #heartbeatMs: number;
  #cancelHeartbeat = () => {};
  #cancelRenewal = () => {};
  #missed = 0;
  #stopped = false;
  #token = '';

  constructor(parts: SessionParts, registered: Registered) {
    this.#parts = parts;
    this.#heartbeatMs = registered.heartbeat_ms;
    this.#take(registered);
    this.#scheduleHeartbeat();
  }

  /** The session token, for requests over HTTP: `Authorization: Bearer <token>`. */
  get token(): string {
    return this.#token;
  }

  /** Goes on with a token that was issued by other means than renewal. */
  goOn(issued: { token: string; expires_at: string }): void {
    if (!this.#stopped) this.#take(issued);
  }

  /** Stops the timers. Twice is harmless. */
  stop(): void {
    this.#stopped = true;
    this.#cancelHeartbeat();
    this.#cancelRenewal();
  }

  #scheduleHeartbeat(): void {
    const { clock } = this.#parts;
    const jitter = 0.9 + 0.2 * clock.random(); // so that a thousand nodes that came at once do not beat at once
    this.#cancelHeartbeat = clock.after(this.#heartbeatMs * jitter, () => void this.#heartbeat());
  }

  async #heartbeat(): Promise<void> {
    const { connection, nodeId } = this.#parts;
    try {
      const heartbeat = { node_id: nodeId, ...this.#reading() };
      const seen = this.#parts.seen() ?? 0; // before it is sent: what is pushed meanwhile may lie after it
      const { position } = await connection.ask('federation:heartbeat', heartbeat, this.#answerTimeoutMs());
      if (!this.#stopped && position < seen) this.#parts.onRestored(position);
      this.#missed = 0;
    } catch (error) {
      if (this.#stopped) return;
      this.#judge(error);
    }
    if (!this.#stopped) this.#scheduleHeartbeat();
  }

  /** A reading that cannot be taken must not make a living node look dead. */
  #reading(): Reading {
    try {
      return this.#parts.reading();
    } catch (error) {
      this.#parts.onTrouble(
        new Error('the reading of this node failed; the heartbeat goes without it', { cause: error }),
      );
      return {};
    }
  }

  /** What an unanswered or refused heartbeat or renewal means for the session. */
  #judge(error: unknown): void {
    const { connection, onBroken, onTrouble } = this.#parts;
    if (!connection.alive) return; // whoever owns the connection was told
    if (error instanceof HubUnreachable) this.#missed++;
    else this.#missed = 0; // it lives, whatever it says
    const goesOn =
      error instanceof HubUnreachable ? this.#missed < missedMax : error instanceof HubRefusal && busy.has(error.code);
    (goesOn ? onTrouble : onBroken)(error instanceof Error ? error : new Error(String(error)));
  }

  #take({ token, expires_at }: { token: string; expires_at: string }): void {
    this.#token = token;
    this.#renewIn((lifetimeMs(token, expires_at) * 2) / 3);
  }

  #renewIn(ms: number): void {
    const { clock } = this.#parts;
    this.#cancelRenewal = clock.after(ms * (0.9 + 0.1 * clock.random()), () => void this.#renew());
  }

  async #renew(): Promise<void> {
    try {
      const renewed = await this.#parts.connection.ask('federation:renew', {}, this.#answerTimeoutMs());
      if (!this.#stopped) this.#take(renewed);
    } catch (error) {
      if (this.#stopped) return;
      this.#judge(error);
      if (!this.#stopped) this.#renewIn(this.#heartbeatMs); // a third of the token's life is left to try again in
    }
  }

  #answerTimeoutMs(): number {
    return Math.min(this.#heartbeatMs, answerTimeoutMaxMs);
  }
}

/** Refusals by a hub that has too much to do now, a part of which is down, or that blocks the node for a while: the session is still good. */
const busy: ReadonlySet<string> = new Set([
  'rate_limited',
  'access_blocked',
  'overloaded',
  'not_ready', // a hub that stays so ends the session itself
  'log_unavailable',
  'log_full',
  'views_unavailable',
  'guard_unavailable',
  'service_unavailable',
  'shedding',
  'internal_error',
  'conflict',
]);

/** How long a token lives, by the hub's own clock, which need not agree with ours. At least a second. */
function lifetimeMs(token: string, expiresAt: string): number {
  try {
    const { iat, exp } = decodeJwt(token);
    if (iat !== undefined && exp !== undefined) return Math.max(1000, (exp - iat) * 1000);
  } catch (error) {
    throw new HubUnreachable(`the hub gave a token that is not one, good until ${expiresAt}`, error);
  }
  throw new HubUnreachable(`the hub gave a token without its times, good until ${expiresAt}`);
}
