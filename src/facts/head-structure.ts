import { type TensorEntry, type TensorFile, isFloating } from '../formats/tensor-file.js';
import type { Matching } from './matching.js';

/** What names, shapes and order of a checkpoint tell of which layer feeds which; a state dict holds no graph. */

export type HeadLayout = 'kxd' | 'dxk';

const EMBEDDING =
  /(^|[._/])(embed\w*|embeddings?|wte|wpe|tok_emb|pos_emb|position\w*|shared(?=[./]weight$)|relative_\w*(bias|embed\w*|table))([._/]|$)/i;
/**
 * Matrices that no linear layer multiplies features by alone: recurrent and fused attention weights, the factors of weight
 * norm and of low-rank adapters (their gradients are not dL/dW), tables of biases, attention's projections.
 */
const NEVER_HEADS =
  /(^|[._/])(weight_[ih]h\w*|in_proj_weight|weight_[vg]|original[01]|lora_\w+|\w*_table|\w*tokens?|(q|k|v|qkv|kv|query|key|value)(_proj(_weight)?|_lin)?)([._/]|$)/i;
const WEIGHT = /(^|[._/])(\w*weight\w*|kernel|w)(:0)?$/i;
/** Norms and per-feature scales of PyTorch, Keras, Flax and JAX; a lone bias belongs to a layer named elsewhere. */
const SCALE = /(^|[._/])(weight|gamma|scale|g|lambda_?\d*|gamma_?\d)(:0)?$/i;
/** Names that modules of classification end in, for state dicts that are not in the order of the layers. */
const HEADLIKE =
  /(^|[._/])(fc|linear|logits?|outputs?|out|predictions?|lm_head)$|(^|[._/])(classifier|heads?|score)([._/]|$)/i;

/** Whether a matrix is called an embedding: looked up, not multiplied. */
export function isEmbedding(name: string): boolean {
  return EMBEDDING.test(name);
}

/** Whether a name alone rules a matrix out as a head. */
export function isNeverHead(name: string): boolean {
  return NEVER_HEADS.test(name);
}

/** Whether a layer is called as heads are. */
export function isHeadlike(name: string): boolean {
  return HEADLIKE.test(stem(name));
}

/** The name of the layer: the tensor's name without its last part. */
export function stem(name: string): string {
  return name.replace(/[./]?[^./]*$/, '');
}

/** The bias beside a weight: same layer name, one number per class; in a list, the next vector. */
export function biasOf(weight: TensorEntry, entries: readonly TensorEntry[], classes: number): TensorEntry | undefined {
  const fits = (entry: TensorEntry | undefined): boolean => entry?.shape.length === 1 && entry.shape[0] === classes;
  if (weight.positional) {
    const next = entries[entries.indexOf(weight) + 1];
    return fits(next) ? next : undefined;
  }
  const layer = stem(weight.name);
  return entries.find((entry) => fits(entry) && stem(entry.name) === layer && /(bias|b)(:0)?$/.test(entry.name));
}

/** Keras and Flax store kernels as features x classes; a bias of that length settles it for other names. */
export function guessLayout(weight: TensorEntry, entries: readonly TensorEntry[]): HeadLayout {
  if (/(^|[./])kernel(:0)?$/.test(weight.name)) {
    return 'dxk';
  }
  const [rows = 0, cols = 0] = weight.shape;
  const fitsRows = biasOf(weight, entries, rows) !== undefined;
  const fitsCols = biasOf(weight, entries, cols) !== undefined;
  return fitsCols && !fitsRows ? 'dxk' : 'kxd';
}

/** A matrix or convolution with what it gives out and takes in. */
export interface Layer {
  readonly entry: TensorEntry;
  readonly index: number;
  readonly out: number;
  /** Widths that it may take in: of a convolution with one input channel per group, also all of its channels. */
  readonly takes: readonly number[];
  readonly matrix: boolean;
}

interface Block {
  /** Entries that another block of this pattern has in equal shape. */
  readonly repeated: ReadonlySet<TensorEntry>;
  readonly isOfStack: boolean;
}

