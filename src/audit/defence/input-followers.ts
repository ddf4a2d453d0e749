import type { Reconstruction } from '../../methods/method.js';
import { norm, scaled } from '../../recovery/vectors.js';
import { multiplyTransposed, transposed } from '../../recovery/linear-algebra.js';
import { counted } from '../../words/count-words.js';
import type { FoundLeak } from '../report.js';
import type { DefendedRun } from './defended-run.js';
import { type Follower, type RuleGuess, type ShownPicture, psnrFrom } from './follower.js';
import { fittedTo, flatPsnr } from './picture-distance.js';
import type { Undefended } from './undefended.js';

/** Inputs of samples, and other pictures that single layers tell. */

/** Decibels: below it, published attacks call a picture lost. */
const RECOGNISABLE = 12;
/** Decibels above a picture of one colour. */
const BEYOND_FLAT = 1;

type Picture = Omit<ShownPicture, 'type'>;

export function inputFollowers({ result }: Undefended): Follower[] {
  const exact = result.reconstructions.flatMap(({ report, input }): Picture[] =>
    report.verdict === 'exact' && input && report.usedTruth !== true
      ? [{ shape: report.shape, values: input, normalisation: report.normalisation }]
      : [],
  );
  const methods = [...new Set(result.reconstructions.map(methodOf))];
  return [
    ...(exact.length > 0
      ? [
          pictureFollower(
            {
              id: exact.length === 1 ? 'input-0' : 'inputs',
              title: exact.length === 1 ? 'The input' : `${counted(exact.length, 'input')}, the nearest of them`,
              method: methods[0] ?? 'input',
              sample: exact.length === 1 ? 0 : null,
            },
            exact,
            methods,
            inputGuesses,
          ),
        ]
      : []),
    ...result.leaks.flatMap((found, at) => ofLeak(found, at)),
  ];
}

function methodOf({ report }: Reconstruction): string {
  return report.method === 'patches' ? 'vit-patches' : 'input';
}

/** Pictures of a leak that is of no sample; those of samples are followed as inputs. */
function ofLeak({ method, leak }: FoundLeak, at: number): Follower[] {
  const pictures = leak.arrays.map(({ shape, data }): Picture => ({
    shape: shape.length === 4 && shape[0] === 1 ? shape.slice(1) : shape,
    values: data,
    normalisation: undefined,
  }));
  if (leak.sample !== null || leak.certificate?.verdict !== 'exact' || pictures.length === 0) {
    return [];
  }
  return [
    pictureFollower(
      { id: `pictures-${at}`, title: leak.title, method, sample: null },
      pictures,
      [method],
      async (run) => {
        const { leaks } = await run.methodGuesses();
        return leaks
          .filter((own) => own.method === method && own.leak.sample === null)
          .flatMap((own) => own.leak.arrays.map(({ data }) => ({ by: 'what the method computes', values: data })));
      },
    ),
  ];
}

interface PictureGuess {
  readonly by: string;
  readonly values: Float64Array;
}

function pictureFollower(
  named: { readonly id: string; readonly title: string; readonly method: string; readonly sample: number | null },
  truth: readonly Picture[],
  methods: readonly string[],
  guess: (run: DefendedRun) => Promise<readonly PictureGuess[]>,
): Follower {
  const flat = truth.reduce((most, { values }) => Math.max(most, flatPsnr(values)), -Infinity);
  const [first] = truth;
  return {
    leak: {
      ...named,
      measure: psnrFrom(flat),
      undefended: truth.reduce((most, { values }) => Math.max(most, fittedTo(values, values)?.psnr ?? 0), 0),
      chance: flat,
      limit: () => Math.max(RECOGNISABLE, flat + BEYOND_FLAT),
      byChance: () => flat + BEYOND_FLAT,
    },
    shown: first ? { type: 'numbers', ...first } : null,
    methods,
    guesses: async (run) => {
      const guesses = await guess(run);
      const rules = [...new Set(guesses.map(({ by }) => by))];
      return rules.flatMap((by) => nearest(by, guesses, truth));
    },
  };
}

/** Of all pairs the one that agrees most: the sample that is told best is the one that counts. */
function nearest(by: string, guesses: readonly PictureGuess[], truth: readonly Picture[]): RuleGuess[] {
  let best: RuleGuess | undefined;
  for (const own of guesses.filter((guess) => guess.by === by)) {
    for (const { values, ...picture } of truth) {
      const fit = fittedTo(own.values, values);
      if (fit && (best === undefined || fit.psnr > best.value)) {
        const fitted = own.values.map((number) => fit.slope * number + fit.offset);
        best = { by, value: fit.psnr, shown: { type: 'numbers', ...picture, values: fitted } };
      }
    }
  }
  return best ? [best] : [];
}

async function inputGuesses(run: DefendedRun): Promise<PictureGuess[]> {
  const { inputs } = await run.methodGuesses();
  return [
    ...inputs.flatMap(({ input }) => (input ? [{ by: 'what the audit computes', values: input }] : [])),
    ...firstLayerGuesses(run),
  ];
}

/** A linear layer with a bias has its input in its own gradient, G = g_b x^T, whatever stands above it (Geiping et al., NeurIPS 2020). */
function firstLayerGuesses({ undefended, file }: DefendedRun): PictureGuess[] {
  const lengths = new Set(undefended.result.reconstructions.map(({ input }) => input?.length));
  const left = new Set(file.entries.map(({ name }) => name));
  const pairs = undefended.matching.pairs.filter(({ gradient }) => left.has(gradient.name));
  return pairs.flatMap(({ parameter, gradient }, at): PictureGuess[] => {
    const bias = pairs[at + 1];
    const [first = 0, second = 0] = parameter.shape;
    const [length] = bias?.parameter.shape ?? [];
    if (parameter.shape.length !== 2 || bias?.parameter.shape.length !== 1 || length === undefined) {
      return [];
    }
    const isUpright = length === first && lengths.has(second);
    if (!isUpright && !(length === second && lengths.has(first))) {
      return [];
    }
    const data = file.read(gradient.name).data;
    const matrix = isUpright
      ? { rows: first, cols: second, data }
      : { rows: second, cols: first, data: transposed(data, first, second) };
    const slope = file.read(bias.gradient.name).data;
    const size = norm(slope) ** 2;
    return size > 0
      ? [
          {
            by: `least squares of the gradients of ${parameter.name} and its bias`,
            values: scaled(multiplyTransposed(matrix, slope), 1 / size),
          },
        ]
      : [];
  });
}
