import { rowBlocks } from '../../facts/row-blocks.js';
import type { TextsDetail } from '../../protocol/detail.js';
import { touchedRows } from '../../recovery/embedding-rows.js';
import type { FoundLeak } from '../report.js';
import type { DefendedRun } from './defended-run.js';
import { type Follower, MEASURES, type RuleGuess, aboveChance } from './follower.js';
import type { Undefended } from './undefended.js';

/** Tokens that an embedding's gradient tells, and texts. */

/** Draws of noise on larger embeddings take seconds each. */
const MOST_REPEATED = 2 ** 18;
/** Share of tokens in their place that texts may agree in by their commonest ones. */
const TEXTS_LIMIT = 0.1;

export function textFollowers(undefended: Undefended): Follower[] {
  return undefended.result.leaks.flatMap((found, at) => [...tokensOf(undefended, found, at), ...textsOf(found, at)]);
}

function tokensOf(undefended: Undefended, { method, leak }: FoundLeak, at: number): Follower[] {
  const pair = undefended.matching.pairs.find(({ parameter }) => parameter.name === leak.tensor);
  if (leak.noun !== 'Embedding' || leak.gives.tokens === 0 || !pair) {
    return [];
  }
  const [rows = 0, cols = 0] = pair.parameter.shape;
  const touched = touchedRows(cols, rowBlocks(undefended.dump.gradients, pair.gradient));
  const truth = new Set(touched);
  const chance = touched.length / rows;
  return [
    {
      leak: {
        id: `tokens-${at}`,
        title: `Tokens or items by ${pair.parameter.name}`,
        method,
        sample: null,
        measure: MEASURES.tokens,
        undefended: 1,
        chance,
        limit: () => aboveChance(chance)(touched.length),
        byChance: () => aboveChance(chance)(touched.length),
      },
      shown: null,
      methods: rows * cols > MOST_REPEATED ? [method] : [],
      guesses: ({ file }) => Promise.resolve(largestRows(file, pair.gradient.name, rows, truth)),
    },
  ];
}

/** Noise reaches every row, so which are not zero tells nothing; the longest ones still do. */
function largestRows(file: DefendedRun['file'], name: string, rows: number, truth: ReadonlySet<number>): RuleGuess[] {
  if (!file.entries.some((entry) => entry.name === name)) {
    return [];
  }
  const { data } = file.read(name);
  const cols = data.length / rows;
  const sizes = Float64Array.from({ length: rows }, (_, row) => {
    let squares = 0;
    for (let at = row * cols; at < (row + 1) * cols; at++) {
      squares += (data[at] ?? 0) ** 2;
    }
    return squares;
  });
  const order = Array.from(sizes.keys()).sort((one, other) => (sizes[other] ?? 0) - (sizes[one] ?? 0));
  // A row of zeros is no guess.
  const guess = order.slice(0, truth.size).filter((row) => (sizes[row] ?? 0) > 0);
  const right = guess.filter((row) => truth.has(row)).length;
  return [{ by: 'the rows of the embedding with the longest gradients', value: right / truth.size }];
}

function textsOf({ method, leak }: FoundLeak, at: number): Follower[] {
  const truth = leak.details.find((detail) => detail.type === 'texts');
  if (!truth || leak.certificate?.verdict !== 'exact') {
    return [];
  }
  return [
    {
      leak: {
        id: `texts-${at}`,
        title: `${leak.title}: ${leak.amount ?? ''}`,
        method,
        sample: null,
        measure: MEASURES.texts,
        undefended: 1,
        chance: null,
        limit: () => TEXTS_LIMIT,
      },
      shown: truth,
      methods: [method],
      guesses: async (run) => {
        const { leaks } = await run.methodGuesses();
        return leaks.flatMap((own): RuleGuess[] => {
          const detail = own.leak.details.find((one) => one.type === 'texts');
          return detail && own.method === method
            ? [{ by: 'the texts that the audit puts together', value: shareRight(detail, truth), shown: detail }]
            : [];
        });
      },
    },
  ];
}

/** Each true text against the found one that agrees with it in most places. */
function shareRight(found: TextsDetail, truth: TextsDetail): number {
  let [right, all] = [0, 0];
  for (const { tokens } of truth.texts) {
    const agreeing = found.texts.map(
      (guess) => tokens.filter(({ id }, place) => guess.tokens[place]?.id === id).length,
    );
    right += agreeing.reduce((most, own) => Math.max(most, own), 0);
    all += tokens.length;
  }
  return all > 0 ? right / all : 0;
}
