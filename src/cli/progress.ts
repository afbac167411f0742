/** A bar for what takes longer than two seconds, on the error stream; programs that read JSON see none. */
import { Presets, SingleBar } from 'cli-progress';
import type { Output } from './output.ts';

const patienceMs = 2_000;

export class Progress {
  readonly #quiet: boolean;
  #began = performance.now();
  #what = '';
  #bar: SingleBar | undefined;

  constructor(output: Output) {
    this.#quiet = output.json;
  }

  /** So much of it is done. Another `what` begins another bar. */
  show(what: string, done: number, total: number): void {
    if (this.#quiet) return;
    if (what !== this.#what) {
      this.stop();
      this.#what = what;
      this.#began = performance.now();
    }
    if (!this.#bar && performance.now() - this.#began > patienceMs) {
      const format = `${what} {bar} {percentage}% | {value}/{total} | {duration_formatted}`;
      this.#bar = new SingleBar({ format, stream: process.stderr }, Presets.shades_classic);
      this.#bar.start(total, done);
    }
    this.#bar?.update(done);
  }

  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }
}
