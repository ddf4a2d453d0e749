import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Projection, Transformer } from '../../network/transformers/transformer.js';
import { sigmoid, softmax } from '../../recovery/activation.js';
import { transposed } from '../../recovery/linear-algebra.js';
import { linear } from '../../recovery/text/first-attention.js';
import { pseudoInverse } from '../../recovery/text/next-tokens.js';
import { dot, most, norm } from '../../recovery/vectors.js';
import { Comparison, type Difference } from './comparison.js';
import { addEmbeddings } from './embedding-gradients.js';
import type { Tensors } from './first-block.js';
import { Forward, type TokenTree } from './forward.js';

/** Classes of sequences or of tokens, from a classifier's gradient. */

export interface StateLabel {
  /**
   * The likeliest class; -1 where no label is likelier: a token without a part in the loss, or a loss that is no cross-entropy
   * of classes. Of a single output 0 or 1.
   */
  readonly nearest: number;
  /** Whether every other is clearly farther from what the gradient says. */
  readonly isClear: boolean;
}

export interface ClassifierLabels {
  readonly labels: readonly StateLabel[];
  readonly misfit: Difference;
}

/** Slopes below this share of the largest tell little of the weight. */
const WEIGHTY = 0.1;
/** How much farther every other label has to be. */
const CLEARLY = 3;
const MOST_DEVIATIONS = 8;
/** Of one state's part in the loss: weights that differ by less from one over their number are means. */
const NEARLY_MEAN = 0.3;

/** Classes that leave more of the gradient than this do not explain it. */
const NO_CLASSES = 1e-3;
/** Misfits of slopes as they are, by which they beat those of classes. */
const CLEARLY_BETTER = 10;
/** So near to 0 and 1 are all targets of a single output whose loss is binary cross-entropy, and hardly any others. */
const NEARLY_BINARY = 1e-4;

/**
 * G = sum_t w (p_t - y_t) h_t^T, with hidden states h_t and probabilities p_t that follow from the sequences. Where no classes
 * explain it, as of soft or several labels or a regression, the slopes that G H^+ gives are taken as they are: the other tensors
 * say whether they are right.
 *
 * @param rows the states that are classified; null for all, of which some may have no label
 */
export async function classifierLabels(
  transformer: Transformer,
  tensors: Tensors,
  output: Projection,
  tree: TokenTree,
  rows: Int32Array | null,
  product: ProductKernel,
): Promise<ClassifierLabels> {
  const forward = new Forward(transformer, tensors, tree, rows, product);
  const hidden = await forward.states();
  const { width } = transformer;
  const { outputs } = output;
  const count = hidden.length / width;
  const logits = await linear(tensors.linearOf(output), hidden, product);
  const inverse = await pseudoInverse(hidden, width, product);
  const slopes = transposed(
    await product(tensors.matrixOf(output, 'gradient'), inverse, outputs, count, width),
    outputs,
    count,
  );
  const states = Array.from({ length: count }, (_, at): State => {
    const [start, end] = [at * outputs, (at + 1) * outputs];
    return { slope: slopes.subarray(start, end), probabilities: softmax(logits.subarray(start, end)) };
  });
  const compare = (seed: Float64Array): Promise<Difference> =>
    misfitOf(transformer, tensors, forward, output, hidden, seed, product);
  if (outputs === 1) {
    return { labels: binaryLabels(slopes, logits), misfit: await compare(slopes) };
  }
  const { labels, weight } = labelsOf(states, rows === null);
  const seedLogits = new Float64Array(count * outputs);
  labels.forEach(({ nearest }, at) => {
    if (nearest >= 0) {
      seedLogits.set(
        pullOf(states[at]!, nearest).map((value) => weight * value),
        at * outputs,
      );
    }
  });
  const misfit = await compare(seedLogits);
  if (misfit.error < NO_CLASSES) {
    return { labels, misfit };
  }
  const free = await compare(slopes);
  return free.error * CLEARLY_BETTER < misfit.error
    ? { labels: labels.map(() => ({ nearest: -1, isClear: false })), misfit: free }
    : { labels, misfit };
}

