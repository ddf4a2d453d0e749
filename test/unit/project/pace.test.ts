import { expect, it } from 'vitest';
import { Pace } from '../../../src/project/pace.js';

/** A clock that only work moves on. */
function paced(cost: number, rest: number): number {
  let time = 0;
  let acts = 0;
  const pace = new Pace(() => time);
  for (let at = 0; at < 100; at++) {
    pace.act(() => {
      acts++;
      time += cost;
    });
    time += rest;
  }
  return acts;
}

it('what is cheap is done every time', () => {
  expect(paced(5, 0)).toBe(100);
});

it('what is not takes a tenth of the time', () => {
  // 100 ms of work, then 900 ms of rest, in steps of 50 ms.
  expect(paced(100, 50)).toBe(6);
});
