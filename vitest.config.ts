import { defineConfig } from 'vitest/config';

// Worker threads are started from sources here, so the processes of the tests load TypeScript through tsx.
const execArgv = ['--import', 'tsx'];

export default defineConfig({
  test: {
    pool: 'forks',
    execArgv,
    globalSetup: './test/setup/global.ts',
    testTimeout: 30_000,
    hookTimeout: 60_000,
    projects: [
      { extends: true, test: { name: 'behaviour', include: ['test/**/*.test.ts'], exclude: ['test/faults/**'] } },
      {
        extends: true,
        test: { name: 'faults', include: ['test/faults/**/*.test.ts'], testTimeout: 300_000, fileParallelism: false },
      },
    ],
  },
});
