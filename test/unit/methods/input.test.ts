import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Facts } from '../../../src/facts/facts.js';
import { HEAD, HEAD_GRADIENT, HEAD_SHAPE } from '../../../src/facts/head-facts.js';
import { pathsInFolder } from '../../../src/facts/inputs.js';
import { MATCHING } from '../../../src/facts/update.js';
import { openTensorFile } from '../../../src/formats/open.js';
import type { TensorFile } from '../../../src/formats/tensor-file.js';
import { RECOVERY } from '../../../src/methods/head/recovery.js';
import {
  CERTAIN,
  CLOSE,
  CLOSE_LAYER,
  EXACT_LAYER,
  PRECISE,
  RIGHT_NETWORK,
  capturedGradients,
  certificateFloor,
  certify,
  mostOfLayer,
  isBetter,
  reasonOf,
  errorOfGradients,
  verdictOf,
  worstLayer,
} from '../../../src/methods/input/certificate.js';
import { chainAttack } from '../../../src/methods/input/chain-attack.js';
import { findNetwork } from '../../../src/methods/input/network-source.js';
import { type Prepared, describeNetwork, prepareAll } from '../../../src/methods/input/prepare.js';
import { reconstruct } from '../../../src/methods/input/reconstruct.js';
import {
  type NumberErrors,
  type ReconstructionTask,
  knownOf,
  precisionOf,
} from '../../../src/methods/input/reconstruction-task.js';
import type { Context } from '../../../src/methods/method.js';
import { type Candidate, recogniseNetwork } from '../../../src/network/built-in.js';
import { CancelledError } from '../../../src/protocol/errors.js';
import { generator } from '../../../src/recovery/paper-method.js';
import { NETWORKS, readTensors, relativeError } from '../../networks.js';
import { gaussian } from '../../synthetic-head.js';

/** The parts of a reconstruction by themselves, on a small network whose layers only its ONNX file tells. */

const FOLDER = join(NETWORKS, 'mlp');
const quiet = { progress: () => undefined, pause: () => Promise.resolve() };
const context: Context = { ...quiet, inputs: [], leaks: [], trueLabels: undefined };
const image = Float64Array.from([...readTensors(join(FOLDER, 'image.pt')).values()][0]!.data);

let checkpoint: TensorFile;
let gradients: TensorFile;
let task: ReconstructionTask;
let right: Prepared;
/** Networks of other activations, which fit names and shapes as well. */
let others: readonly Candidate[];

beforeAll(async () => {
  const paths = pathsInFolder(FOLDER);
  checkpoint = openTensorFile(paths.checkpoint);
  gradients = openTensorFile(paths.gradients);
  const facts = new Facts({ request: { ...paths, method: 'auto' }, checkpoint, gradients, hooks: quiet });
  const recovered = (await facts.get(RECOVERY))!;
  task = {
    request: { attack: 'chain', preset: 'soft-label', engine: 'onnxruntime-cpu', timeLimitSeconds: 1 },
    network: await findNetwork(join(FOLDER, 'model.onnx'), checkpoint, gradients, {}, () => quiet.pause()),
    checkpoint,
    gradients,
    matching: await facts.get(MATCHING),
    headWeight: (await facts.get(HEAD)).tensors!.weight.parameter.name,
    head: (await facts.get(HEAD_GRADIENT))!.gradient,
    normMode: 'eval',
    absoluteError: 0,
    shape: (await facts.get(HEAD_SHAPE))!,
    factors: recovered.factors!,
    sample: recovered.single!,
    trueLabel: undefined,
  };
  right = prepareAll(task)[0]!;
  others = recogniseNetwork(checkpoint.entries, { inputShape: [...right.candidate.recipe.input] });
});

afterAll(() => {
  checkpoint.close();
  gradients.close();
});

