import { type Call, type ClassOutline, type Outline, type Scope, argumentOf } from './outline.js';
import { returnsWeights } from './sent-value.js';
import type { Surroundings } from './surroundings.js';

/** Where a script computes or shares gradients. */

export const POINT_KINDS = [
  'backward',
  'autogradGrad',
  'acceleratorBackward',
  'manualBackward',
  'trainingStep',
  'flowerFit',
  'flowerTrain',
  'sentWeights',
  'tapeGradient',
] as const;

export type PointKind = (typeof POINT_KINDS)[number];

/** Whether what leaves the client is at hand here, which is more than one batch's gradient. */
export function isSending(kind: PointKind): boolean {
  return kind === 'flowerFit' || kind === 'flowerTrain' || kind === 'sentWeights';
}

export interface TrainingPoint {
  readonly kind: PointKind;
  /** Offset of the call, or of the function's `def`. */
  readonly at: number;
  readonly scope: Scope;
  /** The call, for those that are one. */
  readonly call: Call | undefined;
  /** True for the first of its function, the only one that is shown unless the user wants all. */
  readonly isFirst: boolean;
}

const TORCH = ['torch', 'pytorch_lightning', 'lightning', 'accelerate', 'opacus', 'flwr'];
const LIGHTNING_MODULE = /^(pytorch_lightning|lightning)(\.[\w.]+)?\.LightningModule$/;
const FLOWER_CLIENT = /^flwr\.client(\.\w+)*\.(NumPyClient|Client)$/;
const ACCELERATOR = /^(accelerate|lightning|lightning_fabric)\.(\w+\.)*(Accelerator|Fabric)$/;
const BACKWARD_ARGUMENTS = new Set(['gradient', 'retain_graph', 'create_graph', 'inputs']);

/** Names of what Accelerate and Fabric make. */
export function acceleratorsOf(outline: Outline): string[] {
  return outline.calls.filter(({ qualified }) => ACCELERATOR.test(qualified)).flatMap(({ targets }) => targets);
}

/** In the order of the text. A file without any does not train. */
export function trainingPointsOf(outline: Outline, { packages, accelerators }: Surroundings): TrainingPoint[] {
  const usesTorch = TORCH.some((name) => packages.has(name));
  const points: Omit<TrainingPoint, 'isFirst'>[] = [];
  for (const call of outline.calls) {
    const kind = kindOf(call, outline, usesTorch, accelerators);
    if (kind !== undefined) {
      points.push({ kind, at: call.node.from, scope: call.scope, call });
    }
  }
  for (const owner of outline.classes) {
    points.push(...methodPoints(owner, packages));
  }
  points.push(...functionPoints(outline, packages, points));
  points.sort((one, other) => one.at - other.at);
  const seen = new Set<Scope>();
  return points.map((point) => {
    const isFirst = !seen.has(point.scope);
    seen.add(point.scope);
    return { ...point, isFirst };
  });
}

function kindOf(
  call: Call,
  outline: Outline,
  usesTorch: boolean,
  accelerators: ReadonlySet<string>,
): PointKind | undefined {
  const { method, receiver, qualified } = call;
  if (qualified === 'torch.autograd.grad' || qualified === 'torch.autograd.backward') {
    return 'autogradGrad';
  }
  if (method === 'gradient' && receiver !== undefined) {
    const tape = outline.managers.get(receiver);
    return tape && tape.from < call.node.from && /^tensorflow(\.\w+)*\.GradientTape/.test(tape.qualified)
      ? 'tapeGradient'
      : undefined;
  }
  if (!usesTorch || receiver === undefined) {
    return undefined;
  }
  if (method === 'manual_backward' && receiver === 'self') {
    return 'manualBackward';
  }
  if (method !== 'backward' || isImported(receiver, outline)) {
    return undefined;
  }
  if (isAccelerator(receiver, accelerators)) {
    return call.args.length > 0 ? 'acceleratorBackward' : undefined;
  }
  const positional = call.args.filter(({ name }) => name === undefined).length;
  const isKnown = call.args.every(({ name }) => name === undefined || BACKWARD_ARGUMENTS.has(name));
  // super().backward(...) belongs to a module that defines its own.
  return isKnown && positional <= 1 && receiver !== 'super()' && receiver !== 'self' ? 'backward' : undefined;
}

/** A function of a module, not a method of what a call gives. */
function isImported(receiver: string, { imports }: Outline): boolean {
  return /^[\w.]+$/.test(receiver) && imports.has(receiver.split('.')[0] ?? '');
}

/** An object that was made by Accelerate or Fabric, or is called so. */
function isAccelerator(receiver: string, made: ReadonlySet<string>): boolean {
  return made.has(receiver) || /^(accelerator|fabric)$/i.test(receiver.split('.').at(-1) ?? '');
}

function methodPoints(owner: ClassOutline, packages: ReadonlySet<string>): Omit<TrainingPoint, 'isFirst'>[] {
  const isLightning =
    owner.bases.some((base) => LIGHTNING_MODULE.test(base)) ||
    (owner.bases.some((base) => base.endsWith('Module')) &&
      (packages.has('lightning') || packages.has('pytorch_lightning')));
  const isFlower = owner.bases.some((base) => FLOWER_CLIENT.test(base));
  return owner.methods.flatMap((method): Omit<TrainingPoint, 'isFirst'>[] => {
    const at = method.node.from;
    if (isLightning && method.name === 'training_step') {
      return [{ kind: 'trainingStep', at, scope: method, call: undefined }];
    }
    return isFlower && method.name === 'fit' ? [{ kind: 'flowerFit', at, scope: method, call: undefined }] : [];
  });
}

/** Functions that train and send weights, other than the methods that are known by their class. */
function functionPoints(
  outline: Outline,
  packages: ReadonlySet<string>,
  known: readonly Omit<TrainingPoint, 'isFirst'>[],
): Omit<TrainingPoint, 'isFirst'>[] {
  const methods = new Set(known.filter(({ call }) => !call).map(({ scope }) => scope));
  return outline.scopes.flatMap((scope): Omit<TrainingPoint, 'isFirst'>[] => {
    const own = { at: scope.node.from, scope, call: undefined };
    if (packages.has('flwr') && isFlowerTrain(outline, scope)) {
      return [{ ...own, kind: 'flowerTrain' }];
    }
    return !methods.has(scope) && packages.has('torch') && returnsWeights(outline, scope)
      ? [{ ...own, kind: 'sentWeights' }]
      : [];
  });
}

/** `@app.train()` */
function isFlowerTrain({ text }: Outline, { node }: Scope): boolean {
  const decorators = node.parent?.name === 'DecoratedStatement' ? node.parent.getChildren('Decorator') : [];
  return decorators.some(({ from, to }) => /^@\s*\w+\.train\b/.test(text.slice(from, to)));
}

/** What is differentiated: the receiver of `loss.backward()`, the argument of the others. */
export function lossNameOf({ kind, call }: TrainingPoint): string | undefined {
  if (!call) {
    return undefined;
  }
  if (kind === 'backward') {
    // scaler.scale(loss).backward()
    const scaled = /^[\w.]+\.scale\(\s*([\w.]+)\s*\)$/.exec(call.receiver ?? '');
    return scaled?.[1] ?? call.receiver;
  }
  return argumentOf(call, kind === 'autogradGrad' ? 'outputs' : 'loss', 0)?.text;
}
