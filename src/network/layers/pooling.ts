import { visitPatches } from '../../graph/patches.js';
import { type TensorGraph, type TensorNode, sizeOf } from '../../graph/tensor-graph.js';
import { type PoolLayer, padsOf, pairOf } from './recipe.js';
import { type Field, type LayerRule, type NetworkBuilder, RecipeError, requireImage } from './layer-rule.js';

const FIELDS: Readonly<Record<string, Field>> = {
  kernel: { kind: 'extent', required: true },
  stride: { kind: 'extent' },
  padding: { kind: 'padding' },
  countPadding: { kind: 'boolean' },
};

export const maxPool: LayerRule<'max-pool'> = {
  fields: FIELDS,
  forward: (layer, [x], network) => maximum(network, layer, x!),
};

export const averagePool: LayerRule<'average-pool'> = {
  fields: FIELDS,
  forward: (layer, [x], { graph }) => average(graph, layer, x!),
};

export const globalAveragePool: LayerRule<'global-average-pool'> = {
  fields: {},
  forward(_, [x], { graph }) {
    requireImage(x!);
    return graph.mean(x!, [2, 3]);
  },
};

export const adaptiveAveragePool: LayerRule<'adaptive-average-pool'> = {
  fields: { size: { kind: 'extent', required: true } },
  forward(layer, [x], { graph }) {
    requireImage(x!);
    const [rows, cols] = pairOf(layer.size, 1);
    const [batch, channels, height, width] = x!.shape as [number, number, number, number];
    const alongRows = graph.matmul(
      graph.reshape(x!, [batch * channels * height, width]),
      graph.constant(averages(width, cols), [width, cols]),
    );
    const turned = graph.transpose(graph.reshape(alongRows, [batch, channels, height, cols]), [0, 1, 3, 2]);
    const pooled = graph.matmul(
      graph.reshape(turned, [batch * channels * cols, height]),
      graph.constant(averages(height, rows), [height, rows]),
    );
    return graph.transpose(graph.reshape(pooled, [batch, channels, cols, rows]), [0, 1, 3, 2]);
  },
};

interface Windows {
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly pads: readonly [number, number, number, number];
  readonly rows: number;
  readonly cols: number;
}

function windowsOf(layer: PoolLayer, x: TensorNode): Windows {
  requireImage(x);
  const [, , height, width] = x.shape as [number, number, number, number];
  return poolWindows(layer, [height, width]);
}

/** Each entry of a window is a node of the graph. */
const MOST_ENTRIES = 4096;

/**
 * @param size rows and columns of what is pooled
 * @throws RecipeError when a window is larger than that
 */
function poolWindows(layer: PoolLayer, [height, width]: readonly [number, number]): Windows {
  const kernel = pairOf(layer.kernel, 1);
  const stride = layer.stride === undefined ? kernel : pairOf(layer.stride, 1);
  const pads = padsOf(layer.padding, [height, width], kernel, stride);
  if (pads.some((pad, side) => pad > kernel[side % 2]!) || kernel[0] * kernel[1] > MOST_ENTRIES) {
    throw new RecipeError(
      `a window of ${kernel.join(' x ')} with padding of ${pads.join(', ')}: at most ${MOST_ENTRIES} entries, and no padding larger than the window`,
    );
  }
  const rows = Math.floor((height + pads[0] + pads[2] - kernel[0]) / stride[0]) + 1;
  const cols = Math.floor((width + pads[1] + pads[3] - kernel[1]) / stride[1]) + 1;
  if (rows < 1 || cols < 1) {
    throw new RecipeError(`a window of ${kernel.join(' x ')} is larger than its input of ${height} x ${width}`);
  }
  return { kernel, stride, pads, rows, cols };
}

/** A window's entries are strided slices of the padded image, so a pool needs no operation of its own. */
function slices(graph: TensorGraph, source: TensorNode, { kernel, stride, rows, cols }: Windows): TensorNode[] {
  const [batch, channels] = source.shape as [number, number, number, number];
  return Array.from({ length: kernel[0] * kernel[1] }, (_, at) =>
    graph.slice(
      source,
      [0, 0, Math.floor(at / kernel[1]), at % kernel[1]],
      [batch, channels, rows, cols],
      [1, 1, stride[0], stride[1]],
    ),
  );
}

function padded(graph: TensorGraph, x: TensorNode, [top, left, bottom, right]: Windows['pads']): TensorNode {
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  return graph.embed(x, [0, 0, top, left], [batch, channels, height + top + bottom, width + left + right]);
}