/** Standard deviation `deviation` added to every captured number. */
function noised({ tensors, ...rest }: Prepared, deviation: number): Prepared {
  const random = generator(3);
  const cache = new Map<string, Float64Array>();
  return {
    ...rest,
    tensors: {
      ...tensors,
      gradient(name) {
        const stored = tensors.gradient(name);
        if (!stored) {
          return undefined;
        }
        const data = cache.get(name) ?? Float64Array.from(stored.data, (own) => own + deviation * gaussian(random));
        cache.set(name, data);
        return { ...stored, data };
      },
    },
  };
}

function withNoise(
  noise: number,
  roundoff = task.head.roundoff,
): Pick<ReconstructionTask, 'head' | 'shape' | 'absoluteError'> {
  return {
    head: { ...task.head, roundoff },
    shape: { ...task.shape, nature: 'single-noisy', noise },
    absoluteError: 0,
  };
}

function changed(x: Float64Array, by: number): Float64Array {
  return x.map((value, at) => (at === 5 ? value + by : value));
}

const FLOAT32: NumberErrors = { noise: 0, roundoff: 2 ** -24, underflow: 0 };

const ofChain = (gradientError: number, expectedError: number | null = 1e-6) =>
  ({ method: 'chain', gradientError, expectedError, worst: undefined, mostOfLayer: mostOfLayer() }) as const;

