import { describe, expect, it } from 'vitest';
import { makeEngine } from '../../../src/engine/make-engine.js';
import { ENGINES_UNDER_TEST, tfjsFolder } from '../../engines-under-test.js';
import { evaluate } from '../../../src/graph/evaluate.js';
import { type MatchingStep, type SecondOrderCase, deviation, matchingStep, secondOrderCases } from '../../networks.js';

/** Parameter gradients, and the gradient of their squared norm by the input, against PyTorch in float64. */

const cases = Object.entries(secondOrderCases());

function check(found: readonly ArrayLike<number>[], step: MatchingStep, own: SecondOrderCase, tolerance: number): void {
  const [norm, dx, ...slopes] = found;
  expect(Math.abs(norm![0]! / own.squaredNorm - 1)).toBeLessThan(tolerance);
  expect(deviation(dx!, own.dx, 900)).toBeLessThan(tolerance);
  step.names.forEach((name, index) => {
    expect(deviation(slopes[index]!, own.gradients[name]!, 950), name).toBeLessThan(tolerance);
  });
  expect(step.names.length).toBe(Object.keys(own.gradients).length);
}

describe.each(cases)('second order of %s', (name, own) => {
  const step = matchingStep(own);

  it.runIf(name === 'lenet')('is PyTorch float64 in plain loops', () => {
    check(evaluate(step.outputs, { x: step.x }), step, own, 1e-10);
  });

  it.each(ENGINES_UNDER_TEST)(
    'agrees on %s',
    async (id) => {
      const engine = await makeEngine(id, { tfjsFolder });
      const program = await engine.compile(step.outputs);
      check(await program.run({ x: step.x }), step, own, 1e-4);
      await program.dispose();
    },
    120_000,
  );
});
