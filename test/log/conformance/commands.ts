/** Commands known by id: asked again, the log answers what was answered before. */
import { expect, it } from 'vitest';
import type { CommandRecord } from '../../../src/events/log.ts';
import { fact, facts, kernel, stream, type TheLog, written } from './facts.ts';

function command(over: Partial<CommandRecord> = {}): CommandRecord {
  return { id: kernel.uuid(), bodyHash: 'abc', reply: '{"ok":true}', time: '2030-01-01T00:00:00.000Z', ...over };
}

export function commands(log: TheLog): void {
  it('finds a command with the position of its last event', async () => {
    const asked = command();
    const { position } = await written(log().append(stream(), 'any', facts(3), asked));
    expect(await log().findCommand(asked.id)).toEqual({ ...asked, position });
  });

  it('finds nothing for a command that was never written', async () => {
    expect(await log().findCommand(kernel.uuid())).toBeUndefined();
  });

  it('answers a command asked again with its record, and writes nothing', async () => {
    const name = stream();
    const asked = command();
    const { position } = await written(log().append(name, 'any', facts(2), asked));
    const head = await log().head();
    const again = await log().append(name, 'any', [fact()], asked);
    expect(again).toEqual({ status: 'duplicate', position, revision: 1, command: { ...asked, position } });
    expect(await log().head()).toBe(head);
  });

  it('answers the same id with another body with the first record, whose hash tells', async () => {
    const asked = command();
    await written(log().append(stream(), 'any', [fact()], asked));
    const other = command({ id: asked.id, bodyHash: 'other', reply: '{"other":true}' });
    const again = await log().append(stream(), 'any', [fact()], other);
    expect(again).toMatchObject({ status: 'duplicate', command: { bodyHash: 'abc', reply: '{"ok":true}' } });
  });

  it('judges the command before what is expected of the stream', async () => {
    const name = stream();
    const asked = command();
    await written(log().append(name, 'noStream', [fact()], asked));
    expect(await log().append(name, 'noStream', [fact()], asked)).toMatchObject({ status: 'duplicate', revision: 0 });
  });

  it('keeps no record of a command in conflict', async () => {
    const asked = command();
    expect(await log().append(stream(), 'exists', [fact()], asked)).toMatchObject({ status: 'conflict' });
    expect(await log().findCommand(asked.id)).toBeUndefined();
    await written(log().append(stream(), 'noStream', [fact()], asked));
  });

  it('keeps no record of a command whose events are in the log already', async () => {
    const event = fact();
    await written(log().append(stream(), 'any', [event]));
    const asked = command();
    const verdict = await log().append(stream(), 'any', [event], asked);
    expect(verdict).toMatchObject({ status: 'duplicate' });
    expect(verdict).not.toHaveProperty('command');
    expect(await log().findCommand(asked.id)).toBeUndefined();
  });

  it('writes one of two appends with the same command at once, and answers the other with it', async () => {
    const asked = command();
    const verdicts = await Promise.all([
      log().append(stream(), 'noStream', [fact()], asked),
      log().append(stream(), 'noStream', [fact()], asked),
    ]);
    const first = verdicts.find((verdict) => verdict.status === 'written');
    const other = verdicts.find((verdict) => verdict.status === 'duplicate');
    expect(other).toMatchObject({ command: { id: asked.id }, position: (first as { position: number }).position });
  });

  it('answers a crowd that asks the same of one stream alike', async () => {
    const name = stream();
    const asked = command();
    const verdicts = await Promise.all(Array.from({ length: 20 }, () => log().append(name, 'any', [fact()], asked)));
    expect(verdicts.filter((verdict) => verdict.status === 'written')).toHaveLength(1);
    expect(await log().readStream(name, 0, 100)).toHaveLength(1);
  });

  it('keeps a reply that is withheld as null, and the text of others as it is', async () => {
    const secret = command({ reply: null });
    const spaced = command({ reply: '{ "ü" :\n"\\u0000 \u{1F41D}" }' });
    await written(log().append(stream(), 'any', [fact()], secret));
    await written(log().append(stream(), 'any', [fact()], spaced));
    expect(await log().findCommand(secret.id)).toMatchObject({ reply: null });
    expect(await log().findCommand(spaced.id)).toMatchObject({ reply: spaced.reply });
  });

  it('knows commands of transient streams too', async () => {
    const name = stream('heartbeat');
    const asked = command();
    const { position } = await written(log().append(name, 'any', [fact()], asked));
    expect(await log().append(name, 'any', [fact()], asked)).toMatchObject({ status: 'duplicate', position });
    expect(await log().readStream(name, 0, 10)).toHaveLength(1);
  });

  it('forgets the commands older than a time, and no others', async () => {
    const old = [command({ time: '2001-01-01T00:00:00.000Z' }), command({ time: '2001-01-02T00:00:00.000Z' })];
    const edge = command({ time: '2001-01-03T00:00:00.000Z' });
    for (const asked of [...old, edge]) await written(log().append(stream(), 'any', [fact()], asked));
    expect(await log().forgetCommands('2001-01-03T00:00:00.000Z')).toBe(2);
    expect(await log().forgetCommands('2001-01-03T00:00:00.000Z')).toBe(0);
    expect(await log().findCommand(old[0]!.id)).toBeUndefined();
    expect(await log().findCommand(edge.id)).toBeDefined();
    await written(log().append(stream(), 'any', [fact()], old[0]));
  });
}
