import { basename } from 'node:path';
import type { Vocabulary } from '../../facts/vocabulary.js';
import type { Transformer } from '../../network/transformers/transformer.js';
import type { Certificate, Detail, RecoveredText, TextsDetail } from '../../protocol/detail.js';
import type { Finding } from '../../protocol/report.js';
import { runningText } from '../../words/recovered-texts.js';
import type { Leak } from '../method.js';
import type { CausalTexts } from './causal-texts.js';
import { type FoundText, isConfirmed } from './target-search.js';

/** What is told of texts that were recovered. */

const QUOTED_TEXTS = 3;
const QUOTED_LETTERS = 60;

export function textsLeak(transformer: Transformer, found: CausalTexts, vocabulary: Vocabulary | undefined): Leak {
  const certificate = certificateOf(transformer, found);
  const isSure = certificate.verdict === 'exact';
  const detail: TextsDetail = {
    type: 'texts',
    texts: found.texts.map((text, at) => toldText(text, at, isSure, vocabulary)),
    ...(vocabulary ? { source: basename(vocabulary.path) } : {}),
  };
  const count = found.texts.reduce((sum, { times }) => sum + times, 0);
  const tokens = found.texts.reduce((sum, text) => sum + text.tokens.length * text.times, 0);
  const what = amountOf(found, count, isSure);
  return {
    noun: 'Texts',
    what,
    brief: what,
    title: isSure ? 'Texts, word for word' : 'Candidates for texts',
    amount: `${tokens} tokens`,
    sample: null,
    tensor: transformer.blocks[0]!.output.weight,
    certificate,
    gives: { inputs: isSure ? count : 0, tokens },
    details: [
      detail,
      { type: 'text', text: explanation(transformer, found, certificate) },
      factsOf(transformer, found),
    ],
    findings: [findingOf(transformer, found, detail, isSure)],
    arrays: [],
  };
}

function amountOf({ misfit, texts }: CausalTexts, count: number, isSure: boolean): string {
  const noun = count === 1 ? 'text' : 'texts';
  if (!isSure) {
    return count === 1 ? '1 candidate for a text' : `${count} candidates for texts`;
  }
  const least = misfit ? '' : 'at least ';
  return `${least}${count} ${noun}, word for word${texts.some(({ isOpen }) => isOpen) ? ', without the last token' : ''}`;
}

/**
 * Attention over equal values is the same at every rotation: where a text begins with one token several times, these have one
 * state, and which of them another token follows is not told.
 */
function areRunsTold({ rotary }: Transformer, { texts, nodes }: CausalTexts): boolean {
  return (
    rotary === null ||
    (nodes.every(({ repeats }) => repeats === 0) &&
      !texts.some(({ tokens }) => tokens.every((token) => token === tokens[0])))
  );
}

function certificateOf(transformer: Transformer, found: CausalTexts): Certificate {
  const { misfit, inputs, outputs, nodes } = found;
  const { width } = transformer;
  const isTold = areRunsTold(transformer, found);
  const floor = Math.max(inputs.noise, outputs.noise) * Math.sqrt(width);
  if (misfit) {
    const isSure = isConfirmed(misfit) && isTold;
    return {
      by: 'gradient',
      error: misfit.error,
      floor,
      expectedError: isSure ? 0 : null,
      verdict: isSure ? 'exact' : 'uncertain',
    };
  }
  const error = nodes.reduce((most, { distance }) => Math.max(most, distance), 0);
  const isWhole = nodes.length === outputs.rank && isTold;
  return { by: 'equations', error, floor, expectedError: isWhole ? 0 : null, verdict: isWhole ? 'exact' : 'uncertain' };
}

function toldText(
  { tokens, times, lastAlternatives, isOpen }: FoundText,
  at: number,
  isSure: boolean,
  vocabulary: Vocabulary | undefined,
): RecoveredText {
  const pieces = vocabulary?.piecesOf(tokens) ?? tokens.map(String);
  const words = [
    ...(times > 1 ? [`${times} times in the batch, by its weight in the loss`] : []),
    ...(isOpen ? ['its last token is not told'] : []),
  ];
  return {
    title: `Text ${at + 1}`,
    ...(words.length > 0 ? { label: words.join(', ') } : {}),
    tokens: tokens.map((id, place) => ({
      id,
      text: pieces[place] ?? String(id),
      ...(isSure || place < tokens.length - 1 || lastAlternatives.length === 0
        ? {}
        : {
            isUncertain: true,
            alternatives: lastAlternatives.map((other) => ({
              id: other,
              text: vocabulary?.textsOf([other])[0] ?? String(other),
            })),
          }),
    })),
  };
}

