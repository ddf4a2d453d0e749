import { gradients } from '../graph/derivative.js';
import { evaluate, foldConstant } from '../graph/evaluate.js';
import { TensorGraph, type TensorNode } from '../graph/tensor-graph.js';
import { type Engine, EngineError } from './engine.js';

/**
 * Proves that an engine computes what the graph means: a small network's parameter gradients, and the gradient of
 * their norm by the input, against float64. Loading a library proves nothing; some give wrong numbers in silence.
 */

const TOLERANCE = 1e-3;

/** @throws EngineError when it does not compute, or computes something else */
export async function checkEngine(engine: Engine): Promise<void> {
  const { outputs, feeds } = smallMatchingStep();
  const expected = evaluate(outputs, feeds);
  const program = await engine.compile(outputs);
  try {
    const found = await program.run(feeds);
    expected.forEach((values, index) => {
      const own = found[index]!;
      let difference = 0;
      let size = 0;
      values.forEach((value, at) => {
        difference += (value - own[at]!) ** 2;
        size += value * value;
      });
      const error = Math.sqrt(difference / size);
      if (!(error < TOLERANCE)) {
        throw new EngineError(
          `it computes wrong numbers: ${error.toExponential(1)} off in a second-order derivative of a small network`,
        );
      }
    });
  } finally {
    await program.dispose();
  }
}

function smallMatchingStep(): { outputs: TensorNode[]; feeds: { x: Float64Array } } {
  const g = new TensorGraph(foldConstant);
  const wave = (size: number, pace: number): Float64Array =>
    Float64Array.from({ length: size }, (_, at) => Math.sin(pace * at + pace) / 2);
  const x = g.variable('x', [1, 2, 8, 8]);
  const filter = g.parameter('filter', wave(3 * 2 * 9, 0.7), [3, 2, 3, 3]);
  const weight = g.parameter('weight', wave(4 * 48, 1.3), [4, 48]);
  const geometry = { strides: [2, 2], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 } as const;
  const hidden = g.unary('sigmoid', g.conv(x, filter, geometry));
  const relu = g.unary('relu', g.sub(hidden, g.scalar(0.4)));
  const logits = g.matmul(g.reshape(relu, [1, 48]), weight, false, true);
  const shifted = g.sub(logits, g.maxOver(logits, [1]));
  const loss = g.sub(
    g.total(g.unary('log', g.sum(g.unary('exp', shifted), [1]))),
    g.total(g.slice(shifted, [0, 1], [1, 1])),
  );
  const slopes = gradients(g, loss, [filter, weight]);
  const norm = slopes.map((slope) => g.total(g.square(slope))).reduce((sum, one) => g.add(sum, one));
  const [dx] = gradients(g, norm, [x]);
  return { outputs: [norm, dx!, ...slopes], feeds: { x: wave(128, 0.3) } };
}