describe('the certificate', () => {
  it('calls the right input exact, and one that is changed in one number not', async () => {
    const floor = certificateFloor(task, right);
    const same = await certify(right, image, knownOf(task), FLOAT32);
    expect(same.gradientError).toBeLessThan(1e-5);
    expect(verdictOf({ ...ofChain(0), ...same }, floor)).toBe('exact');
    const slightly = await certify(right, changed(image, 0.05), knownOf(task), FLOAT32);
    expect(verdictOf({ ...ofChain(0), ...slightly }, floor)).toBe('close');
    const badly = await certify(right, changed(image, 3), knownOf(task), FLOAT32);
    expect(verdictOf({ ...ofChain(0), ...badly }, floor)).toBe('uncertain');
    expect(badly.gradientError).toBeGreaterThan(slightly.gradientError);
  });

  it('needs the right label and scale as well', async () => {
    const known = knownOf(task);
    const smoothed = known.labels.map((own) => 0.9 * own + 0.1 / known.classes);
    const errorOf = async (own: ReturnType<typeof knownOf>): Promise<number> =>
      (await certify(right, image, own, FLOAT32)).gradientError;
    expect(await errorOf({ ...known, labels: smoothed })).toBeGreaterThan(CLOSE);
    // The scale of a gradient is a factor, so the distance is that factor's own.
    expect(await errorOf({ ...known, scale: 1.5 * known.scale })).toBeCloseTo(0.5, 4);
  });

  it('is taken under dloss/dlogits as captured, where that is known', async () => {
    const known = knownOf(task);
    const { captured } = task.factors;
    const halved = captured.map((value) => value / task.sample.scalar / 2);
    expect((await certify(right, image, { ...known, logitGradients: [halved] }, FLOAT32)).gradientError).toBeCloseTo(
      0.5,
      4,
    );
    const same = { ...known, labels: known.labels.map(() => 0), logitGradients: [halved.map((value) => 2 * value)] };
    expect((await certify(right, image, same, FLOAT32)).gradientError).toBeLessThan(1e-5);
  });

  it('is taken over every parameter that the dump holds', () => {
    const names = capturedGradients(right.tensors).map(({ parameter }) => parameter);
    expect(names).toHaveLength(gradients.entries.length);
    expect(names).toEqual([...right.tensors.captured]);
  });

  it('has a floor that rises with noise, as the norm of that noise does', () => {
    const data = capturedGradients(right.tensors).flatMap((own) => [...own.data]);
    const expected = (noise: number): number => (1.5 * noise * Math.sqrt(data.length)) / Math.hypot(...data);
    const unit = CERTAIN / expected(1);
    expect(certificateFloor(task, right)).toBe(CERTAIN);
    expect(certificateFloor(withNoise(unit / 2), right)).toBe(CERTAIN);
    for (const noise of [2 * unit, 20 * unit]) {
      expect(certificateFloor(withNoise(noise), right) / expected(noise)).toBeCloseTo(1, 9);
    }
  });

  it('errs by its rounding where it has no noise, also where all numbers are zero', () => {
    const zeros: Prepared['tensors'] = {
      ...right.tensors,
      gradient: (name) => {
        const stored = right.tensors.gradient(name);
        return stored && { ...stored, data: new Float64Array(stored.data.length) };
      },
    };
    expect(errorOfGradients({ tensors: zeros }, 1e-7, 0)).toBe(1e-7);
    expect(errorOfGradients(right, 1e-7, 0)).toBe(1e-7);
    expect(errorOfGradients(right, 1e-7, 1)).toBeGreaterThan(1e-7);
  });

  it('has a floor that rises with the rounding of what is stored', () => {
    const half = { ...task, head: { ...task.head, roundoff: 2 ** -11 } };
    expect(certificateFloor(half, right)).toBe(2 ** -11);
  });

  it('tells the layer of which most is left, beyond what its numbers err by', () => {
    const layer = (parameter: string, shape: number[], size: number) => ({
      parameter,
      shape,
      data: Float64Array.from({ length: shape.reduce((all, own) => all * own, 1) }, () => size),
    });
    const captured = [layer('conv.weight', [4, 4], 1), layer('conv.bias', [4], 1), layer('tiny.weight', [4, 4], 1e-6)];
    const sizes = [4, 2, 4e-6];
    const worst = (off: number[], errors: Partial<NumberErrors> = {}) =>
      worstLayer(captured, off, sizes, { ...FLOAT32, ...errors });
    expect(worst([0.4, 0, 0])).toEqual({ weight: 'conv.weight', error: 0.1 });
    expect(worst([0, 0, 0])).toBeUndefined();
    // Biases and normalisations are not told by themselves.
    expect(worst([0, 2, 0])).toBeUndefined();
    // Measured against a ten-thousandth of the whole: all of a layer that hardly adds anything is not missed.
    expect(worst([0, 0, 4e-6])!.error).toBeCloseTo(4e-6 / (1e-4 * Math.hypot(...sizes)), 9);
    // Noise, the rounding of numbers and their step near zero, each by one and a half of what it leaves.
    expect(worst([0.4, 0, 0], { noise: 0.1 })).toBeUndefined();
    expect(worst([0.7, 0, 0], { noise: 0.1 })).toBeDefined();
    expect(worst([0.4, 0, 0], { roundoff: 0.1 })).toBeUndefined();
    expect(worst([0.4, 0, 0], { roundoff: 0.01 })).toBeDefined();
    expect(worst([0, 0, 3e-6], { underflow: 2e-6 })).toBeUndefined();
    expect(worst([0, 0, 4e-6], { underflow: 1e-7 })).toBeDefined();
  });

  it('leaves noise below its floor for the right input, and not for another', async () => {
    const noise = 3e-3 * Math.hypot(...task.head.weightGradient.data) * task.head.weightGradient.data.length ** -0.5;
    const captured = noised(right, noise);
    const floor = certificateFloor(withNoise(noise), captured);
    const { gradientError, worst } = await certify(captured, image, knownOf(task), { ...FLOAT32, noise });
    expect(gradientError).toBeGreaterThan(CERTAIN);
    expect(gradientError).toBeLessThan(floor);
    expect(worst).toBeUndefined();
    const other = await certify(captured, changed(image, 3), knownOf(task), { ...FLOAT32, noise });
    expect(other.gradientError).toBeGreaterThan(floor);
    expect(other.worst!.error).toBeGreaterThan(CLOSE);
  });
});

