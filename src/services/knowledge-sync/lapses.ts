/** What time alone changes: rules that count until some moment, and copies that may be kept until one. */
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { Members } from './standing.ts';

/** Everything is looked at so often; what ends sooner, when it ends. */
export const sweepEveryMs = 30_000;

/** Whose share rules, and whose take rules, lapsed since this was last told. */
export interface Lapsed {
  readonly sharers: readonly string[];
  readonly takers: readonly string[];
}

export class Lapses {
  readonly #hub: Pick<Hub, 'kernel'> & { readonly live: Pick<Hub['live'], 'sovereignty'> };
  readonly #tell: (lapsed: Lapsed) => void;
  readonly #stops: Cancel[];
  /** Rules that lapsed by then were told of. */
  #sweptAt: number;
  #next = Number.NEGATIVE_INFINITY;
  #wake: Cancel | undefined;
  #closed = false;

  /** `tell` is called at each sweep: copies may be overdue by then. */
  constructor(
    hub: Pick<Hub, 'kernel'> & { readonly live: Pick<Hub['live'], 'sovereignty'> },
    members: Members,
    tell: (lapsed: Lapsed) => void,
  ) {
    this.#hub = hub;
    this.#tell = tell;
    this.#sweptAt = hub.kernel.now();
    this.#stops = [
      hub.kernel.every(sweepEveryMs, () => this.#sweep()),
      members.onChange((subject) => this.#noteRules([subject])),
    ];
    this.#noteRules([...hub.live.sovereignty.values()].map(({ subject }) => subject));
  }

  /** Something ends at a moment, in milliseconds since 1970: there is a sweep then, unless there is one before. */
  at(moment: number): void {
    const now = this.#hub.kernel.now();
    const sooner = this.#next > now && this.#next <= moment;
    if (this.#closed || sooner || !(moment > now) || moment > now + sweepEveryMs) return;
    this.#next = moment;
    this.#wake?.();
    this.#wake = this.#hub.kernel.after(moment - now + 1, () => this.#sweep());
  }

  close(): void {
    this.#closed = true;
    this.#wake?.();
    for (const stop of this.#stops) stop();
  }

  #sweep(): void {
    const [before, now] = [this.#sweptAt, this.#hub.kernel.now()];
    this.#sweptAt = now;
    const lapsed = ({ until }: { readonly until?: string }) =>
      until !== undefined && Date.parse(until) > before && Date.parse(until) <= now;
    const all = [...this.#hub.live.sovereignty.values()];
    const sharers = all.filter(({ shares }) => shares.some(lapsed)).map(({ subject }) => subject);
    const takers = all.filter(({ takes }) => takes.some(lapsed)).map(({ subject }) => subject);
    this.#noteRules(all.map(({ subject }) => subject));
    this.#tell({ sharers, takers });
  }

  #noteRules(subjects: readonly string[]): void {
    for (const subject of subjects) {
      const { shares = [], takes = [] } = this.#hub.live.sovereignty.get(subject) ?? {};
      for (const { until } of [...shares, ...takes]) if (until !== undefined) this.at(Date.parse(until));
    }
  }
}
