import { basename } from 'node:path';
import type { Vocabulary } from '../../facts/vocabulary.js';
import type { Transformer } from '../../network/transformers/transformer.js';
import type { Certificate, RecoveredText, TextsDetail } from '../../protocol/detail.js';
import type { Finding } from '../../protocol/report.js';
import { runningText } from '../../words/recovered-texts.js';
import type { InputSpace } from '../../recovery/text/input-space.js';
import { counted } from '../../words/count-words.js';
import type { Leak } from '../method.js';
import { type Difference, noiseOf } from './comparison.js';

/** What is told of texts that were recovered. */

export interface TextsToTell {
  readonly texts: readonly TextToTell[];
  readonly certificate: Certificate;
  /** How many they are, where they are sure. */
  readonly amount: string;
  /** How they were found, and what speaks for them. */
  readonly explanation: string;
  readonly facts: readonly { readonly name: string; readonly value: string }[];
  /** Which gradients tell them, and how large a batch hides them; where it is not the first attention's own. */
  readonly source?: { readonly tensor: string; readonly gradients: string; readonly room: number };
}

export interface TextToTell {
  readonly tokens: readonly number[];
  /** How many sequences of the batch read so. */
  readonly times: number;
  /** What else stands at a place, as far as is known. */
  readonly alternatives: ReadonlyMap<number, readonly number[]>;
  /** What is said of it beside its title. */
  readonly words: readonly string[];
}

/** What speaks for texts: their own gradient where it was computed, else how far they are from the row spaces. */
export function certificateOf(
  transformer: Transformer,
  {
    misfit,
    inputs,
    outputs,
  }: { readonly misfit: Difference | undefined; readonly inputs: InputSpace; readonly outputs: InputSpace },
  farthest: number,
  isSure: boolean,
): Certificate {
  return {
    by: misfit ? 'gradient' : 'equations',
    error: misfit ? misfit.error : farthest,
    floor: noiseOf(transformer, inputs, outputs),
    expectedError: isSure ? 0 : null,
    verdict: isSure ? 'exact' : 'uncertain',
  };
}

const QUOTED_TEXTS = 3;
const QUOTED_LETTERS = 60;

export function textsLeak(transformer: Transformer, told: TextsToTell, vocabulary: Vocabulary | undefined): Leak {
  const { texts, certificate, explanation, facts } = told;
  const isSure = certificate.verdict === 'exact';
  const detail: TextsDetail = {
    type: 'texts',
    texts: texts.map((text, at) => toldText(text, at, vocabulary)),
    ...(vocabulary ? { source: basename(vocabulary.path) } : {}),
  };
  const count = texts.reduce((sum, { times }) => sum + times, 0);
  const tokens = texts.reduce((sum, text) => sum + text.tokens.length * text.times, 0);
  const what = isSure ? told.amount : count === 1 ? '1 candidate for a text' : `${count} candidates for texts`;
  return {
    noun: 'Texts',
    what,
    brief: what,
    title: isSure ? 'Texts, word for word' : 'Candidates for texts',
    amount: counted(tokens, 'token'),
    sample: null,
    tensor: told.source?.tensor ?? transformer.blocks[0]!.output.weight,
    certificate,
    gives: { inputs: isSure ? count : 0, tokens },
    details: [
      detail,
      { type: 'text', text: explanation },
      {
        type: 'facts',
        facts: [
          { name: 'model', value: `${transformer.family}, by ${transformer.source.replace(/^.*[\\/]/, '')}` },
          ...facts,
        ],
      },
    ],
    findings: [findingOf(transformer, told, detail, isSure)],
    arrays: [],
  };
}

function toldText(
  { tokens, times, alternatives, words }: TextToTell,
  at: number,
  vocabulary: Vocabulary | undefined,
): RecoveredText {
  const pieces = vocabulary?.piecesOf(tokens) ?? tokens.map(String);
  const label = [...(times > 1 ? [`${times} times in the batch, by its weight in the loss`] : []), ...words].join(', ');
  return {
    title: `Text ${at + 1}`,
    ...(label === '' ? {} : { label }),
    tokens: tokens.map((id, place) => {
      const others = alternatives.get(place);
      return {
        id,
        text: pieces[place] ?? String(id),
        ...(others
          ? {
              isUncertain: true,
              alternatives: others.map((other) => ({
                id: other,
                text: vocabulary?.textsOf([other])[0] ?? String(other),
              })),
            }
          : {}),
      };
    }),
  };
}

function findingOf(
  { blocks, width }: Transformer,
  { certificate, source }: TextsToTell,
  detail: TextsDetail,
  isSure: boolean,
): Finding {
  const quotes = detail.texts.slice(0, QUOTED_TEXTS).map((text) => {
    const words = runningText(text, detail).replace(/\s+/g, ' ').trim();
    return `"${words.length > QUOTED_LETTERS ? `${words.slice(0, QUOTED_LETTERS)}...` : words}"`;
  });
  const more = detail.texts.length > quotes.length ? ` and ${detail.texts.length - quotes.length} more` : '';
  const misfit =
    certificate.by === 'gradient'
      ? `; their own gradient differs from the captured one by ${certificate.error.toExponential(1)}`
      : '';
  return {
    id: isSure ? 'texts-recovered' : 'text-candidates',
    severity: isSure ? 'high' : 'medium',
    title: isSure
      ? 'The texts of the batch can be read, word for word'
      : 'Candidates for the texts of the batch can be read',
    evidence: `${quotes.join(', ')}${more}${misfit}.`,
    mitigation: `Withhold the gradients of ${source?.gradients ?? `the first block's attention (${blocks[0]!.output.weight} and those beside it), and of the embeddings and the head`}. Batches of ${source?.room ?? width} tokens and more close this way. For a guarantee, aggregate securely over many clients, or clip and add noise (differential privacy).`,
  };
}