describe('the verdict', () => {
  it.each([
    ['chain', CERTAIN, PRECISE, CERTAIN, 'exact'],
    ['chain', CERTAIN, 2 * PRECISE, CERTAIN, 'close'],
    ['chain', CERTAIN, null, CERTAIN, 'close'],
    ['chain', 2 * CERTAIN, PRECISE, CERTAIN, 'close'],
    ['chain', 2 * CLOSE, PRECISE, CERTAIN, 'uncertain'],
    ['chain', 2 * CLOSE, PRECISE, 3 * CLOSE, 'exact'],
    ['chain', 2 * CLOSE, 1, 3 * CLOSE, 'close'],
    ['matching', CERTAIN, null, CERTAIN, 'exact'],
    ['matching', 2 * CERTAIN, null, 3 * CLOSE, 'close'],
    ['matching', 2 * CLOSE, null, CERTAIN, 'uncertain'],
  ] as const)('by %s at an error of %d, expecting %s, against a floor of %d is %s', (...row) => {
    const [method, gradientError, expectedError, floor, verdict] = row;
    expect(verdictOf({ ...ofChain(gradientError, expectedError), method }, floor)).toBe(verdict);
  });

  it('is uncertain where one layer is not explained, however small a part of the gradient that is', () => {
    const found = (error: number) => ({ ...ofMaps, worst: { weight: 'conv1.weight', error } });
    const ofMaps = { method: 'maps', gradientError: CERTAIN, expectedError: null, mostOfLayer: mostOfLayer() } as const;
    expect(verdictOf(found(EXACT_LAYER), CERTAIN)).toBe('exact');
    expect(verdictOf(found(CLOSE_LAYER), CERTAIN)).toBe('close');
    expect(verdictOf(found(2 * CLOSE), CERTAIN)).toBe('uncertain');
    // Of exact maps with a max pooling below, some of whose maxima may be chosen wrongly.
    expect(mostOfLayer({ error: 1e-7, isPooled: true })).toBeGreaterThan(2 * CLOSE);
    expect(mostOfLayer({ error: 1e-7, isPooled: false })).toBe(CLOSE_LAYER);
    expect(mostOfLayer({ error: 1e-4, isPooled: true })).toBe(CLOSE_LAYER);
    expect(reasonOf('uncertain', found(2 * CLOSE), CERTAIN, [], false)).toBe(
      'The gradient computed from it differs from the captured one by 1.0e-4, and that of `conv1.weight` alone by 2.0e-2: this picture is not confirmed.',
    );
  });

  it('decides between two inputs before their misfits do', () => {
    const found = (gradientError: number, error: number) => ({
      ...ofChain(gradientError, null),
      method: 'maps' as const,
      input: new Float64Array(1),
      worst: { weight: 'conv1.weight', error },
    });
    // Matching that leaves less in all, and more of one layer, takes nothing away that is confirmed.
    expect(isBetter(found(1e-3, 0.05), found(5e-3, 1e-2), CERTAIN)).toBe(false);
    expect(isBetter(found(5e-3, 1e-2), found(1e-3, 0.05), CERTAIN)).toBe(true);
    expect(isBetter(found(1e-3, 1e-2), found(5e-3, 1e-2), CERTAIN)).toBe(true);
    expect(isBetter(found(5e-3, 1e-2), found(1e-3, 1e-2), CERTAIN)).toBe(false);
    expect(isBetter(found(1, 1), undefined, CERTAIN)).toBe(true);
    expect(isBetter(found(NaN, 1), found(0.5, 1), CERTAIN)).toBe(false);
    expect(isBetter(found(0.5, 1), found(NaN, 1), CERTAIN)).toBe(true);
  });

  it('names a layer only where that is why it is uncertain', () => {
    const of = (gradientError: number, error: number, floor = CERTAIN) =>
      reasonOf(
        'uncertain',
        { gradientError, worst: { weight: 'conv1.weight', error }, mostOfLayer: mostOfLayer() },
        floor,
        [],
        false,
      );
    expect(of(5e-3, 0.02)).toContain('conv1.weight');
    expect(of(0.02, 0.05)).not.toContain('conv1.weight');
    // Noise explains what is left in all, and not what is left of the layer.
    expect(of(0.02, 0.05, 0.03)).toContain('conv1.weight');
    expect(of(5e-3, 1e-3)).not.toContain('conv1.weight');
  });

  it('says what it rests on, where the closed form ended and that it was stopped', () => {
    const best = { gradientError: 0.00312, worst: undefined, mostOfLayer: mostOfLayer() };
    expect(reasonOf('close', best, 0.002, ['The closed form ended at layer 2.'], true)).toBe(
      'The gradient computed from it differs from the captured one by 3.1e-3 (rounding and noise alone would leave 2e-3): much of it is real, details may not be. The closed form ended at layer 2. It was stopped early; this is the best until then.',
    );
    expect(reasonOf('exact', best, 0.01, [], false)).toMatch(/to 3\.1e-3, so this is the input\.$/);
    expect(reasonOf('uncertain', best, 0.002, [], false)).toContain('this picture is not confirmed');
    expect(reasonOf('failed', undefined, 0.002, [], false)).toBe('Nothing was found.');
  });
});

