import type { Transformer } from '../../network/transformers/transformer.js';
import { counted } from '../../words/count-words.js';
import type { Certificate } from '../../protocol/detail.js';
import { most } from '../../recovery/vectors.js';
import type { AdapterInputs, AdapterTexts } from './adapter-texts.js';
import { mayBeNoise } from './comparison.js';
import { readTexts } from './target-search.js';
import type { TextsToTell } from './texts-leak.js';

/** Texts that adapters tell, with what speaks for them. */
export function tellAdapter(transformer: Transformer, found: AdapterTexts): TextsToTell {
  const { inputs, beyond, candidates, nodes, nextNearest, confirmed } = found;
  const isOpen = confirmed?.isWhole !== true;
  const floor = most([inputs, beyond].map(({ space: { space } }) => space.noise * Math.sqrt(space.width)));
  const isConfirmed = confirmed?.isWhole === true && mayBeNoise(confirmed.misfit, floor);
  const isSure = isConfirmed && nodes.every(({ repeats }) => repeats === 0);
  const texts = confirmed?.texts ?? readTexts(nodes, false).map(({ tokens }) => tokens);
  const misfit = confirmed?.misfit;
  const farthest = most(nodes.map(({ distance }) => distance));
  const certificate: Certificate = {
    by: misfit ? 'gradient' : 'equations',
    error: misfit ? misfit.error : farthest,
    floor,
    expectedError: isSure ? 0 : null,
    verdict: isSure ? 'exact' : 'uncertain',
  };
  const short = (value: number): string => value.toExponential(1);
  return {
    texts: texts.map((tokens) => ({
      tokens,
      times: 1,
      alternatives: new Map(),
      words: isOpen && misfit ? ['its last token is not told'] : [],
    })),
    certificate,
    amount: `${texts.length} ${texts.length === 1 ? 'text' : 'texts'}, word for word`,
    explanation: explanation(found, { isConfirmed, isSure }),
    facts: [
      { name: 'room for tokens', value: roomOf(inputs) },
      {
        name: 'single tokens',
        value: `${candidates.count} fit ${inputs.space.space.rank} directions, at distances of up to ${short(candidates.farthest)}; the nearest other is at ${short(candidates.nextNearest)}`,
      },
      {
        name: 'beginnings of texts',
        value: `${nodes.length} fit ${beyond.space.space.rank} directions, at distances of up to ${short(farthest)}; the nearest other is at ${short(nextNearest)}`,
      },
    ],
    source: {
      tensor: transformer.blocks[0]!.query.weight,
      gradients: 'the adapters of the first two blocks',
      room: inputs.room,
    },
  };
}

function roomOf({ isFresh, room }: AdapterInputs): string {
  return isFresh
    ? `the adapters are fresh, so a batch of nearly as many tokens as their rank, ${room}, would hide its texts`
    : `the adapters that share an input have a rank of ${room} together; a batch of more tokens would hide its texts`;
}

function explanation(
  { inputs, confirmed }: AdapterTexts,
  { isConfirmed, isSure }: { readonly isConfirmed: boolean; readonly isSure: boolean },
): string {
  const how = `Only adapters have a gradient. ${
    inputs.isFresh
      ? "They are fresh: the gradient of lora_B holds what lora_A makes of a layer's inputs."
      : "The gradient of lora_A holds the layer's inputs."
  } Tokens were told by the first attention's, and texts extended token by token by those of the attention that follows.`;
  if (!confirmed) {
    return `${how} The head is no language model's, so their own gradient was not computed: they are candidates.`;
  }
  const { misfit } = confirmed;
  const gradient = `The gradient of all adapters for these texts, each with its loss on every next token, was computed through the whole model and differs from the captured one by ${misfit.error.toExponential(1)} over ${counted(misfit.compared, 'tensor')} (most in \`${misfit.worst.tensor}\`, ${misfit.worst.error.toExponential(1)}); another last token would leave ${misfit.resolution.toExponential(1)} or more.`;
  if (isSure) {
    return `${how} ${gradient} Last tokens are only labels, and were told by that gradient.`;
  }
  if (confirmed.isWhole && !isConfirmed) {
    return `${how} ${gradient} That is more than the noise of the dump, so something is missing or wrong: they are candidates.`;
  }
  return confirmed.isWhole
    ? `${how} ${gradient} Tokens that repeat the first one of a text have the same state, and what follows each of them is not told: they are candidates.`
    : `${how} ${gradient} That does not confirm them: they are candidates, without the last token.`;
}
