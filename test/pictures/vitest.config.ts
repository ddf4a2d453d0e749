import { defineConfig } from 'vitest/config';

/** Run by hand, with `npm run pictures`: what it leaves is committed. */
export default defineConfig({
  test: {
    include: ['test/pictures/take-pictures.ts'],
    globalSetup: ['test/end-to-end/package-extension.ts'],
    testTimeout: 600_000,
    hookTimeout: 300_000,
    bail: 1,
  },
});
