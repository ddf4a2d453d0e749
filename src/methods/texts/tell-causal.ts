import type { Transformer } from '../../network/transformers/transformer.js';
import { counted } from '../../words/count-words.js';
import type { Certificate } from '../../protocol/detail.js';
import { distinctStates } from '../../recovery/text/equal-states.js';
import type { CausalTexts } from './causal-texts.js';
import { mayBeNoise, noiseOf } from './comparison.js';
import { isConfirmed } from './target-search.js';
import { type TextsToTell, certificateOf } from './texts-leak.js';

/** Texts of a causal model, with what speaks for them. */
export function tellCausal(transformer: Transformer, found: CausalTexts): TextsToTell {
  const isWhole = isExplained(transformer, found);
  const isTold = isWhole && areRunsTold(transformer, found);
  const certificate = certificateOf(transformer, found, farthestOf(found), isTold);
  const isSure = certificate.verdict === 'exact';
  const { inputs, outputs, candidates, nodes, nextNearest } = found;
  const paddings = new Set(found.texts.map(({ padding }) => padding?.token));
  const short = (value: number): string => value.toExponential(1);
  return {
    texts: found.texts.map(({ tokens, times, lastAlternatives, isOpen, padding, behind }) => ({
      tokens,
      // A weight that nothing confirms is no count.
      times: isWhole ? times : 1,
      alternatives: new Map(
        isSure || padding || lastAlternatives.length === 0 ? [] : [[tokens.length - 1, lastAlternatives]],
      ),
      words: [
        ...(behind === null ? [] : [`padded before its start with the token ${behind}`]),
        ...(padding
          ? [`padded with ${padding.count} times the token ${padding.token}`]
          : isOpen
            ? ['its last token is not told']
            : paddings.has(tokens.at(-1))
              ? ['its last token may be padding']
              : []),
      ],
    })),
    certificate,
    amount: amountOf(found),
    explanation: explanation(transformer, found, certificate),
    facts: [
      {
        name: 'room for tokens',
        value: `${outputs.rank} of ${Math.min(transformer.width, outputs.width)} directions are used; a batch of as many tokens as directions would hide its texts from this method`,
      },
      {
        name: 'single tokens',
        value: `${candidates.count} fit ${inputs.rank} directions, at distances of up to ${short(candidates.farthest)}; the nearest other is at ${short(candidates.nextNearest)}`,
      },
      {
        name: 'beginnings of texts',
        value: `${nodes.length} fit, at distances of up to ${short(farthestOf(found))}; the nearest other is at ${short(nextNearest)}`,
      },
    ],
  };
}

function isExplained(transformer: Transformer, { misfit, nodes, inputs, outputs }: CausalTexts): boolean {
  return misfit
    ? isConfirmed(misfit) && mayBeNoise(misfit, noiseOf(transformer, inputs, outputs))
    : nodes.length === outputs.rank;
}

function farthestOf({ nodes }: CausalTexts): number {
  return nodes.reduce((most, { distance }) => Math.max(most, distance), 0);
}

function amountOf({ misfit, texts }: CausalTexts): string {
  const count = texts.reduce((sum, { times }) => sum + times, 0);
  const open = texts.some(({ isOpen }) => isOpen) ? ', without the last token' : '';
  return `${misfit ? '' : 'at least '}${count} ${count === 1 ? 'text' : 'texts'}, word for word${open}`;
}

/**
 * Attention over equal values is the same at every rotation: where a text begins with one token several times, these have one
 * state. Which of them another token follows is told by the attention of that token alone, which a last one does not have.
 */
function areRunsTold({ rotary }: Transformer, { texts, nodes }: CausalTexts): boolean {
  if (rotary === null) {
    return true;
  }
  const { stateOf } = distinctStates(nodes);
  const runs = new Set(nodes.flatMap(({ repeats }, at) => (repeats > 0 ? [stateOf[at]!] : [])));
  const begun = new Set([...runs].map((state) => nodes[stateOf.indexOf(state)]!.token));
  const onward = nodes.flatMap(({ parent, token, repeats }) =>
    parent >= 0 && repeats === 0 && runs.has(stateOf[parent]!) ? [`${stateOf[parent]!} ${token}`] : [],
  );
  return (
    new Set(onward).size === onward.length &&
    texts.every(({ tokens }) => {
      const run = tokens.findIndex((token) => token !== tokens[0]);
      return run >= 0 && (run < tokens.length - 1 || !begun.has(tokens[0]!));
    })
  );
}

const RUNS =
  'Tokens that repeat the first one of a text have the same state, and which of them goes on is not told here: they are candidates.';

function explanation(transformer: Transformer, found: CausalTexts, { verdict, floor }: Certificate): string {
  const { output } = transformer.blocks[0]!;
  const { misfit } = found;
  const how = `The gradient of \`${output.weight}\` holds, in its row space, what the first attention computes for each beginning of a text of the batch, and for no other: texts were extended token by token, as far as they lie in it.`;
  if (!misfit) {
    const whole =
      verdict === 'exact'
        ? 'They fill that space: what is missing, if anything, is a text that equals one of these or is the beginning of one.'
        : 'They do not fill that space: some are missing, or some are wrong.';
    return `${how} ${areRunsTold(transformer, found) ? whole : RUNS}`;
  }
  const gradient = `As a check, the gradient of these texts was computed through the whole model: it differs from the captured one by ${misfit.error.toExponential(1)} over ${counted(misfit.compared, 'tensor')} (most in \`${misfit.worst.tensor}\`, ${misfit.worst.error.toExponential(1)}). Noise alone would leave ${(floor ?? 0).toExponential(1)}, and one wrong token ${misfit.resolution.toExponential(1)} or more.`;
  if (verdict === 'exact') {
    return `${how} ${gradient}`;
  }
  return `${how} ${gradient} ${isExplained(transformer, found) ? RUNS : 'That does not confirm them: they are candidates.'}`;
}
