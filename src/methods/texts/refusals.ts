/** Why no texts are read, as both kinds of model say it. */

export const NO_LOSS = 'The gradient of the first attention is zero: no token had a loss, as in texts of one token.';

export const NO_TOKEN =
  'No token lies in the space of the first attention: the gradient is of another checkpoint (one step away, or rounded, is enough), dropout was on, or noise was added.';

/** @param width tokens of a batch that fill the space */
export function hiddenBy(what: 'attention' | "attention's output", width: number): string {
  return `The gradient of the first ${what} has full rank, or nearly: a batch of about ${width} tokens and more, noise, rounding or weight decay hides them.`;
}

/** @param lookedUp tokens whose embeddings have a gradient */
export function fewOf(count: number, lookedUp: number): string {
  return `Only ${count} of ${lookedUp} tokens that were looked up fit the first attention: noise or rounding hides the others.`;
}
