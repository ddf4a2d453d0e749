import type { Layer, LayerOp, Recipe } from './layers/recipe.js';

/**
 * Recognises well-known networks from the names and shapes of a checkpoint's parameters. What names cannot tell
 * (an activation, a stride) becomes several candidates; the gradient's residual decides between them.
 */

export interface NamedShape {
  readonly name: string;
  readonly shape: readonly number[];
}

export interface Candidate {
  /** For people: `LeNet of DLG, sigmoid`. */
  readonly name: string;
  readonly recipe: Recipe;
}

/** What a user or a capture may know beyond the names. */
export interface NetworkHints {
  /** channels, height, width, or features */
  readonly inputShape?: readonly number[];
}

const ACTIVATIONS: readonly LayerOp[] = ['relu', 'sigmoid', 'tanh', 'leaky-relu', 'gelu', 'silu', 'elu'];

/** Candidates for a checkpoint, most likely first; empty when nothing is recognised. */
export function recogniseNetwork(tensors: readonly NamedShape[], hints: NetworkHints): Candidate[] {
  const model = new Checkpoint(tensors);
  for (const recognise of [resnet, vggOrAlexnet, fullyConnected, plainConvNet]) {
    const found = recognise(model, hints);
    if (found.length > 0) {
      return found;
    }
  }
  return [];
}

class Checkpoint {
  private readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** Weights of convolutions and linear layers, in the file's order. */
  readonly weights: readonly NamedShape[];
  readonly norms: readonly NamedShape[];

  constructor(tensors: readonly NamedShape[]) {
    this.shapes = new Map(tensors.map(({ name, shape }) => [name, shape]));
    this.weights = tensors.filter(
      ({ name, shape }) => /(^|\.)weight$/.test(name) && (shape.length === 4 || shape.length === 2),
    );
    this.norms = tensors.filter(({ name }) => name.endsWith('running_mean'));
  }

  has(name: string): boolean {
    return this.shapes.has(name);
  }

  shape(name: string): readonly number[] | undefined {
    return this.shapes.get(name);
  }

  names(): IterableIterator<string> {
    return this.shapes.keys();
  }

  bias(weight: string): { bias?: string } {
    const name = weight.replace(/weight$/, 'bias');
    return this.has(name) ? { bias: name } : {};
  }

  conv(name: string, stride: number, padding: number): Layer {
    const weight = `${name}.weight`;
    return { op: 'conv', weight, ...this.bias(weight), stride, padding };
  }

  /** Group normalisation where there are no running statistics: Opacus puts it in the place of batch normalisation. */
  norm(name: string, groups?: number): Layer {
    if (groups !== undefined) {
      const [channels = 1] = this.shape(`${name}.weight`) ?? [];
      return {
        op: 'group-norm',
        weight: `${name}.weight`,
        bias: `${name}.bias`,
        groups: Math.min(groups, channels),
      };
    }
    return {
      op: 'batch-norm',
      weight: `${name}.weight`,
      bias: `${name}.bias`,
      mean: `${name}.running_mean`,
      variance: `${name}.running_var`,
    };
  }

  linear(weight: string): Layer {
    return { op: 'linear', weight, ...this.bias(weight) };
  }
}

/** Linear layers only, each taking in what the one before gives out. */
function fullyConnected(model: Checkpoint, hints: NetworkHints): Candidate[] {
  const { weights } = model;
  const [first] = weights;
  const chained = weights.every(
    ({ shape }, index) => shape.length === 2 && (index === 0 || shape[1] === weights[index - 1]?.shape[0]),
  );
  if (!first || !chained || model.norms.length > 0) {
    return [];
  }
  const input = flatInput(first.shape[1] ?? 0, hints);
  const start: Layer[] = input.length > 1 ? [{ op: 'flatten' }] : [];
  const activations = weights.length > 1 ? ACTIVATIONS : ACTIVATIONS.slice(0, 1);
  return activations.map((op) => ({
    name: `fully connected, ${weights.length} layers${weights.length > 1 ? `, ${op}` : ''}`,
    recipe: {
      schemaVersion: 1,
      input: [...input],
      layers: [
        ...start,
        ...weights.flatMap(({ name }, index): Layer[] => [...(index > 0 ? [activation(op)] : []), model.linear(name)]),
      ],
    },
  }));
}

