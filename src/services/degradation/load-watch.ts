/**
 * Keeps the level of this replica: measures twice a second, judges, obeys what was ordered, and says so: to its doors at once, to its
 * nodes, and to the log as soon as that can be written. What is measured is judged also while an order stands.
 */
import { changeLevel, replicaLevel, replicaStream } from '../../commands/degradation.ts';
import type { ChangeCause, Level, RaisedSignal } from '../../events/degradation.ts';
import type { Hub } from '../../hub.ts';
import { type Cancel, isoTime } from '../../kernel.ts';
import { type DegradationRow, orderSubject, replicaSubject } from '../../projections/degradation.ts';
import { Demand } from './demand.ts';
import type { LoadDoor } from './door.ts';
import type { GateCounts } from './gate.ts';
import { calm, type LevelState, next } from './level.ts';
import { asks, type Measured } from './thresholds.ts';

const windowMs = 500;
/** Much of the code is loaded and compiled when it is first needed. */
const warmMs = 10_000;
/** Said again so often while it is not normal; whoever was silent for three times that is gone. */
const sayAgainMs = 5 * 60_000;
const silentMs = 3 * sayAgainMs;
const sweepEveryMs = 60_000;
/** What the door turned away comes in bursts: so many windows are taken together. */
const doorWindows = 4;
/** Fewer at the door in that time say nothing. */
const fewAtDoor = 40;

export interface LoadWatchParts {
  readonly hub: Pick<Hub, 'kernel' | 'executor' | 'live' | 'readiness' | 'config'>;
  readonly door: LoadDoor;
  /** The level of the one that this one takes over from, if there is one. */
  readonly before: Level | undefined;
  /** What was measured since it was called last. */
  measure(): Measured;
  /** Tells the nodes of this replica. */
  tell(level: Level, cause: ChangeCause): void;
}

interface Owed {
  readonly to: Level;
  readonly cause: ChangeCause;
  readonly signals: readonly RaisedSignal[];
  readonly again?: boolean;
}

export class LoadWatch {
  readonly #parts: LoadWatchParts;
  readonly #stops: Cancel[];
  readonly #demand = new Demand();
  #judged: LevelState;
  #measured: Measured = {};
  readonly #atDoor: GateCounts[] = [];
  #signals: readonly RaisedSignal[] = [];
  #since: string;
  #cause: ChangeCause = 'load';
  #saidAt = 0;
  #warmAt: number;
  /** The newest that the log does not know; what it replaced was never so for anyone who reads the log. */
  #owed: Owed | undefined;
  #writing: Promise<void> | undefined;

