import { defineConfig } from 'vitest/config';

const execArgv = ['--import', new URL('./test/setup/built-threads.mjs', import.meta.url).href];

const globalSetup = './test/setup/global.ts'; // in the projects only: at the root it would run once more

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 3, // most of a test is waiting for a hub, a heartbeat or a lease
    execArgv,
    testTimeout: 30_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 10_000 } },
    retry: process.env.CI ? 1 : 0, // machines that others use too stand still at times, and many tests watch a clock
    projects: [
      {
        extends: true,
        test: {
          name: 'behaviour',
          globalSetup,
          include: ['test/**/*.test.ts'],
          exclude: ['test/faults/**'],
          isolate: false, // to load everything anew for each file would take a quarter of the time
        },
      },
      {
        extends: true,
        test: {
          name: 'faults',
          globalSetup,
          include: ['test/faults/**/*.test.ts'],
          testTimeout: 300_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
