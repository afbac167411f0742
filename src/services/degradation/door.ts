/** The guard of the load: turns away what the level puts aside, and what the door has no place for. */
import type { Leave, LoadGuard } from '../../doors.ts';
import { type Refusal, refuse } from '../../errors.ts';
import { type Level, levels } from '../../events/degradation.ts';
import type { Hub } from '../../hub.ts';
import type { Kernel } from '../../kernel.ts';
import type { Door } from '../../metrics.ts';
import { isShed, type Work } from '../../shedding.ts';
import { tiers } from '../../tiers.ts';
import { Gate, type Rank } from './gate.ts';

/** How long whoever is turned away is asked to wait, milliseconds, times a half to one and a half: all are not to come back at once. */
const waitMs: { readonly [L in Level]: number } = { normal: 1_000, reduced: 2_000, essential: 4_000, core: 6_000 };

export class LoadDoor implements LoadGuard {
  level: Level = 'normal';
  readonly gate: Gate;
  readonly #kernel: Kernel;
  readonly #metrics: Hub['metrics'];
  #shed = 0;

  constructor({ kernel, metrics, config }: Pick<Hub, 'kernel' | 'metrics' | 'config'>) {
    this.#kernel = kernel;
    this.#metrics = metrics;
    this.gate = new Gate(kernel);
    if (config.degradation === 'orders') this.gate.close(); // it bounds nothing
  }

  judge(work: Work): Refusal | undefined {
    return this.#judge(work, 'http');
  }

  enter(work: Work, door: Door): Leave | Refusal | Promise<Leave | Refusal> {
    const shed = this.#judge(work, door);
    if (shed) return shed;
    const place = this.gate.enter(rankOf(work), door === 'http');
    if (place instanceof Promise) return place.then((later) => this.#entered(later, work, door));
    return this.#entered(place, work, door);
  }

  /** What was put aside because of the level since this was called last. */
  takeShed(): number {
    const shed = this.#shed;
    this.#shed = 0;
    return shed;
  }

  #judge(work: Work, door: Door): Refusal | undefined {
    if (!isShed(work, this.level)) return undefined;
    this.#shed++;
    this.#metrics.shed(door, work.service);
    return this.#refuse(`${work.service} is put aside while this replica is at ${this.level}`);
  }

  #entered(place: number | undefined, work: Work, door: Door): Leave | Refusal {
    if (place !== undefined) return () => this.gate.leave(place);
    this.#metrics.shed(door, work.service);
    return this.#refuse('as much is under way at this replica as it can do');
  }

  #refuse(detail: string): Refusal {
    const retry_after_ms = Math.round(waitMs[this.level] * (0.5 + this.#kernel.random()));
    return refuse('shedding', detail, { level: this.level, retry_after_ms });
  }
}

function rankOf({ service, from }: Work): Rank {
  if (from === undefined) return 'must';
  return tiers[service] === 'P2' || levels.indexOf(from) < levels.indexOf('core') ? 'p2' : 'other';
}
