import type { Reconstruction } from '../../methods/method.js';
import { norm, scaled } from '../../recovery/vectors.js';
import { multiplyTransposed, transposed } from '../../recovery/linear-algebra.js';
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

/** One for each picture: what is recognisable of one is nothing of another that is nearly of one colour. */
export function inputFollowers({ result }: Undefended): Follower[] {
  const exact = result.reconstructions.flatMap(({ report, input }, sample): { picture: Picture; sample: number }[] =>
    report.verdict === 'exact' && input && report.usedTruth !== true
      ? [{ picture: { shape: report.shape, values: input, normalisation: report.normalisation }, sample }]
      : [],
  );
  const isLone = result.reconstructions.length === 1;
  const methods = [...new Set(result.reconstructions.map(methodOf))];
  return [
    ...exact.map(({ picture, sample }) =>
      pictureFollower(
        {
          id: `input-${sample}`,
          title: isLone ? 'The input' : `Input of sample ${sample + 1}`,
          method: methods[0] ?? 'input',
          sample,
        },
        picture,
        methods,
        inputGuesses,
      ),
    ),
    ...result.leaks.flatMap((found, at) => ofLeak(found, at)),
  ];
}

function methodOf({ report }: Reconstruction): string {
  return report.method === 'patches' ? 'vit-patches' : 'input';
}

/** Pictures of a leak that is of no sample; those of samples are followed as inputs. */
function ofLeak({ method, leak }: FoundLeak, at: number): Follower[] {
  if (leak.sample !== null || leak.certificate?.verdict !== 'exact') {
    return [];
  }
  const guess = async (run: DefendedRun): Promise<PictureGuess[]> => {
    const { leaks } = await run.methodGuesses();
    return leaks
      .filter((own) => own.method === method && own.leak.sample === null)
      .flatMap((own) => own.leak.arrays.map(({ data }) => ({ by: 'what the method computes', values: data })));
  };
  return leak.arrays.map(({ shape, data }, place) =>
    pictureFollower(
      {
        id: `pictures-${at}-${place}`,
        title: leak.arrays.length === 1 ? leak.title : `${leak.title} (${place + 1} of ${leak.arrays.length})`,
        method,
        sample: null,
      },
      {
        shape: shape.length === 4 && shape[0] === 1 ? shape.slice(1) : shape,
        values: data,
        normalisation: undefined,
      },
      [method],
      guess,
    ),
  );
}

interface PictureGuess {
  readonly by: string;
  readonly values: Float64Array;
}

function pictureFollower(
  named: { readonly id: string; readonly title: string; readonly method: string; readonly sample: number | null },
  truth: Picture,
  methods: readonly string[],
  guess: (run: DefendedRun) => Promise<readonly PictureGuess[]>,
): Follower {
  const flat = flatPsnr(truth.values);
  return {
    leak: {
      ...named,
      measure: psnrFrom(flat),
      undefended: fittedTo(truth.values, truth.values)?.psnr ?? 0,
      chance: flat,
      limit: () => Math.max(RECOGNISABLE, flat + BEYOND_FLAT),
      byChance: () => flat + BEYOND_FLAT,
    },
    shown: { type: 'numbers', ...truth },
    methods,
    guesses: async (run) => {
      const guesses = await guess(run);
      const rules = [...new Set(guesses.map(({ by }) => by))];
      return rules.flatMap((by) => nearest(by, guesses, truth));
    },
  };
}

/** Of all guesses the nearest: which sample one is of is not known. */
function nearest(by: string, guesses: readonly PictureGuess[], truth: Picture): RuleGuess[] {
  let best: RuleGuess | undefined;
  for (const own of guesses.filter((guess) => guess.by === by)) {
    const fit = fittedTo(own.values, truth.values);
    if (fit && (best === undefined || fit.psnr > best.value)) {
      const fitted = own.values.map((number) => fit.slope * number + fit.offset);
      best = { by, value: fit.psnr, shown: { type: 'numbers', ...truth, values: fitted } };
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