/** One network of a checkpoint, frozen layers included: a layer without gradient uses outputs all the same. */
export class Structure {
  private readonly entries: readonly TensorEntry[];
  private readonly layers: readonly Layer[];
  private readonly byEntry: ReadonlyMap<TensorEntry, Layer>;
  private readonly byIndex: ReadonlyMap<number, Layer>;
  private readonly norms: readonly { entry: TensorEntry; index: number }[];
  private readonly blocks = new Map<string, Block>();

  /** @param layout of all matrices, when the user gave one */
  constructor(checkpoint: TensorFile, matching: Matching, layout: HeadLayout | undefined) {
    this.entries = networkOf(checkpoint, matching);
    const biases = indexBiases(this.entries);
    this.layers = this.entries.flatMap((entry, index) => {
      const layer = layerOf(entry, index, layout, biases(entry));
      return layer ? [layer] : [];
    });
    this.byEntry = new Map(this.layers.map((layer) => [layer.entry, layer]));
    this.byIndex = new Map(this.layers.map((layer) => [layer.index, layer]));
    const owned = new Set(this.layers.map(({ entry }) => stem(entry.name)));
    this.norms = this.entries.flatMap((entry, index) => {
      const isNorm = entry.positional
        ? this.isPositionalNorm(index)
        : entry.shape.length === 1 && SCALE.test(entry.name) && !owned.has(stem(entry.name));
      return isNorm ? [{ entry, index }] : [];
    });
  }

  /** The layer of a parameter; undefined for embeddings and what is no layer. */
  layer(parameter: TensorEntry): Layer | undefined {
    return this.byEntry.get(parameter);
  }

  /** The last matrix or convolution in the checkpoint's order. */
  last(): Layer | undefined {
    return this.layers[this.layers.length - 1];
  }

  /** The matrices of the network that are no embeddings, in order. */
  matrices(): readonly Layer[] {
    return this.layers.filter(({ matrix }) => matrix);
  }

  /**
   * The first later tensor that uses as many numbers as this layer gives out: a norm, a matrix or a convolution. Equal widths
   * are chance where the layer right before it gives out as many: heads may stand before the backbone, or in order of names.
   */
  consumerOf(layer: Layer): { name: string; kind: 'norm' | 'layer' } | undefined {
    const { index, out } = layer;
    const norm = this.norms.find((own) => {
      const before = this.layerBefore(own.index);
      return own.index > index && own.entry.shape[0] === out && !(before?.matrix === false && before.out === out);
    });
    if (norm) {
      return { name: norm.entry.name, kind: 'norm' };
    }
    // The first convolution takes the image's channels, which a head with as many classes must not be taken to feed.
    const first = this.layers.find(({ matrix }) => !matrix);
    const taker = this.layers.find((own) => {
      const before = this.layerBefore(own.index);
      return own.index > index && own !== first && own.takes.includes(out) && (before === layer || before?.out !== out);
    });
    return taker && { name: taker.entry.name, kind: 'layer' };
  }

  private layerBefore(index: number): Layer | undefined {
    let at = index - 1;
    while (at >= 0 && !this.byIndex.has(at)) {
      at--;
    }
    return this.byIndex.get(at);
  }

  /**
   * The numbered block that the layer is in, when it is one of a stack: blocks of one pattern, each of which gives out what
   * the next takes in, this layer of equal shape in several of them. Numbered heads beside each other do not feed one another.
   */
  stackOf({ entry }: Layer): string | undefined {
    if (entry.positional) {
      return undefined;
    }
    const parts = dotted(entry).split('.');
    for (let at = 0; at < parts.length - 2; at++) {
      const block = parts.slice(0, at + 1).join('.');
      if (/\d$/.test(block) && this.block(block).repeated.has(entry) && this.block(block).isOfStack) {
        return block;
      }
    }
    return undefined;
  }

