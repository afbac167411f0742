/** Mail against a hub that sends again what was not acknowledged: handed over once, in order, and acknowledged no further than it was handled. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { NodeClock } from '../../src/client/clock.ts';
import { type AnyHubPacket, HubRefusal, HubUnreachable } from '../../src/client/connection.ts';
import { Mail } from '../../src/client/mail.ts';
import { type Line, Sender } from '../../src/client/sender.ts';

const time = '2026-01-01T00:00:00.000Z';
const uuid = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

/** A clock that stands still until it is moved. */
class StillClock implements NodeClock {
  #now = 0;
  #timers: { at: number; fn: () => void }[] = [];

  monotonicMs = () => this.#now;
  random = () => 0.5;
  after = (ms: number, fn: () => void) => {
    const timer = { at: this.#now + ms, fn };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  };

  async move(ms: number): Promise<void> {
    const until = this.#now + ms;
    for (;;) {
      await settled();
      const next = this.#timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#now = next.at;
      next.fn();
    }
    this.#now = until;
  }
}

/** All that is under way and waits for no clock has gone as far as it can. */
const settled = () => new Promise<void>((resolve) => void setImmediate(resolve));

interface Letter {
  readonly position: number;
  readonly sender: string;
  readonly kind: 'message' | 'task' | 'state';
}

/** What the hub knows of one node's mail, and one node's mail that speaks to it over a line that can be cut. */
class World {
  readonly clock = new StillClock();
  readonly mail: Mail;
  readonly letters: Letter[] = [];
  readonly acks: number[] = [];
  readonly refused: string[] = [];
  readonly told: number[] = [];
  readonly trouble: Error[] = [];
  restarts = 0;
  listens = false;
  onAck = (_through: number) => {};
  /** The hub's word for the next acknowledgement. */
  next: 'answer' | 'lose' | 'lose the answer' | 'refuse' = 'answer';
  /** As the hub has it. */
  through = 0;
  #sent = 0;
  #open = false;
  #session = 0;
  /** How long an acknowledgement takes to be answered, and how many are under way. */
  readonly #latencyMs: number;
  #acking = 0;
  mostAcking = 0;

  constructor(latencyMs = 0) {
    this.#latencyMs = latencyMs;
    const line: Line = {
      nodeId: 'alpha',
      url: 'http://127.0.0.1',
      clock: this.clock,
      token: () => (this.#open ? 'token' : undefined),
      ask: async (name, packet) => (await this.#answer(name, packet as Record<string, unknown>)) as never,
      trouble: (error) => this.trouble.push(error),
    };
    const sender = new Sender(line);
    this.mail = new Mail(line, sender, {
      listens: () => this.listens,
      message: ({ position }) => this.told.push(position ?? -1),
      state: ({ position }) => this.told.push(position),
      finished: ({ position }) => this.told.push(position),
      file: ({ position }) => this.told.push(position),
      stuck: () => {},
      restart: () => {
        this.restarts++;
        this.cut();
      },
    });
  }

  open(): void {
    if (this.#open) return;
    this.#open = true;
    this.#session++;
    this.#acking = 0;
    this.#sent = this.through;
    this.mail.opened();
    this.push();
  }

  cut(): void {
    this.#open = false;
    this.mail.dropped();
  }

  write(letter: Omit<Letter, 'position'>, gap = 1): void {
    this.letters.push({ ...letter, position: (this.letters.at(-1)?.position ?? 0) + gap });
    this.push();
  }

  /** As a hub does: in order, and at most so many beyond what was acknowledged. */
  push(window = 256): void {
    const due = this.letters.filter(({ position }) => position > this.through).slice(0, window);
    for (const letter of due) {
      if (!this.#open || letter.position <= this.#sent) continue;
      this.#sent = letter.position;
      this.mail.hear(packetOf(letter));
    }
  }

  /** What was not acknowledged comes again, though the session goes on. */
  pushAgain(): void {
    this.#sent = this.through;
    this.push();
  }

  async #answer(name: string, packet: Record<string, unknown>): Promise<object> {
    if (!this.#open) throw new HubUnreachable('cut');
    if (name === 'federation:message:refuse') this.refused.push(String(packet.message_id));
    return name === 'federation:message:ack' ? this.#acknowledged(Number(packet.through)) : {};
  }

  async #acknowledged(through: number): Promise<object> {
    const [what, session] = [this.next, this.#session];
    this.next = 'answer';
    this.acks.push(through);
    this.onAck(through);
    this.mostAcking = Math.max(this.mostAcking, ++this.#acking);
    if (what === 'answer' || what === 'lose the answer') {
      this.through = Math.max(this.through, through);
      this.push();
    }
    if (this.#latencyMs > 0) await new Promise<void>((resolve) => void this.clock.after(this.#latencyMs, resolve));
    if (session !== this.#session) throw new HubUnreachable('cut');
    this.#acking--;
    if (what === 'refuse') throw new HubRefusal('overloaded', 'not now', { retry_after_ms: 100 });
    if (what !== 'answer') throw new HubUnreachable('lost');
    return { through };
  }
}

function packetOf({ position, sender, kind }: Letter): AnyHubPacket {
  const message_id = uuid(position);
  switch (kind) {
    case 'message':
      return {
        name: 'federation:message',
        packet: {
          message_id,
          from: `node:${sender}`,
          to: { node: 'alpha' },
          content: position,
          sent_at: time,
          position,
        },
      };
    case 'task':
      return {
        name: 'federation:task:finished',
        packet: { position, time, task_id: `t${position}`, status: 'completed' },
      };
    case 'state':
      return {
        name: 'federation:message:state',
        packet: { position, time, message_id, state: 'expired', nodes: ['b'], others: 0 },
      };
  }
}

const letter = fc.record({
  sender: fc.constantFrom('a', 'b', 'c'),
  kind: fc.constantFrom('message', 'message', 'message', 'task', 'state') as fc.Arbitrary<Letter['kind']>,
  gap: fc.integer({ min: 1, max: 3 }),
  /** How often its handler throws, and how long it takes. */
  throws: fc.constantFrom(0, 0, 0, 1, 2, 5),
  takesMs: fc.constantFrom(0, 0, 30, 3_000),
});
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('write' as const), letters: fc.array(letter, { maxLength: 8 }) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(1, 30, 700, 5_000) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('cut' as const, 'open' as const, 'push again' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('spoil' as const),
      how: fc.constantFrom('lose' as const, 'lose the answer' as const, 'refuse' as const),
    }),
  },
);

test('whatever is lost, comes again or fails, each message is handed over once, in order a sender, and acks pass none that is not handled', async () => {
  const lives = fc.asyncProperty(
    fc.array(step, { maxLength: 40 }),
    fc.constantFrom(1, 3),
    fc.constantFrom(0, 10, 1_000),
    async (steps, concurrency, latencyMs) => {
      const world = new World(latencyMs);
      const plans = new Map<number, { throws: number; takesMs: number }>();
      const [begun, done] = [new Map<string, number[]>(), new Set<number>()];
      let [under, most] = [0, 0];
      world.mail.messages(
        async (message) => {
          const position = message.position!;
          const plan = plans.get(position)!;
          most = Math.max(most, ++under);
          const theirs = begun.get(message.from) ?? [];
          if (theirs.at(-1) !== position) theirs.push(position); // another try is no other message
          begun.set(message.from, theirs);
          if (plan.takesMs > 0) await new Promise<void>((resolve) => void world.clock.after(plan.takesMs, resolve));
          under--;
          if (plan.throws-- > 0) throw new Error(`not this time: ${position}`);
          expect(done).not.toContain(position);
          done.add(position);
        },
        { concurrency },
      );
      const unhandled = () => {
        const handled = new Set([...done, ...world.told]);
        const isOpen = ({ position }: Letter) => !handled.has(position) && !world.refused.includes(uuid(position));
        return world.letters.filter(isOpen).map(({ position }) => position);
      };
      const passed: number[] = [];
      world.onAck = (through) => passed.push(...unhandled().filter((position) => position <= through));
      world.open();
      for (const it of steps) {
        if (it.do === 'cut') world.cut();
        else if (it.do === 'open') world.open();
        else if (it.do === 'push again') world.pushAgain();
        else if (it.do === 'wait') await world.clock.move(it.ms);
        else if (it.do === 'spoil') world.next = it.how;
        else if (it.do === 'write')
          for (const { gap, throws, takesMs, ...written } of it.letters) {
            plans.set((world.letters.at(-1)?.position ?? 0) + gap, { throws, takesMs });
            world.write(written, gap);
          }
        await settled();
      }
      world.open();
      await world.clock.move(3_600_000);
      expect([passed, unhandled()]).toEqual([[], []]);
      expect(most).toBeLessThanOrEqual(concurrency);
      expect(world.mostAcking).toBeLessThanOrEqual(1);
      expect(world.through).toBe(world.letters.at(-1)?.position ?? 0); // all of it is acknowledged
      for (const sender of ['a', 'b', 'c']) {
        const sent = world.letters.filter((it) => it.kind === 'message' && it.sender === sender);
        expect(begun.get(`node:${sender}`) ?? []).toEqual(sent.map(({ position }) => position));
      }
      const others = world.letters.filter(({ kind }) => kind !== 'message');
      expect(world.told).toEqual(others.map(({ position }) => position));
      const hopeless = world.letters.filter(({ position, kind }) => kind === 'message' && !done.has(position));
      expect(world.refused).toHaveLength(hopeless.length);
    },
  );
  await fc.assert(lives, { numRuns: 400 });
}, 120_000);

test('acknowledges a window of 64 at once, and what is less 25 ms after the first', async () => {
  const world = new World();
  world.mail.messages(() => {}, {});
  world.open();
  for (let n = 0; n < 64; n++) world.write({ sender: 'a', kind: 'message' });
  await settled();
  expect(world.acks).toEqual([64]);
  world.write({ sender: 'a', kind: 'message' });
  await world.clock.move(20);
  world.write({ sender: 'a', kind: 'message' });
  await world.clock.move(4);
  expect(world.acks).toEqual([64]);
  await world.clock.move(1);
  expect(world.acks).toEqual([64, 66]);
});

test('goes on trying until its patience is at its end, and not a moment less', async () => {
  const world = new World();
  const [first, second] = [world.mail.send('b', 1, {}), world.mail.send('c', 2, { timeoutMs: 50_000 })];
  const late = expect(second).rejects.toThrow(HubUnreachable);
  await world.clock.move(59_900);
  await late;
  world.open();
  await world.clock.move(100);
  await expect(first).resolves.toBeDefined();
});

test('sends nothing that would end the connection, and takes no handler that is none', async () => {
  const world = new World();
  world.open();
  const send = world.mail.send('b', 1, { correlationId: 'x'.repeat(400_000) });
  await expect(send).rejects.toMatchObject({ code: 'payload_too_large' });
  expect(() => world.mail.messages('later' as never, {})).toThrow(TypeError);
});

test('leaves messages with the hub until somebody takes them, and holds no more than a thousand', async () => {
  const world = new World();
  world.open();
  for (let n = 0; n < 1_100; n++) world.write({ sender: 'a', kind: 'message' });
  world.push(2_000); // a hub that knows no window
  await world.clock.move(1_000);
  expect([world.acks, world.told, world.restarts]).toEqual([[], [], 1]);
  world.open();
  world.listens = true;
  world.mail.listened();
  await world.clock.move(1_000);
  expect(world.told).toEqual(world.letters.map(({ position }) => position));
  expect([world.through, world.restarts]).toEqual([1_100, 1]);
});

test('takes mail of a log that was restored for what it is: new, though its positions came before', async () => {
  const world = new World();
  const got: unknown[] = [];
  world.mail.messages(({ message_id }) => got.push(message_id), {});
  world.open();
  for (let n = 0; n < 5; n++) world.write({ sender: 'a', kind: 'message' });
  await world.clock.move(1_000);
  world.cut();
  world.letters.splice(2); // the backup was older
  world.through = 2;
  world.open();
  const other = uuid(999);
  world.mail.hear({
    name: 'federation:message',
    packet: { message_id: other, from: 'node:a', to: { node: 'alpha' }, content: 'new', sent_at: time, position: 3 },
  });
  await world.clock.move(1_000);
  expect(got).toEqual([1, 2, 3, 4, 5].map(uuid).concat(other));
  expect(world.acks.at(-1)).toBe(3);
});

test('acknowledges no more in a session than came in it', async () => {
  const world = new World();
  let finish = () => {};
  world.mail.messages(
    () =>
      new Promise<void>((resolve) => {
        finish = resolve;
      }),
    {},
  );
  world.open();
  world.write({ sender: 'a', kind: 'message' });
  await settled();
  world.cut();
  world.letters.pop(); // the hub that comes next does not know it
  finish();
  world.open();
  await world.clock.move(60_000);
  expect(world.acks).toEqual([]);
});

test('acknowledges again, and hands over no second time, what a hub sends again that was not told', async () => {
  const world = new World();
  const got: unknown[] = [];
  world.mail.messages(({ position }) => got.push(position), {});
  world.open();
  for (let n = 0; n < 3; n++) world.write({ sender: 'a', kind: 'message' });
  await world.clock.move(100);
  world.through = 1; // another replica is a moment behind
  world.pushAgain();
  await world.clock.move(100);
  expect([got, world.acks, world.through]).toEqual([[1, 2, 3], [3, 3], 3]);
});

test('takes no answer of the session before for one of this', async () => {
  const world = new World(1_000);
  world.mail.messages(() => {}, {});
  world.open();
  world.write({ sender: 'a', kind: 'message' });
  world.next = 'lose';
  await world.clock.move(900); // an acknowledgement is under way, and lost
  world.cut();
  world.open();
  await world.clock.move(50);
  expect(world.acks).toEqual([1, 1]);
  await world.clock.move(200); // here the first of them fails
  world.write({ sender: 'a', kind: 'message' });
  await world.clock.move(100);
  expect(world.acks).toEqual([1, 1]); // the second is under way still
  await world.clock.move(5_000);
  expect([world.acks, world.through]).toEqual([[1, 1, 2], 2]);
});
