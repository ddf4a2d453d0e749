import type { NextToken, NextTokens } from './next-tokens.js';
import { type PrefixNode, textsThrough } from './prefix-forest.js';

/**
 * Where positions are told by rotation only, a first token and its repetitions have the same state in every layer: attention
 * over equal values is that value. A head's gradient tells what follows them together; here it is told apart by the prefixes.
 */

/** For each prefix the index of its state among the distinct ones. */
export function distinctStates(nodes: readonly PrefixNode[]): { readonly stateOf: Int32Array; readonly count: number } {
  const stateOf = new Int32Array(nodes.length);
  let count = 0;
  nodes.forEach(({ repeats, parent }, at) => {
    stateOf[at] = repeats > 0 ? stateOf[parent]! : count++;
  });
  return { stateOf, count };
}

/**
 * @param rows n x width, n prefixes
 * @returns count x width, of each distinct state its first row
 */
export function distinctRows(
  rows: Float64Array,
  width: number,
  { stateOf, count }: { readonly stateOf: Int32Array; readonly count: number },
): Float64Array {
  const out = new Float64Array(count * width);
  for (let at = stateOf.length - 1; at >= 0; at--) {
    out.set(rows.subarray(at * width, (at + 1) * width), stateOf[at]! * width);
  }
  return out;
}

/**
 * What the distinct states' gradient tells, for every prefix: weights by how many texts go through it, next tokens by which
 * of the equal prefixes goes on with them.
 *
 * @param width numbers per state
 */
export function perPrefix(
  next: NextTokens,
  nodes: readonly PrefixNode[],
  width: number,
  stateOf: Int32Array,
): NextTokens {
  const members = new Map<number, number[]>();
  stateOf.forEach((state, at) => members.set(state, [...(members.get(state) ?? []), at]));
  const texts = textsThrough(nodes);
  const weights = new Float64Array(nodes.length);
  for (const [state, own] of members) {
    const all = own.reduce((sum, at) => sum + texts[at]!, 0);
    own.forEach((at) => (weights[at] = (next.weights[state]! * texts[at]!) / all));
  }
  const goesOn = new Map(nodes.map(({ parent, token }, at) => [`${parent} ${token}`, at]));
  const found = next.found.flatMap((target): NextToken[] => {
    const own = members.get(target.state)!;
    const onward = own
      .map((at) => goesOn.get(`${at} ${target.token}`))
      .map((at) => (at === undefined ? 0 : weights[at]!));
    const total = onward.reduce((sum, weight) => sum + weight, 0);
    return total > 0
      ? own.flatMap((at, index) =>
          onward[index]! > 0 ? [{ ...target, state: at, share: (target.share * onward[index]!) / total }] : [],
        )
      : [{ ...target, state: own[own.length - 1]! }];
  });
  const inverse = new Float64Array(nodes.length * width);
  stateOf.forEach((state, at) => inverse.set(next.inverse.subarray(state * width, (state + 1) * width), at * width));
  return {
    weights,
    unit: next.unit,
    found,
    supposed: next.supposed.flatMap((target) => members.get(target.state)!.map((state) => ({ ...target, state }))),
    logSums: Float64Array.from(stateOf, (state) => next.logSums[state]!),
    inverse,
  };
}
