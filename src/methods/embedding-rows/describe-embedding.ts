import { counted } from '../../words/count-words.js';
import type { LeakReport } from '../../protocol/report.js';

/** Rows of an embedding's gradient that are not zero. */
export interface TouchedEmbedding {
  /** Name of the weight in the checkpoint. */
  readonly tensor: string;
  /** `positions`: the rows tell how long the inputs were. */
  readonly what: 'tokens' | 'positions';
  /** Rows of the embedding, and numbers in each. */
  readonly entries: number;
  readonly width: number;
  /** Rows whose gradient is not zero. */
  readonly touched: number;
  /** The first 4096 of them: the ids that occur in the batch. */
  readonly rows: readonly number[];
  /** Their texts, from the vocabulary file. */
  readonly texts?: readonly string[];
  readonly vocabulary?: string;
}

/** As a report tells it. */
export function describeEmbedding(embedding: TouchedEmbedding): Omit<LeakReport, 'method' | 'files'> {
  const { tensor, what, touched, entries, rows, texts, vocabulary } = embedding;
  const source = vocabulary === undefined ? '' : ` Texts from \`${vocabulary.split(/[\\/]/).pop() ?? ''}\`.`;
  return {
    noun: 'Embedding',
    what: `${tensor}: ${touched} of ${entries} ${what} occur`,
    brief:
      what === 'tokens'
        ? `${counted(touched, 'token or item', 'tokens or items')} by "${tensor}"`
        : 'the length of the inputs',
    title: what === 'tokens' ? 'Tokens of the batch' : 'Positions of the batch',
    amount: `${touched} of ${entries}`,
    sample: null,
    tensor,
    // A row without any look-up has no gradient at all, so nothing is left to rounding.
    certificate: { by: 'equations', error: 0, floor: 0, expectedError: 0, verdict: 'exact' },
    gives: { inputs: 0, tokens: what === 'tokens' ? touched : 0 },
    details: [
      {
        type: 'text',
        text: `These rows of the gradient of \`${tensor}\` are not zero, so these ${what} occur.${source}`,
      },
      {
        type: 'tokens',
        tokens: rows.map((row, at) => {
          const text = texts?.[at];
          return text === undefined ? { text: String(row) } : { text, hint: `id ${row}` };
        }),
        more: touched - rows.length,
      },
    ],
  };
}
