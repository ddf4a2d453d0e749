import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/unit/**/*.test.ts', 'test/fuzz/*.test.ts'],
    testTimeout: 60_000,
    // What runs in VS Code, a browser or a child process is covered by the other suites, and not counted here.
    coverage: {
      provider: 'v8',
      include: ['src/**'],
      exclude: ['src/extension/**'],
      reporter: ['text-summary', 'json-summary'],
      reportsDirectory: 'out/coverage',
    },
  },
});
