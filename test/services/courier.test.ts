/** Mail on its way to a node that is here: what goes past messages that nobody takes, and that nothing is lost by it. */
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { processClock } from '../../src/client/clock.ts';
import { MailWindow, type Piece } from '../../src/client/mail-window.ts';
import { createKernel } from '../../src/kernel.ts';
import { Courier } from '../../src/services/offline-queue/courier.ts';
import { type Letter, letterOf, Mailroom, noticeOf } from '../../src/services/offline-queue/mailroom.ts';
import { untraced } from '../../src/tracing.ts';

const expires_at = '2027-01-01T00:00:00.000Z';

/** The mail of `ada`, whose socket is here, and her side of it as the SDK has it: notices are handled at once, messages when she takes them. */
class World {
  readonly got: number[] = [];
  /** Notices that were handled here. */
  readonly heard: number[] = [];
  readonly taken: number[] = [];
  /** Acknowledged by her without having been handled. */
  readonly lost: number[] = [];
  takes = false;
  readonly #parked: { piece: Piece; position: number }[] = [];
  readonly #kinds = new Map<number, Letter['kind']>();
  readonly #room: Mailroom;
  readonly #courier: Courier;
  readonly #window: MailWindow;
  #last = 1;

  constructor(latencyMs = 1) {
    const kernel = createKernel({ logLevel: 'silent' });
    const members = { since: () => 0, channel: () => [], role: () => [], all: () => [['ada', 0] as const] };
    this.#room = new Mailroom(
      members,
      () => this.#courier.kick(),
      () => this.#courier.moved(),
    );
    const parts = {
      room: this.#room,
      clearance: { of: async (_nodeId: string, letters: readonly Letter[]) => [...letters] },
      contents: {
        of: async (_nodeId: string, letters: readonly Letter[]) =>
          letters.map(({ position }) => ({
            name: 'federation:message' as const,
            position,
            packet: { message_id: '', from: '', to: { node: 'ada' }, content: 1, sent_at: '', position },
          })),
      },
    };
    const tell = (_nodeId: string, _name: string, packet: unknown) => this.#hear(packet as { position: number });
    this.#courier = new Courier({ kernel, tracing: untraced }, { tell }, parts, 'ada');
    this.#window = new MailWindow({
      clock: processClock,
      acknowledge: async (through) => {
        await kernel.sleep(1);
        this.acknowledge(through);
        await kernel.sleep(latencyMs);
      },
      trouble: (error) => {
        throw error;
      },
      overflow: () => {},
      stuck: () => {},
    });
    this.#window.opened();
  }

  get waiting(): number {
    return this.#room.box('ada').size;
  }

  write(kind: Letter['kind']): number {
    const position = ++this.#last;
    this.#kinds.set(position, kind);
    const about = { message_id: '', box: 'node:ada', to: { node: 'ada' }, from: 'node:bob', bytes: 1, expires_at };
    const letter =
      kind === 'message' ? letterOf(about, position) : noticeOf(kind, `${position}`, 'ada', position, Date.now());
    this.#room.put('ada', letter);
    return position;
  }

  /** As the hub takes it: not what it has not handed over. */
  acknowledge(through: number): void {
    const handed = this.#room.box('ada').lastUpTo(Math.min(through, this.#courier.furthest));
    if (handed === undefined) return;
    const handled = new Set([...this.heard, ...this.taken]);
    for (const { position } of this.#room.box('ada').all())
      if (position <= handed && !handled.has(position)) this.lost.push(position);
    this.#room.delivered('ada', handed);
  }

  /** She takes messages from now on, or leaves them again. */
  take(takes: boolean): void {
    this.takes = takes;
    if (takes) for (const { piece, position } of this.#parked.splice(0)) this.#handle(piece, position);
  }

  close(): void {
    this.#courier.close();
    void this.#window.close(0);
  }

  #hear({ position }: { position: number }): boolean {
    this.got.push(position);
    const piece = this.#window.take(position, `${position}`);
    if (!piece) return true;
    const isMessage = this.#kinds.get(position) === 'message';
    if (isMessage && !this.takes) this.#parked.push({ piece, position });
    else this.#handle(piece, position);
    return true;
  }

  #handle(piece: Piece, position: number): void {
    (this.#kinds.get(position) === 'message' ? this.taken : this.heard).push(position);
    this.#window.handled(piece);
  }
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] }));
afterEach(() => void vi.useRealTimers());

const run = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe('a node that takes no messages', () => {
  it('hears of ends of tasks all the same, a few seconds after no more messages fit', async () => {
    const world = new World();
    for (let at = 0; at < 300; at++) world.write('message');
    await run(1_000);
    const end = world.write('task');
    await run(3_000);
    expect([world.got.length, world.heard]).toEqual([256, []]);
    await run(2_000);
    expect(world.heard).toEqual([end]);
    const later = world.write('state'); // at once by now
    await run(10);
    expect(world.heard).toEqual([end, later]);
    world.close();
  });

  it('has acknowledged none of the messages that they went past, and gets all of them when it takes some', async () => {
    const world = new World();
    const messages = Array.from({ length: 300 }, () => world.write('message'));
    const end = world.write('task');
    await run(6_000);
    expect(world.waiting).toBe(301);
    world.take(true);
    await run(1_000);
    expect([world.taken, world.heard, world.waiting, world.lost]).toEqual([messages, [end], 0, []]);
    world.close();
  });

  it('is told of 256 at most, and of none twice before it is told all of it again', async () => {
    const world = new World();
    for (let at = 0; at < 300; at++) world.write('message');
    for (let at = 0; at < 300; at++) world.write('task');
    await run(20_000);
    expect([world.got.length, world.heard.length]).toEqual([512, 256]);
    await run(15_000);
    expect([world.got.length, world.heard.length]).toEqual([1_024, 256]);
    world.close();
  });
});

it('whenever a node takes messages and leaves them, it gets each piece once, and acknowledges none that it did not handle', async () => {
  const step = fc.oneof(
    fc.record({ write: fc.constantFrom('message' as const, 'task' as const, 'state' as const), many: fc.nat(400) }),
    fc.record({ takes: fc.boolean() }),
    fc.record({ ms: fc.constantFrom(1, 30, 5_000, 40_000) }),
  );
  const lives = fc.asyncProperty(
    fc.array(step, { maxLength: 12 }),
    fc.constantFrom(1, 100),
    async (steps, latencyMs) => {
      const world = new World(latencyMs);
      const written: number[] = [];
      let messages = 0;
      for (const it of steps) {
        if ('takes' in it) world.take(it.takes);
        else if ('ms' in it) await run(it.ms);
        else
          for (let at = 0; at < it.many && (it.write !== 'message' || messages < 1_000); at++) {
            written.push(world.write(it.write));
            if (it.write === 'message') messages++;
          }
      }
      world.take(true);
      await run(20_000); // nothing has to be told again
      expect([...world.heard, ...world.taken].sort((a, b) => a - b)).toEqual(written);
      expect(world.taken).toEqual([...world.taken].sort((a, b) => a - b));
      expect([world.waiting, world.lost]).toEqual([0, []]);
      world.close();
    },
  );
  await fc.assert(lives, { numRuns: 200 });
}, 60_000);