  constructor(parts: LoadWatchParts) {
    this.#parts = parts;
    const { kernel, live } = parts.hub;
    const judged = (this.order ? undefined : parts.before) ?? 'normal'; // what was ordered is nobody's load
    this.#judged = { ...calm(kernel.monotonicMs()), level: judged };
    this.#warmAt = kernel.monotonicMs() + warmMs;
    this.#since = isoTime(kernel.now());
    this.#stops = [
      kernel.every(windowMs, () => this.#look()),
      kernel.every(sweepEveryMs, () => void this.#sweep()),
      live.degradation.onChange((subject) => subject === orderSubject && this.#apply()),
    ];
    this.#apply();
  }

  /** What holds at this replica now. */
  get level(): Level {
    return this.#parts.door.level;
  }

  /** Why it holds, and since when (ISO 8601). */
  get standing(): { readonly level: Level; readonly since: string; readonly cause: ChangeCause } {
    return { level: this.level, since: this.#since, cause: this.#cause };
  }

  /** What is measured, and the level that this would be without an order. */
  get measured(): { readonly level: Level; readonly values: Measured; readonly signals: readonly RaisedSignal[] } {
    return { level: this.#judged.level, values: this.#measured, signals: this.#signals };
  }

  /** The order that counts now. */
  get order(): DegradationRow | undefined {
    const { live, kernel } = this.#parts.hub;
    const row = live.degradation.get(orderSubject);
    return row && Date.parse(row.until ?? '') > kernel.now() ? row : undefined;
  }

  /** Stops, and says that it is over, if there is something to say; with a successor there is not. */
  async close(succeeded: boolean): Promise<void> {
    for (const stop of this.#stops) stop();
    await this.#writing;
    if (succeeded) return;
    if (this.level === 'normal' && !this.#owed) return;
    this.#owed = { to: 'normal', cause: 'stopped', signals: [] };
    await this.#write();
  }

  #look(): void {
    const { hub, door, measure } = this.#parts;
    const measured = measure();
    const counts = door.gate.take();
    this.#atDoor.push(counts);
    if (this.#atDoor.length > doorWindows) this.#atDoor.shift();
    this.#measured = { ...measured, door: refusedShare(this.#atDoor) };
    const { raise, hold, signals } = asks(this.#measured);
    this.#signals = signals;
    const pressed = this.#demand.note(
      { shed: door.takeShed(), served: counts.entered + counts.refused },
      this.#judged.level === 'normal',
    );
    if (this.#mayJudge()) {
      this.#judged = next(this.#judged, { raise, hold, pressed }, hub.kernel.monotonicMs());
    }
    this.#apply();
    if (this.level !== 'normal' && hub.kernel.monotonicMs() - this.#saidAt > sayAgainMs) this.#say(true);
    if (this.#owed) void this.#write();
  }

  /** While it starts, gets warm or drains, what is measured is not the load of its nodes. The door has its bounds also then. */
  #mayJudge(): boolean {
    const { readiness, kernel, config } = this.#parts.hub;
    if (config.degradation === 'orders') return false;
    if (readiness.phase === 'starting') this.#warmAt = kernel.monotonicMs() + warmMs;
    return kernel.monotonicMs() >= this.#warmAt && readiness.phase !== 'draining';
  }

  /** The order, else what was judged, is what holds. */
  #apply(): void {
    const { door, hub, tell } = this.#parts;
    const { order } = this;
    const level = order?.level ?? this.#judged.level;
    const before = door.level;
    if (level === before) return;
    // Where an order begins or ends, that is why; what is measured goes on by itself.
    this.#cause = order || this.#cause === 'order' ? 'order' : 'load';
    const cause = this.#cause;
    if (!order) this.#cause = 'load';
    door.level = level;
    this.#since = isoTime(hub.kernel.now());
    hub.kernel.log.warn(
      { from: before, to: level, cause, signals: this.#signals },
      'this replica puts aside more or less',
    );
    tell(level, cause);
    this.#say(false, cause);
  }

  #say(again: boolean, cause: ChangeCause = this.#cause): void {
    const signals = cause === 'load' ? this.#signals : [];
    this.#owed = { to: this.level, cause, signals, again };
    this.#saidAt = this.#parts.hub.kernel.monotonicMs();
    void this.#write();
  }

  /** One at a time; what could not be written is tried again at the next look. */
  #write(): Promise<void> {
    this.#writing ??= this.#writeOwed().finally(() => {
      this.#writing = undefined;
    });
    return this.#writing;
  }

  async #writeOwed(): Promise<void> {
    const { executor, kernel } = this.#parts.hub;
    const { replica } = kernel;
    for (let owed = this.#owed; owed; owed = this.#owed) {
      try {
        await executor.execute(
          replicaStream(replica),
          replicaLevel,
          changeLevel,
          { replica, ...owed },
          { actor: 'hub' },
        );
      } catch (error) {
        kernel.log.warn({ err: error, to: owed.to }, 'a change of level could not be written; it is tried again');
        return;
      }
      if (this.#owed === owed) this.#owed = undefined;
    }
  }

  /** Replicas that were killed say nothing any more: somebody says it for them. Twice is once. */
  async #sweep(): Promise<void> {
    const { live, kernel, executor } = this.#parts.hub;
    const own = replicaSubject(kernel.replica);
    const prefix = replicaSubject('');
    for (const { subject, seen_at } of [...live.degradation.values()]) {
      if (!subject.startsWith(prefix) || subject === own || kernel.now() - Date.parse(seen_at) < silentMs) continue;
      const replica = subject.slice(prefix.length);
      const gone = { replica, to: 'normal', cause: 'silent', signals: [] } as const;
      await executor
        .execute(replicaStream(replica), replicaLevel, changeLevel, gone, { actor: 'hub' })
        .catch((error: unknown) =>
          kernel.log.warn({ err: error, replica }, 'a replica that is gone was not let go of'),
        );
    }
  }
}

/** Percent of those at the door that were turned away. */
function refusedShare(windows: readonly GateCounts[]): number {
  const refused = windows.reduce((sum, each) => sum + each.refused, 0);
  const came = windows.reduce((sum, each) => sum + each.entered, refused);
  return came < fewAtDoor ? 0 : (refused / came) * 100;
}
