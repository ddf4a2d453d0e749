import type { Transformer } from '../../network/transformers/transformer.js';
import { counted } from '../../words/count-words.js';
import type { Certificate } from '../../protocol/detail.js';
import { type EncoderText, type EncoderTexts, isConfirmed } from './encoder-texts.js';
import { type TextToTell, type TextsToTell, certificateOf } from './texts-leak.js';

/** Texts of a model whose tokens see both directions, with what speaks for them. */
export function tellEncoder(transformer: Transformer, found: EncoderTexts): TextsToTell {
  const certificate = certificateOf(transformer, found, farthestOf(found), isConfirmed(transformer, found));
  const { inputs, outputs, candidates, unplaced, possible, nextNearest } = found;
  const short = (value: number): string => value.toExponential(1);
  const hidden = found.texts.reduce((sum, text) => sum + text.hidden, 0);
  const left = unplaced.length > 0 ? [{ name: 'tokens in none of them', value: String(unplaced.length) }] : [];
  return {
    texts: found.texts.map((text) =>
      transformer.head?.kind === 'language-model' ? filled(text, certificate.verdict === 'exact') : classified(text),
    ),
    certificate,
    amount: `${found.texts.length} ${found.texts.length === 1 ? 'text' : 'texts'}, word for word`,
    explanation: explanation(transformer, found, certificate),
    facts: [
      {
        name: 'single tokens',
        value: `${candidates.count} fit ${inputs.rank} directions, at distances of up to ${short(candidates.farthest)}; the nearest other is at ${short(candidates.nextNearest)}`,
      },
      {
        name: 'texts',
        value: `their outputs fit ${outputs.rank} directions, at distances of up to ${short(farthestOf(found))}; the nearest other text is at ${short(nextNearest)}`,
      },
      ...(hidden > 0 ? [{ name: 'outputs that the noise hides', value: String(hidden) }] : []),
      ...left,
      ...(possible.length > 0 ? [{ name: 'tokens that may be of others', value: String(possible.length) }] : []),
    ],
  };
}

function classified({ tokens, label, tokenLabels, alternatives, mayEndEarlier }: EncoderText): TextToTell {
  const labels = tokenLabels.map((own) => own ?? '-').join(' ');
  return {
    tokens,
    times: 1,
    alternatives: new Map(alternatives.map(({ position, tokens: others }) => [position, others])),
    words: [
      ...(label === undefined ? [] : [`label ${label}`]),
      ...(tokenLabels.length > 0 ? [`labels by token: ${labels}`] : []),
      ...(mayEndEarlier ? ['it may end earlier'] : []),
    ],
  };
}

/** A text as it was before tokens of it were masked: what the model was asked for stands in their places. */
function filled(text: EncoderText, isSure: boolean): TextToTell {
  const told = classified({ ...text, tokenLabels: [] });
  const asked = text.tokenLabels.flatMap((label, position) => (label === undefined ? [] : [{ label, position }]));
  const tokens = text.tokens.slice();
  const alternatives = new Map(told.alternatives);
  for (const { label, position } of asked) {
    tokens[position] = label;
    if (!isSure && label !== text.tokens[position]) {
      alternatives.set(position, [text.tokens[position]!, ...(alternatives.get(position) ?? [])]);
    }
  }
  const words = asked.length > 0 ? [`${asked.length} masked, and filled in from the head`] : [];
  return { ...told, tokens, alternatives, words: [...words, ...told.words] };
}

function farthestOf({ texts }: EncoderTexts): number {
  return texts.reduce((most, { distance }) => Math.max(most, distance), 0);
}

/** That a search was ended, and with what; empty where it was not. */
export function endOf({ texts, unplaced, endedAfter }: EncoderTexts): string {
  if (endedAfter === undefined) {
    return '';
  }
  const others = new Map<number, number>();
  for (const { position } of unplaced) {
    others.set(position, (others.get(position) ?? 0) + 1);
  }
  const whole = texts.length + Math.max(0, ...others.values());
  return ` ${texts.length} of at least ${whole} texts were put together: the search was ended after ${endedAfter.toExponential(0)} multiplications, before it was sure that nothing else fits.`;
}

function explanation({ blocks }: Transformer, found: EncoderTexts, { verdict }: Certificate): string {
  const { misfit } = found;
  const how = `The gradient of \`${blocks[0]!.output.weight}\` holds, in its row space, what the first attention computes for each token of a text among the others of that text: texts were put together so that all of theirs lie in it.`;
  if (!misfit) {
    return `${how} Not all tokens of the batch are in these texts, or nothing else confirms them: they are candidates.${endOf(found)}`;
  }
  const gradient = `As a check, the gradient of all of them together, with what the head tells of their labels, was computed: it differs from the captured one by ${misfit.error.toExponential(1)} over ${counted(misfit.compared, 'tensor')}.`;
  return verdict === 'exact'
    ? `${how} ${gradient}`
    : `${how} ${gradient} That does not confirm them: they are candidates.${endOf(found)}`;
}