/** Targets of binary cross-entropy, a mean over states: w (sigmoid(z) - y); -1 where they are not all 0 or 1. */
function binaryLabels(slopes: Float64Array, logits: Float64Array): StateLabel[] {
  const targets = sigmoid(logits).map((probability, at) => probability - slopes[at]! * slopes.length);
  const isBinary = targets.every((target) => Math.min(Math.abs(target), Math.abs(target - 1)) < NEARLY_BINARY);
  return Array.from(targets, (target) => ({ nearest: isBinary ? Math.round(target) : -1, isClear: isBinary }));
}

interface State {
  /** By class: w (p - y), as the gradient says. */
  readonly slope: Float64Array;
  readonly probabilities: Float64Array;
}

function pullOf({ probabilities }: State, label: number): Float64Array {
  return probabilities.map((value, own) => value - Number(own === label));
}

function labelsOf(states: readonly State[], mayMiss: boolean): { labels: StateLabel[]; weight: number } {
  const largest = most(states.map(({ slope }) => norm(slope)));
  const weighty = states.filter(({ slope }) => norm(slope) > WEIGHTY * largest);
  const lowest = ({ slope }: State): number => slope.indexOf(slope.reduce((least, value) => Math.min(least, value)));
  const rough = weightOf(weighty.map((state) => ({ state, label: lowest(state) })));
  const judged = states.map((state) => judge(state, rough, mayMiss));
  const noise = Math.sqrt(judged.reduce((sum, { distance }) => sum + distance ** 2, 0) / judged.length);
  const labelled = judged.flatMap(({ nearest }, at) => (nearest >= 0 ? [{ state: states[at]!, label: nearest }] : []));
  const fitted = labelled.length === 0 ? rough : weightOf(labelled);
  const isMean = Math.abs(fitted * labelled.length - 1) < NEARLY_MEAN / labelled.length;
  return {
    labels: judged.map(({ nearest, distance, next }) => ({
      nearest,
      isClear: next > CLEARLY * distance && next > MOST_DEVIATIONS * noise,
    })),
    weight: isMean ? 1 / labelled.length : fitted,
  };
}

/** The one weight of all that fits best. */
function weightOf(labelled: readonly { readonly state: State; readonly label: number }[]): number {
  let [along, square] = [0, 0];
  for (const { state, label } of labelled) {
    const pull = pullOf(state, label);
    along += dot(state.slope, pull);
    square += dot(pull, pull);
  }
  return along / square;
}

function judge(
  state: State,
  weight: number,
  mayMiss: boolean,
): { readonly nearest: number; readonly distance: number; readonly next: number } {
  const all = Array.from(state.slope, (_, label) => {
    const pull = pullOf(state, label);
    return { label, distance: norm(state.slope.map((value, at) => value - weight * pull[at]!)) };
  });
  const [first, second] = [...(mayMiss ? [{ label: -1, distance: norm(state.slope) }] : []), ...all].sort(
    (one, other) => one.distance - other.distance,
  );
  return { nearest: first?.label ?? -1, distance: first?.distance ?? 0, next: second?.distance ?? Infinity };
}

async function misfitOf(
  transformer: Transformer,
  tensors: Tensors,
  forward: Forward,
  { weight, bias, outputs }: Projection,
  hidden: Float64Array,
  seed: Float64Array,
  product: ProductKernel,
): Promise<Difference> {
  const { width } = transformer;
  const count = seed.length / outputs;
  const values = tensors.value(weight);
  const back = await product(seed, transposed(values, outputs, width), count, width, outputs);
  const { embedded, parameters } = await forward.gradients(back);
  const comparison = new Comparison();
  const slopes = transposed(seed, count, outputs);
  comparison.add(
    weight,
    await product(slopes, transposed(hidden, count, width), outputs, width, count),
    tensors.gradient(weight),
  );
  if (bias !== null && tensors.hasGradient(bias)) {
    const sums = Float64Array.from({ length: outputs }, (_, row) =>
      slopes.subarray(row * count, (row + 1) * count).reduce((sum, value) => sum + value, 0),
    );
    comparison.add(bias, sums, tensors.gradient(bias));
  }
  addEmbeddings(comparison, transformer, tensors, forward.tree, embedded, false);
  for (const [name, data] of parameters) {
    comparison.add(name, data, tensors.gradient(name));
  }
  return comparison.result();
}
