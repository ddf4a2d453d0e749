import type { SyntaxNode } from '@lezer/common';
import { countBefore } from './ordered.js';
import type { Argument, Imports, Outline, Scope } from './outline.js';
import { type Place, placeAfter, placeBefore, statementOf, statementsOf } from './places.js';
import { type TrainingPoint, isSending, lossNameOf } from './training-points.js';
import { updateInsertion } from './update-insertion.js';

/** The call of gradleak_capture.py that fits a place, with the script's own names where they can be told. */

export interface CaptureInsertion {
  /** Offset of the line that the call is put before. */
  readonly at: number;
  /** The call's lines, each with the indentation of the place and a line break. */
  readonly text: string;
  /** A line that goes in further up, where the function has not trained yet. */
  readonly start: { readonly at: number; readonly text: string } | undefined;
  /** Offset for the import, and the import; undefined when it is there already. */
  readonly import: { readonly at: number; readonly text: string } | undefined;
  /** Names that could not be told and stand for what the user has to fill in. */
  readonly unknown: readonly string[];
}

const MODULE = 'gradleak_capture';
const PLACEHOLDERS = { model: 'model', inputs: 'inputs', labels: 'labels', loss: 'loss_function' } as const;

interface Names {
  model?: string;
  inputs?: string;
  labels?: string;
  /** A callable of outputs and labels. */
  loss?: string;
}

/** How a block lies in its script. */
export interface BlockPlace {
  /** Offset of the block. */
  readonly start: number;
  /** The script's first block. */
  readonly first: Outline;
  readonly imports: Imports;
  /** True where the top of the file captures already. */
  readonly isTopCapturing: boolean;
}

/**
 * Offsets are those of the script.
 *
 * @returns undefined where there is no place for a statement, or a capture already
 */
export function insertionFor(
  outline: Outline,
  point: TrainingPoint,
  { start, first, imports, isTopCapturing }: BlockPlace,
): CaptureInsertion | undefined {
  const isCapturing = point.scope.parent ? outline.capturing.has(point.scope) : isTopCapturing;
  if (isCapturing) {
    return undefined;
  }
  const folder = `"captures/${folderName(point.scope)}"`;
  if (isSending(point.kind)) {
    const own = updateInsertion(outline, point, MODULE, folder);
    return (
      own && {
        ...own,
        at: start + own.at,
        start: own.start && { ...own.start, at: start + own.start.at },
        import: importFor(first, imports),
      }
    );
  }
  const place = placeOf(outline, point);
  if (!place) {
    return undefined;
  }
  const names = namesFor(outline, point);
  const isTape = point.kind === 'tapeGradient';
  const needed = isTape ? (['model'] as const) : (['model', 'inputs', 'labels', 'loss'] as const);
  const unknown = needed.filter((name) => names[name] === undefined);
  const value = (name: keyof Names): string => names[name] ?? PLACEHOLDERS[name];
  const call = isTape
    ? `${MODULE}.capture_tape(${value('model')}, ${gradientsName(point)}, ${folder}, once=True)`
    : `${MODULE}.capture(${value('model')}, ${value('inputs')}, ${value('labels')}, ${value('loss')}, ${folder}, once=True)`;
  return {
    at: start + place.at,
    text: `${place.indent}${call}\n`,
    start: undefined,
    import: importFor(first, imports),
    unknown,
  };
}

function folderName({ name, owner }: Scope): string {
  return [owner?.name, name].filter(Boolean).join('.').replace(/\W+/g, '-') || 'step';
}

/** The line that the statement begins on; after it for tapes, whose gradients exist only then. */
function placeOf(outline: Outline, point: TrainingPoint): Place | undefined {
  if (point.call) {
    const statement = statementOf(point.call.node);
    return point.kind === 'tapeGradient' ? placeAfter(outline, statement) : placeBefore(outline, statement);
  }
  const statements = statementsOf(point.scope.node.getChild('Body'));
  return statements.length > 0 ? placeBefore(outline, afterLoss(outline, point.scope, statements)) : undefined;
}

/** The statement after the one that computes the loss, else the last. */
function afterLoss(outline: Outline, scope: Scope, statements: readonly SyntaxNode[]): SyntaxNode {
  const loss = lossCallOf(outline, scope, Infinity);
  const next = statements.find((statement) => loss !== undefined && statement.from > loss.node.to);
  return next ?? statements.at(-1) ?? scope.node;
}