/** Three-channel or one-channel squares look like images. */
function flatInput(size: number, { inputShape }: NetworkHints): readonly number[] {
  if (inputShape?.reduce((product, own) => product * own, 1) === size) {
    return inputShape;
  }
  for (const channels of [3, 1]) {
    const side = Math.sqrt(size / channels);
    if (Number.isInteger(side) && side >= 8) {
      return [channels, side, side];
    }
  }
  return [size];
}

function activation(op: LayerOp): Layer {
  return { op } as Layer;
}

/** Convolutions one after the other, then linear layers: LeNets and small ConvNets without normalisation. */
function plainConvNet(model: Checkpoint, hints: NetworkHints): Candidate[] {
  const { weights } = model;
  const convs = weights.filter(({ shape }) => shape.length === 4);
  const linears = weights.filter(({ shape }) => shape.length === 2);
  const chained = convs.every(({ shape }, index) => index === 0 || shape[1] === convs[index - 1]?.shape[0]);
  const [firstConv] = convs;
  const lastConv = convs[convs.length - 1];
  const [firstLinear] = linears;
  const linearChain = linears.every(({ shape }, at) => at === 0 || shape[1] === linears[at - 1]?.shape[0]);
  if (
    !firstConv ||
    !lastConv ||
    !firstLinear ||
    !chained ||
    !linearChain ||
    model.norms.length > 0 ||
    convs.length > 4
  ) {
    return [];
  }
  const channels = firstConv.shape[1] ?? 1;
  const sides = hints.inputShape?.length === 3 ? [hints.inputShape[1] ?? 0] : [32, 28, 64, 96, 224];
  const wanted = (firstLinear.shape[1] ?? 0) / (lastConv.shape[0] ?? 1);
  const candidates: Candidate[] = [];
  for (const plan of PLANS) {
    const side = sides.find((own) => finalSide(own, convs, plan) ** 2 === wanted);
    if (side === undefined) {
      continue;
    }
    const acts: readonly LayerOp[] = plan.strided
      ? ['sigmoid', 'tanh', 'relu', 'leaky-relu', 'silu', 'gelu', 'elu']
      : ['relu', 'sigmoid', 'tanh'];
    for (const op of acts) {
      candidates.push({
        name: `${plan.name}, ${op}`,
        recipe: {
          schemaVersion: 1,
          input: [channels, hints.inputShape?.[1] ?? side, hints.inputShape?.[2] ?? side],
          layers: [
            ...convs.flatMap(({ name, shape }, index): Layer[] => [
              model.conv(
                name.replace(/\.weight$/, ''),
                plan.strided && index < convs.length - 1 ? 2 : 1,
                plan.padded ? Math.floor((shape[2] ?? 1) / 2) : 0,
              ),
              activation(op),
              ...(plan.pool === 'each' || (plan.pool === 'last' && index === convs.length - 1)
                ? [{ op: 'max-pool', kernel: 2 } as const]
                : []),
            ]),
            { op: 'flatten' },
            ...linears.flatMap(({ name }, index): Layer[] => [
              ...(index > 0 ? [activation(op)] : []),
              model.linear(name),
            ]),
          ],
        },
      });
    }
  }
  return candidates;
}

interface ConvPlan {
  readonly name: string;
  /** Stride 2 for every convolution but the last, as DLG's LeNet has it. */
  readonly strided: boolean;
  readonly padded: boolean;
  readonly pool: 'none' | 'each' | 'last';
}

