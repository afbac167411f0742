/** Processes of the benchmark's own, and how they are asked things: what measures must not share a loop with what is measured. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

/** What a process can be asked. Arguments and answers are JSON. */
type Questions = Record<string, (...args: never[]) => unknown>;

type Answer = { readonly id: number } & ({ readonly value: unknown } | { readonly failure: string });

export interface Child<Q extends Questions> {
  readonly process: ChildProcess;
  /** Rejects when the process fails or ends. */
  ask<K extends keyof Q & string>(question: K, ...args: Parameters<Q[K]>): Promise<Awaited<ReturnType<Q[K]>>>;
  /** Ends it, by force if it takes longer than five seconds. */
  stop(): Promise<void>;
}

const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;

/** Flags that make a process write where its time went, when `BENCH_PROFILES` names a folder for that. The figures suffer. */
export const profiling: readonly string[] = process.env.BENCH_PROFILES
  ? ['--cpu-prof', `--cpu-prof-dir=${process.env.BENCH_PROFILES}`]
  : [];

/** Starts a TypeScript module that calls `answerParent`. */
export function startChild<Q extends Questions>(module: URL): Child<Q> {
  return childOf<Q>(fork(module, { execArgv: ['--import', tsx, ...profiling] }));
}

/** Speaks to a process that was forked already. */
export function childOf<Q extends Questions>(child: ChildProcess): Child<Q> {
  const waiting = new Map<number, { resolve(value: never): void; reject(error: Error): void }>();
  let next = 0;
  let over: Error | undefined;
  const exited = once(child, 'exit');
  child.on('message', (answer: Answer) => {
    const asked = waiting.get(answer.id);
    waiting.delete(answer.id);
    if ('failure' in answer) asked?.reject(new Error(answer.failure));
    else asked?.resolve(answer.value as never); // what the question of this id was answered with
  });
  child.on('exit', (code, signal) => {
    over = new Error(`${child.spawnfile} ${child.spawnargs.at(-1)} ended with ${signal ?? code}`);
    for (const { reject } of waiting.values()) reject(over);
    waiting.clear();
  });
  return {
    process: child,
    ask: (question, ...args) =>
      new Promise((resolve, reject) => {
        if (over) return reject(over);
        const id = next++;
        waiting.set(id, { resolve, reject });
        child.send({ id, question, args });
      }),
    async stop() {
      if (over) return;
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await exited;
      clearTimeout(late);
    },
  };
}

/** The other side: answers what the parent asks, one after another as they finish. Ends with the parent. */
export function answerParent(answers: Questions): void {
  process.on('message', ({ id, question, args }: { id: number; question: string; args: never[] }) => {
    const answer = (answered: Answer) => void process.send?.(answered);
    Promise.resolve()
      .then(() => answers[question]!(...args))
      .then(
        (value) => answer({ id, value }),
        (error: unknown) =>
          answer({ id, failure: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
      );
  });
  for (const end of ['disconnect', 'SIGTERM']) process.on(end, () => process.exit(0)); // an exit writes profiles, a signal does not
}
