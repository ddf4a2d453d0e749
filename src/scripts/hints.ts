import type { SyntaxNode } from '@lezer/common';
import { type Argument, type Call, type Outline, type Scope, argumentOf, numberOf } from './outline.js';
import type { TrainingPoint } from './training-points.js';

/** What in a training script decides how much its gradients give away; each code is explained in docs/hints.md. */

export const HINTS = {
  GL101: 'Batch size 1: the gradient is of one sample, and its label and last-layer feature follow in closed form.',
  GL102: 'Label smoothing hides nothing: the smoothed label, its epsilon included, is recovered from the gradient.',
  GL103: 'Mixup hides nothing: both classes and their weight are recovered from the gradient.',
  GL104: 'A head without bias: its inputs and labels are recovered all the same, by a search over one number.',
  GL105:
    'An embedding trained here: the rows of its gradient that are not zero are the tokens (or items) of the batch.',
  GL106: 'Gradients or weights are shared without clipping and noise: they can be inverted by whoever receives them.',
  GL107: 'A noise multiplier this small gives no privacy: labels and features come through it.',
  GL108: 'torch.load without weights_only=True runs what a checkpoint says.',
} as const;

export type HintCode = keyof typeof HINTS;

export interface Hint {
  readonly code: HintCode;
  readonly from: number;
  readonly to: number;
  /** A replacement of so many characters that is right as it stands. */
  readonly fix?: { readonly title: string; readonly at: number; readonly replaces: number; readonly text: string };
}

const LOADER = /^(torch\.utils\.data(\.\w+)*\.DataLoader|torch_geometric\.loader\.\w*Loader)$/;
const EVALUATION = /(test|val|valid|eval|dev|infer|predict)/i;
const SMOOTHED =
  /(^|\.)(cross_entropy|CrossEntropyLoss|CategoricalCrossentropy|BinaryCrossentropy|categorical_crossentropy)$/;
const MIXUP =
  /^(timm\.data(\.\w+)*\.(Mixup|FastCollateMixup)|torchvision\.transforms\.v2(\.\w+)*\.(MixUp|CutMix)|keras_cv\.layers\.(MixUp|CutMix))$/;
const LOCAL_MIXUP = /^(mixup|cutmix)(_data|_batch|_criterion)?$/i;
const LINEAR = /^torch\.nn(\.\w+)*\.Linear$/;
const DENSE = /^(tensorflow\.)?keras\.layers\.Dense$/;
const HEAD_NAME =
  /^(self\.)?(\w*_)?(fc|head|classifier|logits|lm_head|output|out_proj|output_layer|linear_out|last_linear)$/;
const EMBEDDING = /^(torch\.nn(\.\w+)*\.(Embedding|EmbeddingBag)|(tensorflow\.)?keras\.layers\.Embedding)$/;
const SENDS =
  /^(torch\.save|pickle\.dumps?|cloudpickle\.dumps?|dill\.dumps?|joblib\.dump|numpy\.savez?(_compressed)?|requests\.(post|put)|httpx\.(post|put)|torch\.distributed\.(send|isend|gather|all_gather|gather_object|all_gather_object|send_object_list))$/;
const SENDING_METHOD = /^(send|sendall|send_pyobj|send_multipart|publish|upload)$/;
const LEAST_NOISE = 0.1;

/**
 * In the order of the text, none for a file that does not train.
 *
 * @param points as {@link trainingPointsOf} finds them
 */
export function hintsOf(outline: Outline, points: readonly TrainingPoint[]): Hint[] {
  if (points.length === 0) {
    return [];
  }
  const frozen = frozenIn(outline);
  const scopes = new Set(points.map(({ scope }) => scope));
  const hints = [
    ...outsideCaptures(outline.calls).flatMap((call) => [
      ...batchSize(outline, call),
      ...labels(outline, call, scopes),
      ...layers(call, frozen),
      ...noise(outline, call),
      ...loading(call),
    ]),
    ...sharing(outline),
  ];
  return hints.sort((one, other) => one.from - other.from);
}

/** What a capture repeats of the script has been said of the script. @param calls in the order of the text */
function outsideCaptures(calls: readonly Call[]): Call[] {
  const captures = calls.filter(({ callee }) => callee.startsWith('gradleak_capture.'));
  let next = 0;
  let end = 0;
  return calls.filter(({ node }) => {
    for (let own = captures[next]; own && own.from < node.from; own = captures[++next]) {
      end = Math.max(end, own.node.to);
    }
    return node.to >= end;
  });
}

function hintAt(code: HintCode, node: { from: number; to: number }): Hint {
  return { code, from: node.from, to: node.to };
}

/** Of a call, its name: a long argument list need not be underlined. */
function calleeOf(call: Call): { from: number; to: number } {
  return { from: call.node.from, to: call.node.from + call.callee.length };
}

