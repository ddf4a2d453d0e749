import { expect, it } from 'vitest';
import { leastAssignment } from '../../../src/recovery/assignment.js';
import { generator } from '../../../src/recovery/paper-method.js';

function orders(items: readonly number[]): number[][] {
  return items.length < 2
    ? [[...items]]
    : items.flatMap((own) => orders(items.filter((other) => other !== own)).map((rest) => [own, ...rest]));
}

it('assigns as the best of all orders does', () => {
  const random = generator(2);
  for (const count of [1, 2, 3, 5, 6]) {
    const costs = Array.from({ length: count }, () => Array.from({ length: count }, () => random() - 0.3));
    const sumOf = (order: readonly number[]): number =>
      order.reduce((sum, column, row) => sum + costs[row]![column]!, 0);
    const least = Math.min(...orders([...costs.keys()]).map(sumOf));
    const found = leastAssignment(costs);
    expect([...found].sort()).toEqual([...costs.keys()]);
    expect(sumOf(found)).toBeCloseTo(least, 12);
  }
  expect(leastAssignment([])).toEqual([]);
});
