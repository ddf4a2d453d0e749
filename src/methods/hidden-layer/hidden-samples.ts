import { DIRECTED } from '../../facts/directed-update.js';
import type { Fact, Facts } from '../../facts/facts.js';
import { HEAD, HEAD_GRADIENT } from '../../facts/head-facts.js';
import { fractionAt } from '../../facts/hooks.js';
import { TRANSFORMER } from '../../facts/transformer.js';
import { CAPTURE, MATCHING } from '../../facts/update.js';
import type { TensorPair } from '../../facts/matching.js';
import { roundoffOf } from '../../facts/values.js';
import { type TensorFile, elementCount } from '../../formats/tensor-file.js';
import { normalisationFor } from '../../facts/capture.js';
import { NORMALISATIONS, type Normalisation } from '../../protocol/normalisations.js';
import { effectiveRoundoff } from '../../recovery/head-gradient.js';
import { type HiddenLayer, type Separation, separateSamples } from '../../recovery/hidden/separate-samples.js';
import type { LayerState } from '../../recovery/hidden/layer-state.js';
import { type Matrix, transposed } from '../../recovery/linear-algebra.js';
import { generator } from '../../recovery/paper-method.js';
import { norm } from '../../recovery/vectors.js';

/** A batch told apart in one fully connected layer. */
export interface HiddenSamples {
  /** Name of its weight in the checkpoint. */
  readonly weight: string;
  readonly units: number;
  readonly inputs: number;
  readonly separation: Separation;
  /** Whether every sample above the noise was told apart. */
  readonly isComplete: boolean;
}

/** A fully connected layer whose tensors were captured with their gradients. */
export interface HiddenLayerTensors {
  readonly weight: TensorPair;
  readonly bias: TensorPair;
  /** Whether the weight is stored inputs x units, as Keras and Flax do. */
  readonly isInputsFirst: boolean;
  readonly units: number;
  readonly inputs: number;
}

const SEED = 19;
const FEWEST_UNITS = 16;
/** Larger weights take minutes, or gigabytes. */
const MOST_ELEMENTS = 2 ** 24;
const MOST_LAYERS = 4;
/** What float32 arithmetic adds to the rounding of its results. */
const ARITHMETIC = 2;

/**
 * The layers that a batch may be told apart in, nearest to the input first: not the head, whose own method reads it, and none of
 * a transformer, whose units are no rectifiers.
 */
export async function hiddenLayers(facts: Facts): Promise<readonly HiddenLayerTensors[]> {
  return (await allLayers(facts)).filter(isSmall).slice(0, MOST_LAYERS);
}

/** Names of the weights of those that are not looked at: too large, or behind too many others. */
export async function layersLeftOut(facts: Facts): Promise<readonly string[]> {
  const looked = await hiddenLayers(facts);
  const isLooked = ({ weight }: HiddenLayerTensors): boolean => looked.some((own) => own.weight === weight);
  return (await allLayers(facts)).filter((own) => !isLooked(own)).map(({ weight }) => weight.parameter.name);
}

function isSmall({ units, inputs }: HiddenLayerTensors): boolean {
  return units * inputs <= MOST_ELEMENTS;
}

async function allLayers(facts: Facts): Promise<readonly HiddenLayerTensors[]> {
  if (facts.given.request.checkpoint === undefined || (await facts.get(TRANSFORMER).catch(() => undefined))) {
    return [];
  }
  const { pairs } = await facts.get(MATCHING);
  const head = (await facts.get(HEAD)).tensors?.weight.parameter;
  const byName = new Map(pairs.map((pair) => [pair.parameter.name, pair]));
  return pairs.flatMap((weight): HiddenLayerTensors[] => {
    const { name, shape } = weight.parameter;
    const bias = byName.get(name.replace(/(weight|kernel)(?=(:0)?$)/, 'bias'));
    const [length = 0, ...others] = bias && bias !== weight ? bias.parameter.shape : [];
    const [first = 0, second = 0] = shape;
    if (
      shape.length !== 2 ||
      others.length > 0 ||
      !bias ||
      weight.parameter === head ||
      length < FEWEST_UNITS ||
      elementCount(shape) === 0
    ) {
      return [];
    }
    const isInputsFirst = length !== first || (first === second && /kernel(:0)?$/.test(name));
    const [units, inputs] = isInputsFirst ? [second, first] : [first, second];
    return length === units && weight.certain && bias.certain ? [{ weight, bias, isInputsFirst, units, inputs }] : [];
  });
}