describe('the choice among networks', () => {
  const among = (candidates: readonly Candidate[], file: string | null = null): ReconstructionTask => ({
    ...task,
    network: { ...task.network, file, candidates },
  });
  const attack = (own: ReconstructionTask) => chainAttack(own, prepareAll(own), knownOf(own), context);

  it('takes the one that explains the gradient, wherever it stands', async () => {
    const [wrong] = others;
    for (const candidates of [
      [right.candidate, ...others],
      [...others, right.candidate],
      [wrong!, right.candidate, ...others.slice(1)],
    ]) {
      const { prepared, found } = await attack(among(candidates));
      expect(prepared.candidate).toBe(right.candidate);
      expect(found!.gradientError).toBeLessThan(RIGHT_NETWORK);
      expect(relativeError(found!.input, image)).toBeLessThan(1e-4);
    }
  });

  it('tries no other once one is certified', async () => {
    const solved: string[] = [];
    const own = among([right.candidate, ...others]);
    await chainAttack(own, prepareAll(own), knownOf(own), {
      ...context,
      progress: (message) => void solved.push(message),
    });
    expect(new Set(solved).size).toBe(solved.length);
    expect(solved.length).toBeGreaterThan(0);
  });

  it('takes none of guessed ones that leave the gradient unexplained', async () => {
    await expect(attack(among(others))).rejects.toThrow(/7 known networks, none of which explains the gradient/);
  });

  it('counts the one that explains most as the best of those that do not explain it', async () => {
    const leaves = async (candidates: readonly Candidate[]): Promise<number> => {
      const refusal = await attack(among(candidates)).then(() => '', String);
      return Number(/the best leaves (\S+) % of/.exec(refusal)?.[1]);
    };
    const alone = await Promise.all(others.map((own) => leaves([own])));
    expect(Math.max(...alone)).toBeGreaterThan(Math.min(...alone));
    for (const candidates of [others, [...others].reverse()]) {
      expect(await leaves(candidates)).toBe(Math.min(...alone));
    }
  });

  it('gives no input for a given one that explains less than half of it', async () => {
    const { chain, found } = await attack(among(others.slice(0, 1), 'given.onnx'));
    expect(chain!.layers.length).toBeGreaterThan(0);
    expect(found).toBeUndefined();
  });

  it('leaves out those that do not fit, and says what is wrong when none does', () => {
    const [fits] = others;
    const layers = fits!.recipe.layers.map((layer) =>
      layer.op === 'linear' ? { ...layer, weight: `${layer.weight}.missing` } : layer,
    );
    const misfit = { name: 'misfit', recipe: { ...fits!.recipe, layers } };
    expect(prepareAll(among([misfit, fits!])).map(({ candidate }) => candidate)).toEqual([fits]);
    expect(() => prepareAll(among([misfit]))).toThrow(/missing/);
    expect(() => prepareAll(among([]))).toThrow(/found no network/);
  });

  it('is said with its reason', () => {
    const own = among([right.candidate, ...others]);
    expect(describeNetwork(own, right)).toMatchObject({ name: right.candidate.name, normMode: null });
    expect(describeNetwork(own, right).reasons.at(-1)).toMatch(/^8 networks fit .*comes nearest$/);
    const matching = { ...own, request: { ...own.request, attack: 'matching' as const } };
    expect(describeNetwork(matching, right).reasons.at(-1)).toMatch(/the most usual one, was taken$/);
    expect(describeNetwork(task, right).reasons).toEqual([...task.network.reasons]);
  });
});

