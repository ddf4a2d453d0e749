import { describe, expect, it } from 'vitest';
import type { QueueProgress } from '../../../src/protocol/queue-messages.js';
import { workerCommand } from '../../../src/words/next-steps.js';
import { queueEndInWords, queueInWords } from '../../../src/words/queue-words.js';

const NONE: QueueProgress = {
  jobs: 5,
  waiting: 0,
  running: 0,
  delayed: 0,
  done: 5,
  failed: 0,
  missing: 0,
  dead: [],
  workers: 1,
  isAway: false,
};
const dead = [{ gradients: 'a/g.pt', reason: 'g.pt: found NaN; expected numbers. Capture it again.' }];

describe('jobs in a queue', () => {
  it('are told by where they are, and not at all where all are done', () => {
    expect(queueInWords(NONE)).toBe('');
    expect(queueInWords({ ...NONE, waiting: 2, running: 1, delayed: 1, failed: 1, done: 0 })).toBe(
      '2 waiting, 1 running, 1 to be tried again, 1 failed',
    );
    expect(queueInWords({ ...NONE, waiting: 1, missing: 3, isAway: true })).toBe(
      '1 waiting, 3 in the queue no more, without a result, the server does not answer',
    );
  });

  it('end with how many are done, and why the first of the others is not', () => {
    expect(queueEndInWords(NONE, '/store')).toBe('5 of 5 jobs of the queue are done.');
    expect(queueEndInWords({ ...NONE, jobs: 1, done: 1 }, '/store')).toBe('1 of 1 job of the queue is done.');
    expect(queueEndInWords({ ...NONE, done: 4, failed: 1, dead }, '/store')).toBe(
      '4 of 5 jobs of the queue are done. 1 failed (a/g.pt): g.pt: found NaN; expected numbers. Capture it again.',
    );
    const named = [{ gradients: 'a/g.pt', reason: '/work/a/g.pt: found NaN.' }];
    expect(queueEndInWords({ ...NONE, done: 4, failed: 1, dead: named }, '/store')).toMatch(
      / 1 failed: \/work\/a\/g\.pt:/,
    );
    expect(queueEndInWords({ ...NONE, done: 3, failed: 2, dead: named }, '/store')).toMatch(
      / 2 failed, the first: \/work/,
    );
    const two = [{ gradients: 'a/g.pt', reason: 'Cancelled' }, ...dead];
    expect(queueEndInWords({ ...NONE, done: 3, failed: 2, dead: two }, '/store')).toBe(
      '3 of 5 jobs of the queue are done. 2 failed, the first being a/g.pt: Cancelled.',
    );
    expect(queueEndInWords({ ...NONE, done: 4, missing: 1 }, 's3://b/store')).toContain(
      '1 is in the queue no more and has no result in s3://b/store: cancelled, or',
    );
  });
});

describe("a worker's command", () => {
  it.each([
    ['/data/store', 'gradleak queue work --out /data/store'],
    ['s3://bucket/store', 'gradleak queue work --out s3://bucket/store'],
    ["/it's here; rm -rf ~", `gradleak queue work --out '/it'\\''s here; rm -rf ~'`],
  ])('is one for a shell, whatever the store is called: %s', (store, command) => {
    expect(workerCommand(store)).toBe(command);
  });
});