/** The keyword with its value. */
function keywordOf({ node, name }: Argument): { from: number; to: number } {
  return { from: node.from - (name === undefined ? 0 : name.length + 1), to: node.to };
}

function batchSize(outline: Outline, call: Call): Hint[] {
  if (call.targets.some((target) => EVALUATION.test(target)) || EVALUATION.test(call.scope.name)) {
    return [];
  }
  if (LOADER.test(call.qualified)) {
    const given = argumentOf(call, 'batch_size', 1);
    const isOpen = call.args.some(
      ({ name }) => name === '**' || name === '*' || name === 'batch_sampler' || name === 'batch_size',
    );
    if (!given) {
      return isOpen ? [] : [hintAt('GL101', calleeOf(call))];
    }
    return numberOf(outline, given, call.scope) === 1 ? [hintAt('GL101', keywordOf(given))] : [];
  }
  const [only] = call.args;
  if (
    outline.packages.has('tensorflow') &&
    call.method === 'batch' &&
    call.receiver !== undefined &&
    only &&
    call.args.length === 1
  ) {
    return numberOf(outline, only, call.scope) === 1 ? [hintAt('GL101', only.node)] : [];
  }
  return [];
}

/** @param training functions that compute gradients */
function labels(outline: Outline, call: Call, training: ReadonlySet<Scope>): Hint[] {
  const found: Hint[] = [];
  const smoothing = argumentOf(call, 'label_smoothing') ?? argumentOf(call, 'smoothing');
  const isSmoothed =
    SMOOTHED.test(call.qualified) ||
    /^timm\.loss(\.\w+)*\.(LabelSmoothing\w+|SoftTargetCrossEntropy)$/.test(call.qualified);
  if (isSmoothed && smoothing && numberOf(outline, smoothing, call.scope) !== 0) {
    found.push(hintAt('GL102', keywordOf(smoothing)));
  } else if (/^timm\.loss(\.\w+)*\.LabelSmoothing\w+$/.test(call.qualified)) {
    found.push(hintAt('GL102', calleeOf(call)));
  }
  const isLocal = LOCAL_MIXUP.test(call.callee) && training.has(call.scope);
  if (MIXUP.test(call.qualified) || (isLocal && !/criterion/i.test(call.callee))) {
    found.push(hintAt('GL103', calleeOf(call)));
  }
  return found;
}

function layers(call: Call, frozen: ReadonlySet<string>): Hint[] {
  const isDense = DENSE.test(call.qualified);
  if (LINEAR.test(call.qualified) || isDense) {
    const bias = argumentOf(call, isDense ? 'use_bias' : 'bias', isDense ? undefined : 2);
    return bias?.text === 'False' && isHead(call) ? [hintAt('GL104', keywordOf(bias))] : [];
  }
  if (EMBEDDING.test(call.qualified)) {
    const trainable = argumentOf(call, 'trainable');
    return trainable?.text === 'False' || call.targets.some((target) => frozen.has(target))
      ? []
      : [hintAt('GL105', calleeOf(call))];
  }
  return [];
}

/** By its name, or as the last layer of a sequence that is not a part of something larger. */
function isHead({ targets, node }: Call): boolean {
  if (targets.some((target) => HEAD_NAME.test(target))) {
    return true;
  }
  const list = node.parent;
  const isLast = (): boolean => {
    for (let next = node.nextSibling; next; next = next.nextSibling) {
      if (next.name !== ',' && next.name !== ')' && next.name !== ']' && next.name !== 'Comment') {
        return false;
      }
    }
    return true;
  };
  const sequence = list?.name === 'ArrayExpression' ? list.parent : list;
  return (
    sequence?.name === 'ArgList' &&
    isLast() &&
    targets.length === 0 &&
    sequence.parent?.parent?.name === 'AssignStatement'
  );
}

/** `self.embed.weight.requires_grad = False` or `self.embed.requires_grad_(False)` anywhere. */
function frozenIn({ calls, scopes, text }: Outline): Set<string> {
  const called = calls.flatMap(({ method, receiver, args }) =>
    method === 'requires_grad_' && receiver !== undefined && args[0]?.text === 'False' ? [receiver] : [],
  );
  const assigned = scopes.flatMap(({ assignments }) =>
    assignments.all.flatMap(({ targets, value }) => {
      const name = /^(.*?)(\.weight)?\.requires_grad$/.exec(targets[0] ?? '')?.[1];
      return name !== undefined && text.slice(value.from, value.to) === 'False' ? [name] : [];
    }),
  );
  return new Set([...called, ...assigned]);
}