  private block(block: string): Block {
    const known = this.blocks.get(block);
    if (known) {
      return known;
    }
    const siblings = new RegExp(`^${escape(block.replace(/\d+$/, ''))}\\d+\\.`);
    const places = this.entries.flatMap((entry) => {
      const name = dotted(entry);
      const [start] = siblings.exec(name) ?? [];
      return start === undefined ? [] : [{ entry, start, key: `${name.slice(start.length)} ${entry.shape.join('x')}` }];
    });
    const counts = new Map<string, number>();
    for (const { key } of places) {
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const repeated = new Set(
      places.flatMap(({ entry, start, key }) => (start === `${block}.` && (counts.get(key) ?? 0) > 1 ? [entry] : [])),
    );
    const own = this.layers.filter(({ entry }) => repeated.has(entry));
    const outs = new Set(own.map(({ out }) => out));
    const ins = new Set(own.flatMap(({ takes }) => takes));
    const feedsItself = own.length > 0 && own.every(({ takes }) => takes.some((width) => outs.has(width)));
    const passesOn = ins.has(own[own.length - 1]?.out ?? 0);
    const isLarge =
      own.length >= 4 || this.norms.some(({ entry }) => repeated.has(entry) && ins.has(entry.shape[0] ?? 0));
    const result = { repeated, isOfStack: feedsItself && (passesOn || isLarge) };
    this.blocks.set(block, result);
    return result;
  }

  /** Without names: a vector that is not the one right after a layer, which is its bias; of two, the first is a norm's weight. */
  private isPositionalNorm(index: number): boolean {
    const isVector = (at: number): boolean => this.entries[at]?.shape.length === 1;
    if (!isVector(index)) {
      return false;
    }
    let before = 0;
    while (isVector(index - 1 - before)) {
      before++;
    }
    const followed = isVector(index + 1) && this.entries[index + 1]?.shape[0] === this.entries[index]?.shape[0];
    return before > 0 || followed;
  }
}

/** Entries of the network that the gradients belong to: not of a copy beside it, nor of the optimiser. */
function networkOf(checkpoint: TensorFile, { pairs }: Matching): TensorEntry[] {
  const groups = new Set(pairs.map(({ parameter }) => parameter.group));
  const prefixes = [
    ...new Set(pairs.slice(0, 64).map(({ gradient, parameter }) => prefixOf(parameter.name, gradient.name))),
  ];
  return checkpoint.entries.filter(
    ({ name, group, role, dtype }) =>
      groups.has(group) && role !== 'buffer' && isFloating(dtype) && prefixes.some((prefix) => name.startsWith(prefix)),
  );
}

/** What a parameter's name has before the part that it shares with its gradient's name; empty where they share nothing. */
function prefixOf(parameter: string, gradient: string): string {
  const [own, other] = [parameter, gradient].map((name) => name.replace(/:0$/, '').split(/[./]/).reverse());
  let shared = 0;
  while (own?.[shared] !== undefined && own[shared] === other?.[shared]) {
    shared++;
  }
  const left = (own ?? []).slice(shared).reverse();
  return shared === 0 || left.length === 0 ? '' : parameter.slice(0, left.join('.').length + 1);
}

/** Entries that may hold a layer's bias: those of its stem, since looking through all for each layer takes long. */
function indexBiases(entries: readonly TensorEntry[]): (entry: TensorEntry) => readonly TensorEntry[] {
  const byStem = new Map<string, TensorEntry[]>();
  for (const entry of entries) {
    const key = stem(entry.name);
    const list = byStem.get(key);
    if (list) {
      list.push(entry);
    } else {
      byStem.set(key, [entry]);
    }
  }
  return (entry) => byStem.get(stem(entry.name)) ?? [];
}

function layerOf(
  entry: TensorEntry,
  index: number,
  given: HeadLayout | undefined,
  siblings: readonly TensorEntry[],
): Layer | undefined {
  const { name, shape, positional } = entry;
  if (isEmbedding(name)) {
    return undefined;
  }
  if (shape.length === 2) {
    const [rows = 0, cols = 0] = shape;
    const [out, taken] = (given ?? guessLayout(entry, siblings)) === 'kxd' ? [rows, cols] : [cols, rows];
    return { entry, index, out, takes: [taken], matrix: true };
  }
  if (shape.length < 3 || !(positional || WEIGHT.test(name))) {
    return undefined;
  }
  const size = (at: number): number => shape.at(at) ?? 0;
  if (/(^|[./])kernel(:0)?$/.test(name)) {
    const takes = size(-2) === 1 ? [1, size(-1)] : [size(-2)];
    return { entry, index, out: size(-1), takes, matrix: false };
  }
  return { entry, index, out: size(0), takes: size(1) === 1 ? [1, size(0)] : [size(1)], matrix: false };
}

function dotted({ name }: TensorEntry): string {
  return name.replace(/\//g, '.');
}

function escape(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