/** The first layer that tells all samples apart, else the one that tells most; undefined where none tells any. */
export const HIDDEN_SAMPLES: Fact<HiddenSamples | undefined> = {
  id: 'hidden-samples',
  async compute(facts) {
    let best: HiddenSamples | undefined;
    for (const layer of await hiddenLayers(facts)) {
      const own = await samplesOf(facts, layer);
      if (own && own.separation.samples.length > (best?.separation.samples.length ?? 0)) {
        best = own;
      }
      if (best?.isComplete === true) {
        break;
      }
    }
    return best;
  },
  describe: (found) =>
    found ? { weight: found.weight, rank: found.separation.rank, samples: found.separation.samples.length } : null,
};

async function samplesOf(facts: Facts, layer: HiddenLayerTensors): Promise<HiddenSamples | undefined> {
  const given = await layerOf(facts, layer);
  const classifier = await classifierOn(facts, layer.units);
  return (
    given &&
    separated(facts, layer, {
      ...given,
      course: { states: [{ layer: given.before, classifier: classifier?.before, scale: undefined }] },
    })
  );
}

/** What a fully connected layer's tensors hold. */
export interface LayerTensors extends Omit<HiddenLayer, 'course'> {
  readonly before: LayerState;
}

/** @returns undefined where a number is not finite */
export async function layerOf(facts: Facts, layer: HiddenLayerTensors): Promise<LayerTensors | undefined> {
  const { checkpoint, request } = facts.given;
  const { gradients, absoluteError } = await facts.get(DIRECTED);
  const gradient = matrixOf(gradients, layer, 'gradient');
  const biasGradient = gradients.read(layer.bias.gradient.name).data;
  const weight = matrixOf(checkpoint, layer, 'parameter');
  const bias = checkpoint.read(layer.bias.parameter.name).data;
  if (![gradient.data, biasGradient, weight.data, bias].every((data) => data.every(Number.isFinite))) {
    return undefined;
  }
  const stored = roundoffOf(layer.weight.gradient.dtype);
  const roundoff = absoluteError > 0 ? stored : effectiveRoundoff(gradient.data, stored);
  const size = Math.hypot(norm(gradient.data), norm(biasGradient));
  const { units, inputs } = layer;
  const normalisation = normalisationFor(request.reconstruction, await facts.get(CAPTURE).catch(() => undefined));
  return {
    gradient,
    biasGradient,
    before: { weight, bias },
    bounds: boundsOf(inputs, normalisation),
    floor: ARITHMETIC * roundoff * size + absoluteError * (Math.sqrt(units) + Math.sqrt(inputs)),
  };
}

/** The classifier whose features a layer's units are, as far as shapes tell, and what was captured of it; undefined where none is. */
export async function classifierOn(
  facts: Facts,
  units: number,
): Promise<{ readonly before: LayerState; readonly update: LayerState } | undefined> {
  const head = (await facts.get(HEAD_GRADIENT).catch(() => undefined))?.gradient;
  if (head?.weight.cols !== units) {
    return undefined;
  }
  const none = new Float64Array(head.weight.rows);
  return {
    before: { weight: head.weight, bias: head.bias ?? none },
    update: { weight: head.weightGradient, bias: head.biasGradient ?? none },
  };
}

/** @returns undefined where no sample is told */
export async function separated(
  facts: Facts,
  { weight, units, inputs }: HiddenLayerTensors,
  layer: HiddenLayer,
): Promise<HiddenSamples | undefined> {
  const { hooks } = facts.given;
  const separation = await separateSamples(layer, generator(SEED), ({ found, of }) => {
    hooks.progress({
      stage: 'recover',
      message: of > 0 ? `Telling ${of} samples of a batch apart: ${found}` : 'Looking at hidden layers',
      fraction: fractionAt('recover', of > 0 ? found / of : 0),
    });
    return hooks.pause();
  });
  return separation && separation.samples.length > 0
    ? {
        weight: weight.parameter.name,
        units,
        inputs,
        separation,
        isComplete: separation.samples.length === separation.rank,
      }
    : undefined;
}

function matrixOf(
  file: TensorFile,
  { weight, isInputsFirst, units, inputs }: HiddenLayerTensors,
  which: 'gradient' | 'parameter',
): Matrix {
  const { data } = file.read(weight[which].name);
  return { rows: units, cols: inputs, data: isInputsFirst ? transposed(data, inputs, units) : data };
}

/** Zero, as above a rectifier or of pictures that were not normalised; black, as it was normalised. */
function boundsOf(inputs: number, stated: Normalisation | undefined): readonly Float64Array[] {
  const blacks = [...(stated ? [stated] : []), ...Object.values(NORMALISATIONS)].filter(
    ({ mean }) => inputs % mean.length === 0,
  );
  return [
    new Float64Array(inputs),
    ...blacks.map(({ mean, std }) => {
      const plane = inputs / mean.length;
      return Float64Array.from({ length: inputs }, (_, at) => {
        const channel = Math.floor(at / plane);
        return -(mean[channel] ?? 0) / (std[channel] ?? 1);
      });
    }),
  ];
}
