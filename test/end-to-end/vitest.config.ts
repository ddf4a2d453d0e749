import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/end-to-end/**/*.test.ts'],
    globalSetup: ['test/end-to-end/package-extension.ts'],
    testTimeout: 180_000,
    hookTimeout: 180_000,
    fileParallelism: false,
    // A later step would only fail because an earlier one did.
    bail: 1,
  },
});