function explanation(transformer: Transformer, found: CausalTexts, { verdict, floor }: Certificate): string {
  const { output } = transformer.blocks[0]!;
  const { misfit } = found;
  const how = `What the first attention makes of each beginning of a text lies in the row space of the gradient of \`${output.weight}\`, and what it makes of any other does not: texts were extended token by token.`;
  const runs =
    'Tokens that repeat the first one of a text have the same state, and what follows each of them is not told: they are candidates.';
  if (!misfit) {
    if (!areRunsTold(transformer, found)) {
      return `${how} ${runs}`;
    }
    return `${how} ${verdict === 'exact' ? 'They fill that space: what is missing, if anything, is a text that equals one of these or is its beginning.' : 'They do not fill that space: some are missing, or some are wrong.'}`;
  }
  const gradient = `The gradient of these texts, with their next tokens as targets, was computed through the whole model and differs from the captured one by ${misfit.error.toExponential(1)} over ${misfit.compared} tensors (most in \`${misfit.worst.tensor}\`, ${misfit.worst.error.toExponential(1)}); its noise is ${(floor ?? 0).toExponential(1)}, and one wrong token would leave ${misfit.resolution.toExponential(1)} or more.`;
  if (verdict === 'exact') {
    return `${how} ${gradient}`;
  }
  return `${how} ${gradient} ${isConfirmed(misfit) ? runs : 'That does not confirm them: they are candidates.'}`;
}

function factsOf({ family, source, width }: Transformer, found: CausalTexts): Detail {
  const { inputs, outputs, candidates, nodes, nextNearest } = found;
  const short = (value: number): string => value.toExponential(1);
  const farthest = nodes.reduce((most, { distance }) => Math.max(most, distance), 0);
  return {
    type: 'facts',
    facts: [
      { name: 'model', value: `${family}, by ${source.replace(/^.*[\\/]/, '')}` },
      {
        name: 'room for tokens',
        value: `${outputs.rank} directions used of ${Math.min(width, outputs.width)}; a batch of as many tokens would hide its texts from this method`,
      },
      {
        name: 'single tokens',
        value: `${candidates.count} fit ${inputs.rank} directions to ${short(candidates.farthest)}, the nearest other is at ${short(candidates.nextNearest)}`,
      },
      {
        name: 'beginnings of texts',
        value: `${nodes.length} fit to ${short(farthest)}, the nearest other is at ${short(nextNearest)}`,
      },
    ],
  };
}

function findingOf({ blocks, width }: Transformer, found: CausalTexts, detail: TextsDetail, isSure: boolean): Finding {
  const quotes = detail.texts.slice(0, QUOTED_TEXTS).map((text) => {
    const words = runningText(text, detail).replace(/\s+/g, ' ').trim();
    return `"${words.length > QUOTED_LETTERS ? `${words.slice(0, QUOTED_LETTERS)}...` : words}"`;
  });
  const more = detail.texts.length > quotes.length ? ` and ${detail.texts.length - quotes.length} more` : '';
  const { misfit } = found;
  return {
    id: isSure ? 'texts-recovered' : 'text-candidates',
    severity: isSure ? 'high' : 'medium',
    title: isSure
      ? 'The texts of the batch can be read from this gradient, word for word'
      : 'Candidates for the texts of the batch can be read from this gradient',
    evidence: `${quotes.join(', ')}${more}${misfit ? `; their own gradient differs from the captured one by ${misfit.error.toExponential(1)}` : ''}.`,
    mitigation: `Withhold the gradients of the first block's attention (${blocks[0]!.output.weight} and those beside it), and of the embeddings and the head. Batches of ${width} tokens and more close this way; for a guarantee aggregate securely over many clients, or clip and add noise (differential privacy).`,
  };
}
