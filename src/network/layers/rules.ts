import type { LayerOp } from './recipe.js';
import { clip, elu, erf, gelu, leakyRelu, relu, sigmoid, silu, softmax, tanh } from './activations.js';
import { conv } from './conv.js';
import type { LayerRule } from './layer-rule.js';
import { linear } from './linear.js';
import { batchNorm, groupNorm, layerNorm } from './normalisation.js';
import { adaptiveAveragePool, averagePool, globalAveragePool, maxPool } from './pooling.js';
import { add, concat, constant, flatten, identity, mul, pad, parameter, reshape, transpose } from './shapes.js';

/** Every kind of layer that a recipe can hold. */
export const LAYER_RULES: { readonly [Op in LayerOp]: LayerRule<Op> } = {
  conv,
  linear,
  'batch-norm': batchNorm,
  'layer-norm': layerNorm,
  'group-norm': groupNorm,
  relu,
  sigmoid,
  tanh,
  silu,
  erf,
  identity,
  dropout: identity,
  flatten,
  'global-average-pool': globalAveragePool,
  add,
  mul,
  'leaky-relu': leakyRelu,
  clip,
  elu,
  gelu,
  softmax,
  concat,
  'max-pool': maxPool,
  'average-pool': averagePool,
  'adaptive-average-pool': adaptiveAveragePool,
  reshape,
  transpose,
  pad,
  parameter,
  constant,
};

/** The rule of an operation that is only known at run time. */
export function ruleOf<Op extends LayerOp>(op: Op): LayerRule<Op> {
  return LAYER_RULES[op];
}
