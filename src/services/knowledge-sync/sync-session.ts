/** A sync that runs at this replica: what it may move, and how far it is. */
import type { KnownSync } from '../../commands/sync.ts';
import type { SyncDirection, SyncProgress } from '../../events/knowledge.ts';
import type { Cancel, Kernel } from '../../kernel.ts';
import type { OfferedSet } from './sync-set.ts';

/** How far it is goes into the log, and to the node, this often at most. */
const tellEveryMs = 1_000;

interface SessionParts {
  readonly hub: { readonly kernel: Kernel };
  tell(nodeId: string, progress: SyncProgress & { sync_id: string; status: string }): void;
}

export class Session {
  readonly syncId: string;
  readonly nodeId: string;
  readonly direction: SyncDirection;
  readonly tenure: number;
  readonly #parts: SessionParts;
  readonly #write: (progress: SyncProgress) => Promise<void>;
  offered: OfferedSet;
  /** Where an incremental sync after this one begins; undefined when the node came here in the midst of it. */
  cursor: number | undefined;
  progress: SyncProgress;
  #doubted = false;
  #madeAt: number;
  #usedAt: number;
  #told: number;
  #telling: Cancel | undefined;
  #writing: Promise<void> = Promise.resolve();
  #unwritten = false;
  #closed = false;

  constructor(
    parts: SessionParts,
    syncId: string,
    { nodeId, direction, tenure, progress }: KnownSync,
    offered: OfferedSet,
    write: (progress: SyncProgress) => Promise<void>,
  ) {
    this.#parts = parts;
    this.syncId = syncId;
    this.nodeId = nodeId;
    this.direction = direction;
    this.tenure = tenure;
    this.progress = progress;
    this.offered = offered;
    this.#write = write;
    this.#madeAt = parts.hub.kernel.monotonicMs();
    this.#usedAt = this.#madeAt;
    this.#told = this.#madeAt; // most are over sooner
  }

  /** Whether what is offered may still be told of. */
  good(setMs: number): boolean {
    const { kernel } = this.#parts.hub;
    return !this.#doubted && kernel.monotonicMs() - this.#madeAt < setMs && kernel.now() < this.offered.until;
  }

  doubt(): void {
    this.#doubted = true;
  }

  renew(offered: OfferedSet): this {
    this.offered = offered;
    this.#doubted = false;
    this.#madeAt = this.#parts.hub.kernel.monotonicMs();
    return this.used();
  }

  used(): this {
    this.#usedAt = this.#parts.hub.kernel.monotonicMs();
    return this;
  }

  idleMs(): number {
    return this.#parts.hub.kernel.monotonicMs() - this.#usedAt;
  }

  count(more: Partial<SyncProgress>): void {
    const add = (name: keyof SyncProgress) => this.progress[name] + (more[name] ?? 0);
    const [rounds, pulled, pushed] = [add('rounds'), add('pulled'), add('pushed')];
    this.progress = { rounds, pulled, pushed, refused: add('refused'), bytes: add('bytes') };
    this.#unwritten = true;
    if (this.#telling || this.#closed) return;
    const { kernel } = this.#parts.hub;
    const waitMs = Math.max(0, this.#told + tellEveryMs - kernel.monotonicMs());
    this.#telling = kernel.after(waitMs, () => this.#tell());
  }

  /** Resolves when all that was counted is in the log. */
  async written(): Promise<void> {
    if (this.#unwritten) this.#note();
    await this.#writing;
  }

  close(): void {
    this.#closed = true;
    this.#telling?.();
    this.#telling = undefined;
  }

  #tell(): void {
    this.#telling = undefined;
    this.#told = this.#parts.hub.kernel.monotonicMs();
    this.#parts.tell(this.nodeId, { sync_id: this.syncId, status: 'running', ...this.progress });
    this.#note();
  }

  #note(): void {
    this.#unwritten = false;
    const { progress } = this;
    this.#writing = this.#writing.then(() => this.#write(progress));
  }
}