const PLANS: readonly ConvPlan[] = [
  { name: 'LeNet of DLG', strided: true, padded: true, pool: 'none' },
  { name: 'LeNet-5', strided: false, padded: false, pool: 'each' },
  { name: 'small ConvNet with pooling', strided: false, padded: true, pool: 'each' },
  { name: 'small ConvNet, pooled at its end', strided: false, padded: false, pool: 'last' },
  { name: 'small ConvNet', strided: false, padded: true, pool: 'none' },
  { name: 'small ConvNet without padding', strided: false, padded: false, pool: 'none' },
];

function finalSide(side: number, convs: readonly NamedShape[], plan: ConvPlan): number {
  return convs.reduce((size, { shape }, index) => {
    const kernel = shape[2] ?? 1;
    const stride = plan.strided && index < convs.length - 1 ? 2 : 1;
    const padding = plan.padded ? Math.floor(kernel / 2) : 0;
    const out = Math.floor((size + 2 * padding - kernel) / stride) + 1;
    const pooled = plan.pool === 'each' || (plan.pool === 'last' && index === convs.length - 1);
    return pooled ? Math.floor(out / 2) : out;
  }, side);
}

/** Numbers of groups that are in use, the most first: a finer grouping fits where the gradient does not tell it from a coarser. */
const GROUPS = [32, 16, 8, 4, 2, 1];

/** torchvision's and CIFAR-style ResNets, basic blocks and bottlenecks, with batch or group normalisation. */
function resnet(model: Checkpoint, hints: NetworkHints): Candidate[] {
  const stem = model.shape('conv1.weight');
  if (!stem || !model.has('layer1.0.conv1.weight')) {
    return [];
  }
  const isGrouped = model.has('bn1.weight') && model.norms.length === 0;
  // Batch normalisation without statistics is possible too, in train mode; its filters are orthogonal each by itself.
  return [undefined, ...(isGrouped ? GROUPS : [])].flatMap((groups) => resnetWith(model, stem, hints, groups));
}

/** @param groups of every normalisation, undefined for batch normalisation */
function resnetWith(
  model: Checkpoint,
  stem: readonly number[],
  hints: NetworkHints,
  groups: number | undefined,
): Candidate[] {
  const imagenet = stem[2] === 7;
  const layers: Layer[] = [
    { ...model.conv('conv1', imagenet ? 2 : 1, Math.floor((stem[2] ?? 3) / 2)) },
    model.norm('bn1', groups),
    { op: 'relu', ...(imagenet ? {} : { id: 'stem' }) },
  ];
  if (imagenet) {
    layers.push({ op: 'max-pool', kernel: 3, stride: 2, padding: 1, id: 'stem' });
  }
  let before = 'stem';
  let blocks = 0;
  let bottleneck = false;
  for (let stage = 1; model.has(`layer${stage}.0.conv1.weight`); stage++) {
    for (let block = 0; model.has(`layer${stage}.${block}.conv1.weight`); block++) {
      const name = `layer${stage}.${block}`;
      const stride = stage > 1 && block === 0 ? 2 : 1;
      bottleneck = model.has(`${name}.conv3.weight`);
      const depth = bottleneck ? 3 : 2;
      for (let conv = 1; conv <= depth; conv++) {
        const weight = model.shape(`${name}.conv${conv}.weight`) ?? [];
        // torchvision strides the 3 x 3 convolution of a bottleneck, and the first one of a basic block.
        const own = conv === (bottleneck ? 2 : 1) ? stride : 1;
        layers.push(
          {
            ...model.conv(`${name}.conv${conv}`, own, Math.floor((weight[2] ?? 1) / 2)),
            ...(conv === 1 ? { inputs: [before] } : {}),
          },
          { ...model.norm(`${name}.bn${conv}`, groups), ...(conv === depth ? { id: `${name}.out` } : {}) },
          ...(conv < depth ? [{ op: 'relu' } as const] : []),
        );
      }
      const shortcut = ['downsample', 'shortcut'].find((own) => model.has(`${name}.${own}.0.weight`));
      let skip = before;
      if (shortcut !== undefined) {
        skip = `${name}.skip`;
        layers.push(
          { ...model.conv(`${name}.${shortcut}.0`, stride, 0), inputs: [before] },
          { ...model.norm(`${name}.${shortcut}.1`, groups), id: skip },
        );
      }
      layers.push({ op: 'add', inputs: [`${name}.out`, skip] }, { op: 'relu', id: name });
      before = name;
      blocks += depth;
    }
  }
  const head = ['fc', 'linear', 'classifier'].find((name) => model.has(`${name}.weight`));
  if (head === undefined) {
    return [];
  }
  layers.push({ op: 'global-average-pool', inputs: [before] }, { op: 'flatten' }, model.linear(`${head}.weight`));
  const side = imagenet ? 224 : 32;
  return [
    {
      name: `ResNet-${blocks + 2}${bottleneck ? ' with bottlenecks' : ''}, ${imagenet ? 'torchvision' : 'CIFAR style'}, width ${stem[0] ?? ''}${groups === undefined ? '' : `, group normalisation over ${groups === 1 ? 'all channels' : `${groups} groups`}`}`,
      recipe: {
        schemaVersion: 1,
        input: [...(hints.inputShape ?? [stem[1] ?? 3, side, side])],
        layers,
      },
    },
  ];
}