describe('what the attacks are told', () => {
  it('is the recovered label, its largest class, or the true one where the user let it in', () => {
    const probabilities = [0.2, 0.7, 0.1];
    const label = { ...task.sample.label, probabilities: Float64Array.from(probabilities) };
    const labelled = (labels: 'recovered' | 'hard' | 'true', trueLabel?: number[]) =>
      knownOf({
        ...task,
        sample: { ...task.sample, label },
        request: { ...task.request, settings: { labels } },
        trueLabel,
      }).labels;
    expect([...labelled('recovered')]).toEqual(probabilities);
    expect([...labelled('hard')]).toEqual([0, 1, 0]);
    expect([...labelled('true', [1, 0, 0])]).toEqual([1, 0, 0]);
    expect(() => labelled('true')).toThrow(/true labels asked for, and none given/);
  });

  it('is dloss/dlogits as captured where float32 rounded it, for every preset whose label is the recovered one', () => {
    const { captured } = task.factors;
    const rounded = {
      ...task,
      factors: { ...task.factors, problem: { ...task.factors.problem, u: captured.map((own) => 1.001 * own) } },
      sample: { ...task.sample, scalar: 0.5, label: { ...task.sample.label, probabilities: Float64Array.of(0, 1, 0) } },
    };
    const known = (labels: 'recovered' | 'hard' | 'true' | 'free', trueLabel?: number[]) =>
      knownOf({ ...rounded, request: { ...task.request, settings: { labels } }, trueLabel }).logitGradients;
    for (const own of [known('recovered'), known('hard'), known('true', [0, 1, 0])]) {
      expect([...own![0]!]).toEqual([...captured.map((value) => value / 0.5)]);
    }
    expect(known('true', [1, 0, 0])).toBeUndefined();
    // What is searched for has no gradient beforehand.
    expect(known('free')).toBeUndefined();
    expect(knownOf(task).logitGradients).toBeUndefined();
  });

  it('takes rounding of half types for storage alone, and noise only where it was found', () => {
    expect(precisionOf(withNoise(1e-3, 2 ** -11))).toEqual({ forward: 2 ** -24, stored: 2 ** -11, noise: 1e-3 });
    expect(precisionOf(withNoise(0, 2 ** -53)).forward).toBe(2 ** -53);
    expect(precisionOf(task).noise).toBe(0);
    expect(precisionOf({ ...task, absoluteError: 1e-6 }).noise).toBe(1e-6);
  });
});

describe('a reconstruction', () => {
  it('is the input, certified against the captured gradient', async () => {
    const { report, input, stopped } = await reconstruct(task, context);
    expect(report).toMatchObject({ method: 'chain', verdict: 'exact', matching: null });
    expect(relativeError(input!, image)).toBeLessThan(1e-4);
    expect(stopped).toBe(false);
  });

  it('that the user stops keeps what is known of the network', async () => {
    const pause = (): Promise<void> => Promise.reject(new CancelledError());
    const { report, input, network, stopped } = await reconstruct(task, { ...context, pause });
    expect(report).toMatchObject({ method: 'none', verdict: 'failed' });
    expect(report.reason).toContain('stopped early');
    expect([input, stopped, network.layers]).toEqual([undefined, true, right.candidate.recipe.layers.length]);
  });
});
