/** What a replica measures of itself: once a window what the process knows at once, every two seconds what has to be asked for. */
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { Measured } from './thresholds.ts';

/** Milliseconds. */
const resolutionMs = 10;
const askEveryMs = 2_000;
/** Fewer in a window are no load, however long the disk took for them. */
const fewAppends = 10;

export interface MeterParts {
  readonly hub: Pick<Hub, 'kernel' | 'metrics' | 'readiness' | 'views' | 'config'>;
  /** Whether Redis is there. */
  shared(): boolean;
}

export class Meter {
  readonly #parts: MeterParts;
  readonly #loop: IntervalHistogram = monitorEventLoopDelay({ resolution: resolutionMs });
  readonly #stop: Cancel;
  #lag = 0;
  /** When the views answered last, and when Redis was there last. */
  #viewsAt: number;
  #redisAt: number;
  #asking = false;

  constructor(parts: MeterParts) {
    this.#parts = parts;
    const { kernel } = parts.hub;
    this.#viewsAt = this.#redisAt = kernel.monotonicMs();
    this.#loop.enable();
    this.#stop = kernel.every(askEveryMs, () => void this.#ask());
  }

  /** What was measured since this was called last; `door` is added by whoever minds the door. */
  take(): Measured {
    const { metrics, kernel, readiness, config } = this.#parts.hub;
    const now = kernel.monotonicMs();
    const { queued, written, meanMs } = metrics.takeAppends();
    const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics();
    if (this.#parts.shared()) this.#redisAt = now;
    const measured: Measured = {
      loop_delay: this.#takeDelay(),
      heap: (used / limit) * 100,
      log_queue: queued,
      append: written + queued < fewAppends ? 0 : meanMs,
      views_lag: this.#lag,
      log_away: readiness.cutOffMs,
      views_away: Math.max(0, now - this.#viewsAt - askEveryMs),
    };
    return config.redisUrl === undefined ? measured : { ...measured, redis_away: now - this.#redisAt };
  }

  close(): void {
    this.#stop();
    this.#loop.disable();
  }

  /** How late nine of ten turns were at most, milliseconds. */
  #takeDelay(): number {
    const late = this.#loop.count === 0 ? 0 : this.#loop.percentile(90) / 1e6 - resolutionMs;
    this.#loop.reset();
    return Math.max(0, late);
  }

  /** One question at a time: views that hang are away. */
  async #ask(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    try {
      const { position, head } = await this.#parts.hub.views.state();
      this.#lag = Math.max(0, head - position);
      this.#viewsAt = this.#parts.hub.kernel.monotonicMs();
    } catch (error) {
      this.#parts.hub.kernel.log.debug({ err: error }, 'the views did not say how far they are');
    } finally {
      this.#asking = false;
    }
  }
}