function noise(outline: Outline, call: Call): Hint[] {
  const isPrivate =
    call.method === 'make_private' ||
    /(^|\.)(DPOptimizer|DPKerasSGDOptimizer|DPKerasAdamOptimizer)$/.test(call.qualified);
  const multiplier = argumentOf(call, 'noise_multiplier');
  if (!isPrivate || !multiplier || (call.method === 'make_private' && !outline.packages.has('opacus'))) {
    return [];
  }
  const value = numberOf(outline, multiplier, call.scope);
  if (value === undefined || value >= LEAST_NOISE) {
    return [];
  }
  const { node } = multiplier;
  // A name may stand for the noise of other trainings too.
  const fix = {
    title: 'Set a noise multiplier of 1.0, and look at the epsilon that the accountant reports',
    at: node.from,
    replaces: node.to - node.from,
    text: '1.0',
  };
  return [{ ...hintAt('GL107', keywordOf(multiplier)), ...(node.name === 'Number' ? { fix } : {}) }];
}

function loading(call: Call): Hint[] {
  if (call.qualified !== 'torch.load' || call.args.length === 0 || call.args.some(({ name }) => name === '**')) {
    return [];
  }
  const given = argumentOf(call, 'weights_only');
  if (given) {
    return given.text === 'False'
      ? [
          {
            ...hintAt('GL108', keywordOf(given)),
            fix: { title: 'Load weights only', at: given.node.from, replaces: 5, text: 'True' },
          },
        ]
      : [];
  }
  const last = call.args.at(-1);
  return [
    {
      ...hintAt('GL108', calleeOf(call)),
      ...(last
        ? { fix: { title: 'Load weights only', at: last.node.to, replaces: 0, text: ', weights_only=True' } }
        : {}),
    },
  ];
}

const CLIPS = /(clip_grad_norm_|clip_grad_value_|clip_by_(global_)?norm|clip_by_value|clamp_?)$/;
const NOISES = /(randn|randn_like|normal_?|laplace|Laplace|Normal|rand_like)$/;
const PRIVATE =
  /^(opacus|tensorflow_privacy|flwr\.client\.mod(\.\w+)*\.(LocalDpMod|fixedclipping_mod|adaptiveclipping_mod|secagg_mod|secaggplus_mod))(\.|$)/;

/** Places where gradients or weights leave the process, unless they are clipped and noised first. */
function sharing(outline: Outline): Hint[] {
  const isPrivate = [...outline.imports.values()].some((name) => PRIVATE.test(name));
  const clips = outline.calls.some(({ qualified, method }) => CLIPS.test(qualified) || CLIPS.test(method));
  const noises = outline.calls.some(({ qualified, method }) => NOISES.test(qualified) || NOISES.test(method));
  if (isPrivate || (clips && noises)) {
    return [];
  }
  const gradients = new GradientNames(outline.text);
  const sent = outline.calls
    .filter(
      ({ qualified, method, receiver }) =>
        SENDS.test(qualified) || (receiver !== undefined && SENDING_METHOD.test(method)),
    )
    .filter((call) => call.args.some(({ node }) => gradients.isIn(node, call.scope, call.from, MOST_STEPS)))
    .map((call) => hintAt('GL106', calleeOf(call)));
  const fits = outline.classes
    .filter(({ bases }) => bases.some((base) => /^flwr\.client(\.\w+)*\.(NumPyClient|Client)$/.test(base)))
    .flatMap(({ methods }) => methods.filter(({ name }) => name === 'fit'))
    .flatMap((fit) => outline.returns.get(fit) ?? [])
    .map((node) => hintAt('GL106', node));
  return [...sent, ...fits];
}

/** Assignments that are followed back from what is sent. */
const MOST_STEPS = 3;
/** Parts of one expression that are looked at. */
const MOST_NODES = 1000;

/** Which expressions mention `.grad`, themselves or by way of names assigned before. */
class GradientNames {
  /** Of each function and name: where it is first given a gradient, Infinity for never; by the steps that were followed. */
  private readonly first = new Map<Scope, Map<string, number>>();

  constructor(private readonly text: string) {}

  /** @param steps assignments that may be followed */
  isIn(node: SyntaxNode, scope: Scope, before: number, steps: number): boolean {
    const names = new Set<string>();
    const parts = [node];
    // The list grows while it is walked.
    for (const part of parts) {
      const text = this.text.slice(part.from, Math.min(part.to, part.from + 100));
      if (part.name === 'PropertyName' && (text === 'grad' || text === 'main_grad')) {
        return true;
      }
      if (part.name === 'VariableName') {
        names.add(text);
      }
      for (let child = part.firstChild; child && parts.length < MOST_NODES; child = child.nextSibling) {
        parts.push(child);
      }
    }
    return steps > 0 && [...names].some((name) => this.firstOf(name, scope, steps) < before);
  }

  private firstOf(name: string, scope: Scope, steps: number): number {
    const known = this.first.get(scope) ?? new Map<string, number>();
    this.first.set(scope, known);
    const key = `${steps} ${name}`;
    const found =
      known.get(key) ??
      scope.assignments.to(name).find(({ value, from }) => this.isIn(value, scope, from, steps - 1))?.from ??
      Infinity;
    known.set(key, found);
    return found;
  }
}