function namesFor(outline: Outline, point: TrainingPoint): Names {
  const before = point.call?.node.from ?? Infinity;
  if (point.kind === 'tapeGradient') {
    return tapeNames(point);
  }
  const lossName = lossNameOf(point);
  const call = lossCallOf(outline, point.scope, before, lossName);
  if (!call) {
    return point.kind === 'trainingStep' || point.kind === 'manualBackward' ? { model: 'self' } : {};
  }
  const names: Names = { ...forwardNames(outline, point.scope, call.outputs, before), loss: call.callable };
  if (call.labels !== undefined) {
    names.labels = call.labels;
  }
  if (point.kind === 'acceleratorBackward' && names.model !== undefined && point.call?.receiver !== undefined) {
    names.model = `${point.call.receiver}.unwrap_model(${names.model})`;
  }
  if ((point.kind === 'trainingStep' || point.kind === 'manualBackward') && names.model === undefined) {
    names.model = 'self';
  }
  return names;
}

interface LossCall {
  readonly node: SyntaxNode;
  readonly outputs: Argument;
  readonly labels: string | undefined;
  readonly callable: string;
}

/** Calls before a place among which its loss is looked for. */
const MOST_LOOKED_AT = 100;
const LOSS = /(loss|criterion|cross_entropy|nll|bce|mse|objective)/i;

/** The call that gives the loss: the assignment to its name, or the last call in the function that is called like a loss. */
function lossCallOf(outline: Outline, scope: Scope, before: number, name?: string): LossCall | undefined {
  const end = countBefore(scope.calls, before);
  const candidates = scope.calls
    .slice(Math.max(0, end - MOST_LOOKED_AT), end)
    .filter(
      (call) =>
        call.args.filter((argument) => argument.name === undefined).length >= 2 &&
        (name === undefined ? LOSS.test(call.callee) : call.targets.includes(name) || LOSS.test(call.callee)),
    );
  const call = candidates.findLast(({ targets }) => name !== undefined && targets.includes(name)) ?? candidates.at(-1);
  const positional = call?.args.filter((argument) => argument.name === undefined) ?? [];
  // `mixup_criterion(criterion, outputs, a, b, lam)`: what comes out of a model need not come first.
  const at = Math.max(
    positional.findIndex((argument) => forwardNames(outline, scope, argument, before).model !== undefined),
    0,
  );
  const outputs = positional[at];
  const labels = positional[at + 1];
  if (!call || !outputs || !labels) {
    return undefined;
  }
  const isPlain = call.args.length === 2 && at === 0;
  const written = call.args.map((argument) => {
    const text = argument === outputs ? 'outputs' : argument === labels ? 'labels' : argument.text;
    return argument.name === undefined ? text : `${argument.name}=${text}`;
  });
  return {
    node: call.node,
    outputs,
    labels: labels.text,
    callable: isPlain ? call.callee : `lambda outputs, labels: ${call.callee}(${written.join(', ')})`,
  };
}

/** `outputs = model(inputs)`, directly or by way of a name. */
function forwardNames(outline: Outline, scope: Scope, outputs: Argument, before: number): Names {
  const isName = outputs.node.name === 'VariableName';
  const node = isName ? scope.assignments.lastBefore(outputs.text, before)?.value : outputs.node;
  const call = node?.name === 'CallExpression' ? outline.callEnding.get(node.to) : undefined;
  const inputs = call?.args.find(({ name }) => name === undefined);
  if (!call || !inputs || call.args.length > 1 || !/^[\w.]+$/.test(call.callee) || isLibrary(outline, call.callee)) {
    return {};
  }
  return { model: call.callee, inputs: inputs.text };
}

/** A function of an imported module is no model. */
function isLibrary({ imports }: Outline, callee: string): boolean {
  return imports.has(callee.split('.')[0] ?? '');
}

/** tape.gradient(loss, model.trainable_variables) */
function tapeNames({ call }: TrainingPoint): Names {
  const sources = call?.args.filter(({ name }) => name === undefined || name === 'sources')[1]?.text ?? '';
  const model = /^([\w.]+)\.(trainable_variables|trainable_weights|variables)$/.exec(sources)?.[1];
  return model === undefined ? {} : { model };
}

function gradientsName({ call }: TrainingPoint): string {
  return call?.targets[0] ?? 'gradients';
}

/** Below the last import at the top of the file; `from __future__` and the docstring stay first. */
function importFor({ text, scopes }: Outline, imports: Imports): CaptureInsertion['import'] {
  if (imports.has(MODULE)) {
    return undefined;
  }
  let at = 0;
  for (let child = scopes[0]?.node.firstChild ?? null; child; child = child.nextSibling) {
    const isDocstring = child.name === 'ExpressionStatement' && child.firstChild?.name === 'String' && at === 0;
    if (child.name === 'ImportStatement' || isDocstring) {
      const end = text.indexOf('\n', child.to);
      at = end < 0 ? text.length : end + 1;
    } else if (child.name !== 'Comment') {
      break;
    }
  }
  const lead = at > 0 && text[at - 1] !== '\n' ? '\n' : '';
  return { at, text: `${lead}import ${MODULE}\n` };
}
