/** What turns logits into probabilities, and with it which loss the head was trained with. */
export type HeadActivation = 'softmax' | 'sigmoid';

/** softmax(z) over all K logits, shifted by the largest so that nothing overflows. */
export function softmax(z: Float64Array): Float64Array {
  let top = -Infinity;
  for (const value of z) {
    top = Math.max(top, value);
  }
  const p = new Float64Array(z.length);
  let sum = 0;
  for (let i = 0; i < z.length; i++) {
    sum += p[i] = Math.exp(z[i]! - top);
  }
  for (let i = 0; i < p.length; i++) {
    p[i]! /= sum;
  }
  return p;
}

/** 1 / (1 + exp(-z)), element by element. */
export function sigmoid(z: Float64Array): Float64Array {
  return z.map((value) => 1 / (1 + Math.exp(-value)));
}
