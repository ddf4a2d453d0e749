import type { SyntaxNode } from '@lezer/common';
import type { Outline, Scope } from './outline.js';
import { type Place, placeAfter, placeBefore, statementOf, statementsOf } from './places.js';
import { sentValue } from './sent-value.js';
import type { TrainingPoint } from './training-points.js';

/** The call of capture_update that fits a client's function: weights before, taken where the function begins, and what it sends. */

export interface UpdateInsertion {
  /** Offset of the line that the call is put before. */
  readonly at: number;
  readonly text: string;
  /** A copy of the weights before the training, which writes into them. */
  readonly start: { readonly at: number; readonly text: string } | undefined;
  readonly unknown: readonly string[];
}

const COPY = 'gradleak_before';

/** @returns undefined where no line of its own can hold the call */
export function updateInsertion(
  outline: Outline,
  point: TrainingPoint,
  module: string,
  folder: string,
): UpdateInsertion | undefined {
  const { scope } = point;
  const end = outline.returns.get(scope);
  const place = end && placeBefore(outline, end);
  if (!end || !place) {
    return undefined;
  }
  const sent = sentValue(outline, point);
  const after = sent && canBeAskedTwice(outline, scope, sent) ? textOf(outline, sent) : undefined;
  const copy = copyPlace(outline, point, after, end);
  return {
    at: place.at,
    text: `${place.indent}${module}.capture_update(${copy ? COPY : 'before'}, ${after ?? 'after'}, ${folder}${named(outline, point)}, once=True)\n`,
    start: copy && { at: copy.at, text: `${copy.indent}${COPY} = ${module}.weights_of(${copy.weights})\n` },
    unknown: [...(copy ? [] : ['before']), ...(after === undefined ? ['after'] : [])],
  };
}

function textOf({ text }: Outline, { from, to }: SyntaxNode): string {
  return text.slice(from, to);
}

/** Calls that compute nothing new: what they give a second time is what they gave the first. */
const READING =
  /^(get_\w*|state_dict|parameters|named_parameters|items|values|keys|detach|cpu|numpy|clone|copy|deepcopy|to|list|dict|OrderedDict|ndarrays_to_parameters|parameters_to_ndarrays|zip)$/;

/** Pairs, names, and what is used up by the first who reads it. */
const GIVES_NO_ARRAYS = /(^zip|\.items|\.keys)\(.*\)$/;

function canBeAskedTwice(outline: Outline, scope: Scope, node: SyntaxNode): boolean {
  const text = textOf(outline, node);
  return (
    !text.includes('\n') &&
    !text.includes(':=') &&
    !GIVES_NO_ARRAYS.test(text) &&
    scope.calls
      .filter(({ node: { from, to } }) => from >= node.from && to <= node.to)
      .every(({ method }) => READING.test(method))
  );
}

/** Lists of arrays have no names; a client's own model has. */
function named({ calls }: Outline, { kind, scope }: TrainingPoint): string {
  const models = calls.flatMap(({ callee, scope: { owner } }) =>
    owner !== undefined && owner === scope.owner ? (/^(self\.\w+)\.state_dict$/.exec(callee)?.[1] ?? []) : [],
  );
  const [model] = new Set(models);
  return kind === 'flowerFit' && model !== undefined && new Set(models).size === 1 ? `, model=${model}` : '';
}

interface CopyPlace extends Place {
  /** What is copied there. */
  readonly weights: string;
}

/** Where the weights before are at hand: those that Flower hands over as the function begins, else the model's, once it has them. */
function copyPlace(
  outline: Outline,
  point: TrainingPoint,
  after: string | undefined,
  end: SyntaxNode,
): CopyPlace | undefined {
  const { scope } = point;
  const given = givenWeights(outline, point);
  if (given !== undefined) {
    const place = placeBefore(outline, firstOf(scope));
    return place && { ...place, weights: given };
  }
  const model = /^(?:copy\.deepcopy\(|deepcopy\()?([\w.]+)\.state_dict\(\)\)?$/.exec(after ?? '')?.[1];
  const place = model === undefined ? undefined : placeOfModel(outline, scope, model, end);
  return model !== undefined && place ? { ...place, weights: model } : undefined;
}

function givenWeights(outline: Outline, { kind, scope }: TrainingPoint): string | undefined {
  const [first, second] = scope.parameters;
  if (kind === 'flowerFit') {
    const isWhole = scope.owner?.bases.some((base) => base.endsWith('.NumPyClient')) === true;
    return second === undefined || isWhole ? second : `${second}.parameters`;
  }
  if (kind !== 'flowerTrain' || first === undefined) {
    return undefined;
  }
  const read = scope.calls.find(
    ({ method, receiver = '' }) =>
      /^to_(torch_state_dict|numpy_ndarrays)$/.test(method) && receiver.startsWith(`${first}.`),
  );
  const text = read && textOf(outline, read.node);
  // Only the message is there where the function begins.
  return text !== undefined && /^\w+(\.\w+|\[["']\w+["']\])+\(\)$/.test(text) ? text : undefined;
}

/** Where a model has its weights and is not trained yet; undefined where that is not plain. */
function placeOfModel(outline: Outline, scope: Scope, model: string, end: SyntaxNode): Place | undefined {
  const trained = scope.calls.find(({ method }) => method === 'backward')?.from ?? end.from;
  const isBefore = ({ from }: { from: number }): boolean => from < Math.min(trained, end.from);
  const loaded = scope.calls.find((call) => call.callee === `${model}.load_state_dict` && isBefore(call));
  const assigned = scope.assignments.to(model);
  const node = loaded?.node ?? assigned.findLast(isBefore)?.statement;
  if (!node) {
    const isGiven = scope.parameters.includes(model.split('.')[0] ?? '') && assigned.length === 0;
    return isGiven ? placeBefore(outline, firstOf(scope)) : undefined;
  }
  const statement = statementOf(node);
  const block = statement.parent;
  // A branch may not be taken, and a loop may come by again.
  return block && block.from <= end.from && block.to >= end.to ? placeAfter(outline, statement) : undefined;
}

/** The first statement that is no docstring. */
function firstOf(scope: Scope): SyntaxNode | undefined {
  const [first, second] = statementsOf(scope.node.getChild('Body'));
  const isDocstring = first?.name === 'ExpressionStatement' && first.firstChild?.name === 'String';
  return isDocstring ? second : first;
}
