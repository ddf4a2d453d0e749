import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/engines/**/*.test.ts'],
    // Software compiles every shader first.
    testTimeout: 300_000,
  },
});
