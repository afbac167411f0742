/** The sessions of a replica, by their syncs: a stated number, of which those that rest make place for others. */
import { type Refusal, refuse } from '../../errors.ts';
import type { Session } from './sync-session.ts';

/** Sets kept at a replica, and of one node: four million bytes each, for a hundred thousand versions. */
const mostSessions = 16;
const mostOfNode = 2;
/** A sync that asks for nothing this long gives its place to another; its set is made again when it goes on. */
const idleMs = 30_000;

export class SyncPlaces {
  readonly #sessions = new Map<string, Session>();

  all(): Session[] {
    return [...this.#sessions.values()];
  }

  get(syncId: string): Session | undefined {
    return this.#sessions.get(syncId);
  }

  put(session: Session): void {
    this.#sessions.set(session.syncId, session);
  }

  /** Why there is no place for one more, of a node, beside so many that are being opened. `syncId`: of the one it is for. */
  full(nodeId: string, syncId: string | undefined, opening: number): Refusal | undefined {
    const others = this.all().filter((session) => session.syncId !== syncId);
    const ofNode = others.filter((session) => session.nodeId === nodeId);
    if (ofNode.length >= mostOfNode && !this.#makeRoom(ofNode))
      return refuse('limit_reached', `a node syncs ${mostOfNode} times at once at most`);
    if (others.length >= mostSessions - opening && !this.#makeRoom(others))
      return refuse('overloaded', `${mostSessions} syncs are under way at this replica`, { retry_after_ms: 2_000 });
    return undefined;
  }

  /** Closes the session of a sync, if it is one of this node; undefined: of any. */
  closeFor(nodeId: string | undefined, syncId: string): Session | undefined {
    const session = this.#sessions.get(syncId);
    return nodeId === undefined || session?.nodeId === nodeId ? this.close(syncId) : undefined;
  }

  close(syncId: string): Session | undefined {
    const session = this.#sessions.get(syncId);
    this.#sessions.delete(syncId);
    session?.close();
    return session;
  }

  #makeRoom(among: readonly Session[]): boolean {
    const idle = among.filter((session) => session.idleMs() > idleMs).sort((a, b) => b.idleMs() - a.idleMs())[0];
    if (idle) this.close(idle.syncId);
    return idle !== undefined;
  }
}
