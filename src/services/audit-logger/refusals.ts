/**
 * Refusals taken together, so that a flood of them is a few events: of each kind the first is due at once, and the others of
 * the same minute when it ends.
 */
import { type Asked, actorOf } from '../../doors.ts';
import type { Code } from '../../errors.ts';
import type { EventData } from '../../events/catalog.ts';
import { isoTime, type Kernel } from '../../kernel.ts';
import { networkOf } from '../../network.ts';
import { minuteOf } from './minute.ts';
import type { Fact } from './writer.ts';

/** Kinds a minute at this replica: of those who proved themselves, of strangers, and of what is beyond those, taken together. */
export const kindsLimit = { known: 1_000, strangers: 60, together: 200 };
/**
 * Kinds a minute of one source, an actor or a stranger's network: as they are, then by all but their target, then as one.
 * So nobody takes the room of others, nor hides what they did among what is not theirs.
 */
const sourceLimits = [20, 20, 1] as const;
/** Stands for whoever, whatever and wherever, where many were taken together. */
const various = 'various';

type Refused = EventData<'audit.refused'>;
type Room = keyof typeof kindsLimit;

interface Kind {
  readonly what: Omit<Refused, 'count' | 'first_at' | 'last_at'>;
  /** Not given out yet. */
  count: number;
  firstAt: number;
  lastAt: number;
  /** The first of the minute was given out. */
  given: boolean;
}

export class Refusals {
  readonly #kernel: Kernel;
  readonly #rooms: Readonly<Record<Room, Map<string, Kind>>> = {
    known: new Map(),
    strangers: new Map(),
    together: new Map(),
  };
  /** Kinds that each source has, by how much of them is kept. Never more entries than kinds. */
  readonly #ofSource = new Map<string, number>();
  #minute: number;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.#minute = minuteOf(kernel.now());
  }

  add(asked: Asked, code: Code): void {
    const now = this.#kernel.now();
    const kind = this.#kindOf(asked, code);
    if (kind.count === 0) kind.firstAt = now;
    kind.count++;
    kind.lastAt = now;
  }

  /** What is to be written now: what is new of its kind, and at the end of the minute all. */
  due(): Fact[] {
    const minute = minuteOf(this.#kernel.now());
    if (minute === this.#minute) return this.#take((kind) => !kind.given);
    this.#minute = minute;
    return this.all();
  }

  /** Everything that was not given out yet. The next of each kind counts as its first again. */
  all(): Fact[] {
    const facts = this.#take(() => true);
    for (const kinds of Object.values(this.#rooms)) kinds.clear();
    this.#ofSource.clear();
    return facts;
  }

  #kindOf({ identity, address, action, target: named }: Asked, code: Code): Kind {
    const actor = actorOf(identity);
    const stranger = identity.kind === 'anonymous';
    const room = stranger ? 'strangers' : 'known';
    const source = stranger ? networkOf(address) : actor;
    const target = code === 'rate_limited' ? '' : named; // who asks too much names as many as they like
    const ways: readonly Kind['what'][] = [
      { actor, address, action, target, code },
      { actor, address, action, target: '', code },
      { actor, address: stranger ? address : '', action: various, target: '', code: various },
    ];
    for (const [way, what] of ways.entries()) {
      const kind = this.#ofItsOwn(room, source, way, what);
      if (kind) return kind;
    }
    return (
      this.#find('together', { actor: stranger ? actor : various, address: '', action, target: '', code }) ??
      this.#make('together', { actor: various, address: '', action: various, target: '', code: various })
    );
  }

  /** The kind in its room, made where there is none and its source has not too many of them. */
  #ofItsOwn(room: Room, source: string, way: number, what: Kind['what']): Kind | undefined {
    const counted = `${room} ${way} ${source}`;
    const made = this.#ofSource.get(counted) ?? 0;
    if (made >= sourceLimits[way]!) return this.#rooms[room].get(keyOf(what));
    const before = this.#rooms[room].size;
    const kind = this.#find(room, what);
    if (this.#rooms[room].size > before) this.#ofSource.set(counted, made + 1);
    return kind;
  }

  /** The kind in its room, made where there is none and room for it. */
  #find(room: Room, what: Kind['what']): Kind | undefined {
    const known = this.#rooms[room].get(keyOf(what));
    return known ?? (this.#rooms[room].size < kindsLimit[room] ? this.#make(room, what) : undefined);
  }

  #make(room: Room, what: Kind['what']): Kind {
    const key = keyOf(what);
    const kind = this.#rooms[room].get(key) ?? { what, count: 0, firstAt: 0, lastAt: 0, given: false };
    this.#rooms[room].set(key, kind);
    return kind;
  }

  #take(wanted: (kind: Kind) => boolean): Fact[] {
    const facts: Fact[] = [];
    for (const kinds of Object.values(this.#rooms)) {
      for (const kind of kinds.values()) {
        if (kind.count === 0 || !wanted(kind)) continue;
        const times = { first_at: isoTime(kind.firstAt), last_at: isoTime(kind.lastAt) };
        facts.push({ type: 'audit.refused', data: { ...kind.what, count: kind.count, ...times } });
        kind.count = 0;
        kind.given = true;
      }
    }
    return facts;
  }
}

function keyOf({ actor, address, action, target, code }: Kind['what']): string {
  return JSON.stringify([actor, address, action, target, code]);
}
