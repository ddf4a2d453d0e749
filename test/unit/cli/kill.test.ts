import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KillTest } from '../../kill/rounds.js';

/** A few of the rounds of `npm run kill`, at fixed times within the run. */

describe.skipIf(process.platform === 'win32').each(['project', 'single'] as const)('a stopped audit: %s', (kind) => {
  const test = new KillTest(kind);
  beforeAll(() => test.prepare());
  afterAll(() => {
    test.dispose();
  });

  it.each([
    ['SIGKILL', 0.4, 0],
    ['SIGINT', 0.7, 1],
  ] as const)('by %s after %f of its time goes on where it was', async (signal, when, toAll) => {
    const random = [when, 1 - toAll];
    const { problems } = await test.round(signal, () => random.shift() ?? 0);
    expect(problems).toEqual([]);
  });
});
