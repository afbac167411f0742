/** Parts of a call that come in another order than they were sent in. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cut, InOrder, partBytes, Window } from '../../src/call-parts.ts';

describe('parts of a call', () => {
  it('come out in the order they were sent in, however they were mixed on the way', () => {
    const mixed = fc.array(fc.nat(2), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(mixed, (choices) => {
        const order = new InOrder<{ seq: number }>();
        const out: number[] = [];
        let sent = 0;
        const onTheWay: { seq: number }[] = [];
        for (const choice of choices) {
          while (onTheWay.length < 3) onTheWay.push({ seq: sent++ }); // three are sent ahead of the first acknowledgement
          const [part] = onTheWay.splice(choice % onTheWay.length, 1);
          out.push(...order.take(part!)!.map(({ seq }) => seq));
          while (order.isEarly(part!) && onTheWay.length > 0) {
            out.push(...order.take(onTheWay.shift()!)!.map(({ seq }) => seq)); // it is acknowledged when its turn came
          }
        }
        expect(out).toEqual(out.map((_, at) => at));
      }),
    );
  });

  it('are refused when they came before or are too far ahead', () => {
    const order = new InOrder<{ seq: number }>();
    expect(order.take({ seq: 0 })).toEqual([{ seq: 0 }]);
    expect(order.take({ seq: 0 })).toBeUndefined();
    expect(order.take({ seq: 2 })).toEqual([]);
    expect(order.take({ seq: 2 })).toBeUndefined();
    expect(order.take({ seq: 100 })).toBeUndefined();
    expect(order.take({ seq: 1 })).toEqual([{ seq: 1 }, { seq: 2 }]);
  });

  it('are of a size that a packet takes, and lose nothing', () => {
    const bytes = Buffer.alloc(3 * partBytes + 1, 'x');
    const parts = [...cut(bytes)];
    expect(parts.map(({ length }) => length)).toEqual([partBytes, partBytes, partBytes, 1]);
    expect(Buffer.concat(parts).equals(bytes)).toBe(true);
    expect([...cut(Buffer.alloc(0))]).toEqual([]);
  });

  it('are sent three at a time, and stop when one fails', async () => {
    const window = new Window();
    const settle: { done(): void; fail(error: Error): void }[] = [];
    const sending = () => new Promise<void>((done, fail) => void settle.push({ done, fail }));
    await window.send(sending());
    await window.send(sending());
    let room = false;
    const third = window.send(sending()).then(() => {
      room = true;
    });
    await Promise.resolve();
    expect(room).toBe(false);
    settle[1]!.done();
    await third;
    settle[0]!.fail(new Error('lost'));
    await expect(window.send(sending())).rejects.toThrow('lost');
    settle[2]!.done();
    settle[3]!.done();
    await expect(window.drain()).rejects.toThrow('lost');
  });
});
