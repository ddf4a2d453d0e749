import type { LayerOp } from '../../network/layers/recipe.js';
import { convInverse } from './conv-layer.js';
import {
  activationInverse,
  addInverse,
  batchNormInverse,
  concatInverse,
  globalAverageInverse,
  padInverse,
  transposeInverse,
  unchanged,
} from './element-inverses.js';
import type { InverseRule } from './inverse-rule.js';
import { linearInverse } from './linear-layer.js';

/** How each kind of layer is inverted, or why it is not. */
export const INVERSES: { readonly [Op in LayerOp]: InverseRule<Op> | string } = {
  conv: convInverse,
  linear: linearInverse,
  'batch-norm': batchNormInverse,
  sigmoid: activationInverse(),
  tanh: activationInverse(),
  relu: activationInverse(),
  'leaky-relu': activationInverse(),
  elu: activationInverse(),
  identity: unchanged(),
  dropout: unchanged(),
  flatten: unchanged(),
  reshape: unchanged(),
  transpose: transposeInverse,
  pad: padInverse,
  concat: concatInverse,
  add: addInverse,
  'global-average-pool': globalAverageInverse,
  'max-pool': 'a maximum tells one entry of each window',
  'average-pool': 'an average does not tell what it was made of',
  'adaptive-average-pool': 'an average does not tell what it was made of',
  'layer-norm': 'normalisation over the features loses their mean and scale',
  'group-norm': 'normalisation over a sample loses its mean and scale',
  clip: 'what a bound cut off does not follow from its output',
  gelu: 'this activation is not invertible',
  silu: 'this activation is not invertible',
  erf: 'its input does not follow from its output',
  softmax: 'its input does not follow from its output',
  mul: 'a product does not tell its factors',
  parameter: 'it takes no input',
  constant: 'it takes no input',
};
