import type { SyntaxNode } from '@lezer/common';
import type { Outline, Scope } from './outline.js';
import type { TrainingPoint } from './training-points.js';

/** What a client's function sends, as it is written in its `return`. */

const ARRAYS = /(^|\.)(ArrayRecord|ParametersRecord)$/;

/** The weights that are sent; undefined where they cannot be told. */
export function sentValue(
  outline: Outline,
  { kind, scope }: Pick<TrainingPoint, 'kind' | 'scope'>,
): SyntaxNode | undefined {
  if (kind === 'flowerTrain') {
    return scope.calls.findLast(({ qualified }) => ARRAYS.test(qualified))?.args[0]?.node;
  }
  const value = firstReturned(outline, scope);
  const result = value && outline.callEnding.get(value.to);
  // Flower's Client wraps them: FitRes(status, parameters=...).
  return result && /(^|\.)FitRes$/.test(result.qualified)
    ? result.args.find(({ name }) => name === 'parameters')?.node
    : value;
}

/** Whether a function trains a model and returns its weights. */
export function returnsWeights(outline: Outline, scope: Scope): boolean {
  const value = scope.parent && firstReturned(outline, scope);
  const text = value ? outline.text.slice(value.from, value.to) : '';
  return (
    text.length < MOST_CHARACTERS &&
    text.includes('.state_dict()') &&
    scope.calls.some(({ method, from }) => method === 'backward' && from < (value?.from ?? 0))
  );
}

const MOST_CHARACTERS = 300;

function firstReturned(outline: Outline, scope: Scope): SyntaxNode | undefined {
  let node = outline.returns.get(scope)?.firstChild?.nextSibling ?? undefined;
  while (node && (node.name === 'TupleExpression' || node.name === 'ParenthesizedExpression')) {
    node = node.firstChild?.nextSibling ?? undefined;
  }
  return node;
}