/** torchvision's AlexNet and VGGs: `features.N`, adaptive pooling, `classifier.N`. */
function vggOrAlexnet(model: Checkpoint, hints: NetworkHints): Candidate[] {
  const convs = model.weights.filter(({ name, shape }) => shape.length === 4 && /^features\.\d+\.weight$/.test(name));
  const linears = model.weights.filter(
    ({ name, shape }) => shape.length === 2 && /^classifier(\.\d+)?\.weight$/.test(name),
  );
  const [firstConv] = convs;
  const [firstLinear] = linears;
  const lastConv = convs[convs.length - 1];
  if (!firstConv || !firstLinear || !lastConv || linears.length + convs.length !== model.weights.length) {
    return [];
  }
  const alexnet = firstConv.shape[2] === 11;
  const layers: Layer[] = [];
  const indexOf = (name: string): number => Number(name.split('.')[1]);
  convs.forEach(({ name, shape }, index) => {
    const at = indexOf(name);
    const normed = model.has(`features.${at + 1}.running_mean`);
    const kernel = shape[2] ?? 3;
    layers.push(
      alexnet && index === 0 ? model.conv('features.0', 4, 2) : model.conv(`features.${at}`, 1, Math.floor(kernel / 2)),
      ...(normed ? [model.norm(`features.${at + 1}`)] : []),
      { op: 'relu' },
    );
    // Indices that no parameter takes belong to ReLUs and pools; the last convolution is always followed by a pool.
    const next = convs[index + 1];
    const free = next === undefined ? 2 : indexOf(next.name) - at - (normed ? 2 : 1);
    if (free > 1) {
      layers.push(alexnet ? { op: 'max-pool', kernel: 3, stride: 2 } : { op: 'max-pool', kernel: 2 });
    }
  });
  const flattened = (firstLinear.shape[1] ?? 0) / (lastConv.shape[0] ?? 1);
  const side = Math.sqrt(flattened);
  if (Number.isInteger(side) && side > 1) {
    layers.push({ op: 'adaptive-average-pool', size: side });
  }
  layers.push(
    { op: 'flatten' },
    ...linears.flatMap(({ name }, index): Layer[] => [
      ...(index > 0 ? [{ op: 'relu' } as const] : []),
      model.linear(name),
    ]),
  );
  const own = side > 1 ? 224 : 32;
  return [
    {
      name: alexnet
        ? 'AlexNet, torchvision'
        : `VGG-${convs.length + 3}, torchvision${model.norms.length > 0 ? ' with batch normalisation' : ''}`,
      recipe: {
        schemaVersion: 1,
        input: [...(hints.inputShape ?? [firstConv.shape[1] ?? 3, own, own])],
        layers,
      },
    },
  ];
}