function maximum({ graph, temperature, chooses }: NetworkBuilder, layer: PoolLayer, x: TensorNode): TensorNode {
  const windows = windowsOf(layer, x);
  const zeroPadded = padded(graph, x, windows.pads);
  const border = borderOf(x, windows.pads);
  const source = border
    ? graph.add(
        zeroPadded,
        graph.constant(
          border.map((inside) => (inside === 1 ? 0 : -1e30)),
          [1, 1, ...zeroPadded.shape.slice(2)],
        ),
      )
    : zeroPadded;
  const entries = slices(graph, source, windows);
  const most = entries.reduce((one, other) => graph.max(one, other));
  return temperature ? softMaximum(graph, entries, most, temperature, chooses) : most;
}

/** The mean of a window's entries, weighted by their softmax. */
function softMaximum(
  graph: TensorGraph,
  entries: readonly TensorNode[],
  most: TensorNode,
  temperature: TensorNode,
  chooses: NetworkBuilder['chooses'],
): TensorNode {
  const size = graph.unary('sqrt', graph.scale(graph.total(graph.square(most)), 1 / sizeOf(most.shape)));
  const width = graph.add(graph.mul(size, temperature), graph.scalar(Number.MIN_VALUE));
  const weights = entries.map((own) => graph.unary('exp', graph.div(graph.sub(own, most), width)));
  chooses(weights);
  const sum = (nodes: readonly TensorNode[]): TensorNode => nodes.reduce((one, other) => graph.add(one, other));
  return graph.div(sum(entries.map((own, at) => graph.mul(own, weights[at]!))), sum(weights));
}

/**
 * The entries of each window: windows x perWindow positions in what is pooled, -1 beyond its edge.
 *
 * @param size rows and columns of what is pooled
 */
export function windowEntries(
  layer: PoolLayer,
  size: readonly [number, number],
): { entries: Int32Array; perWindow: number } {
  const { kernel, stride, pads, rows, cols } = poolWindows(layer, size);
  const perWindow = kernel[0] * kernel[1];
  const entries = new Int32Array(rows * cols * perWindow).fill(-1);
  const geometry = { strides: stride, pads, dilations: [1, 1], groups: 1 } as const;
  visitPatches({ input: [1, ...size], kernel, output: [rows, cols], geometry }, (column, window, position) => {
    entries[window * perWindow + column] = position;
  });
  return { entries, perWindow };
}

function average(graph: TensorGraph, layer: PoolLayer, x: TensorNode): TensorNode {
  const windows = windowsOf(layer, x);
  const { kernel, stride, rows, cols } = windows;
  const source = padded(graph, x, windows.pads);
  const border = borderOf(x, windows.pads);
  const sum = slices(graph, source, windows).reduce((total, one) => graph.add(total, one));
  if (!border || layer.countPadding !== false) {
    return graph.scale(sum, 1 / (kernel[0] * kernel[1]));
  }
  const counts = new Float64Array(rows * cols);
  const paddedWidth = source.shape[3]!;
  counts.forEach((_, at) => {
    const top = Math.floor(at / cols) * stride[0];
    const left = (at % cols) * stride[1];
    let inside = 0;
    for (let row = top; row < top + kernel[0]; row++) {
      for (let col = left; col < left + kernel[1]; col++) {
        inside += border[row * paddedWidth + col]!;
      }
    }
    counts[at] = 1 / inside;
  });
  return graph.mul(sum, graph.constant(counts, [1, 1, rows, cols]));
}

/** 1 inside the image, 0 in its padding; undefined without padding. */
function borderOf(x: TensorNode, pads: Windows['pads']): Float64Array | undefined {
  if (pads.every((pad) => pad === 0)) {
    return undefined;
  }
  const [, , height, width] = x.shape as [number, number, number, number];
  const full = width + pads[1] + pads[3];
  const border = new Float64Array((height + pads[0] + pads[2]) * full);
  for (let row = 0; row < height; row++) {
    border.fill(1, (row + pads[0]) * full + pads[1], (row + pads[0]) * full + pads[1] + width);
  }
  return border;
}

const MOST_WEIGHTS = 2 ** 22;

/** The matrix that averages `from` entries into `to`, with PyTorch's bounds of the windows. */
function averages(from: number, to: number): Float64Array {
  if (from * to > MOST_WEIGHTS) {
    throw new RecipeError(`${from} entries cannot be averaged into ${to}`);
  }
  const matrix = new Float64Array(from * to);
  for (let out = 0; out < to; out++) {
    const start = Math.floor((out * from) / to);
    const end = Math.ceil(((out + 1) * from) / to);
    for (let at = start; at < end; at++) {
      matrix[at * to + out] = 1 / (end - start);
    }
  }
  return matrix;
}
