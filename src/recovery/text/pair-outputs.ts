import type { ProductKernel } from '../../graph/product-kernel.js';
import { factorise, solveLower } from '../cholesky.js';
import { gaussian } from '../gaussian.js';
import { transposed } from '../linear-algebra.js';
import { generator } from '../paper-method.js';
import type { Pause } from '../pause.js';
import { norm } from '../vectors.js';
import type { Work } from './work.js';
import { type AttentionValues, attended, attentionWeights, project } from './first-attention.js';
import { type Distance, type InputSpace, distancesTo } from './input-space.js';

/** What the first attention of a model that sees both directions makes of sets of inputs, and how far from a space that is. */
export class PairOutputs {
  private constructor(
    private readonly attention: AttentionValues,
    private readonly space: InputSpace,
    readonly count: number,
    private readonly queries: readonly Float64Array[],
    private readonly keys: readonly Float64Array[],
    private readonly values: readonly Float64Array[],
    /** Of each head: the values' parts outside of the space, count x outside. */
    private readonly outside: readonly Float64Array[],
    /** The same for few random directions outside. */
    private readonly probes: readonly Float64Array[],
    /** Directions outside of the space. */
    readonly codimension: number,
    private readonly probeCount: number,
    private readonly size: number,
    readonly work: Work,
  ) {}

  /** @param inputs count x width, of the pairs */
  static async of(
    attention: AttentionValues,
    space: InputSpace,
    inputs: Float64Array,
    product: ProductKernel,
    work: Work,
    pause: Pause,
  ): Promise<PairOutputs> {
    const { heads, keyValueHeads, headWidth } = attention;
    const count = inputs.length / attention.width;
    const projected = await project(attention, inputs, product);
    const values = rowsOf(projected.values, count);
    const complement = await directionsOutside(space, product, pause);
    const codimension = complement.length / space.width;
    const probeCount = Math.min(PROBES, codimension);
    const random = generator(SEED);
    const mixture = Float64Array.from({ length: probeCount * codimension }, () =>
      gaussian(random, 1 / Math.sqrt(probeCount)),
    );
    const mixed = await product(
      mixture,
      transposed(complement, codimension, space.width),
      probeCount,
      space.width,
      codimension,
    );
    const outside: Float64Array[] = [];
    const probes: Float64Array[] = [];
    for (let head = 0; head < heads; head++) {
      const from = Math.floor(head / (heads / keyValueHeads)) * headWidth;
      const own = columns(projected.values, keyValueHeads * headWidth, from, headWidth);
      const part = (rows: Float64Array, of: number): Promise<Float64Array> =>
        product(own, columns(rows, space.width, head * headWidth, headWidth), count, of, headWidth);
      outside.push(await part(complement, codimension));
      probes.push(await part(mixed, probeCount));
    }
    return new PairOutputs(
      attention,
      space,
      count,
      rowsOf(projected.queries, count),
      rowsOf(projected.keys, count),
      values,
      outside,
      probes,
      codimension,
      probeCount,
      values.reduce((sum, own) => sum + norm(own), 0) / count,
      work,
    );
  }

  /** exp(query . key), not normalised: heads x count. */
  attractions(query: number): Float64Array {
    this.work.add(this.count * this.space.width);
    return attentionWeights(this.attention, this.queries[query]!, this.keys);
  }

  /**
   * What a member would add to the output outside of the space, if the softmax had the given sums: members.length x
   * codimension, in units of the usual length of an output.
   *
   * @param attractions heads x count
   * @param sums of the attractions of the members, by head
   */
  contributions(members: readonly number[], attractions: Float64Array, sums: Float64Array): Float64Array {
    const { codimension, count } = this;
    const out = new Float64Array(members.length * codimension);
    this.work.add(this.outside.length * out.length);
    this.outside.forEach((rows, head) => {
      members.forEach((member, at) => {
        const weight = attractions[head * count + member]! / (sums[head]! * this.size);
        const [to, from] = [at * codimension, member * codimension];
        for (let col = 0; col < codimension; col++) {
          out[to + col]! += weight * rows[from + col]!;
        }
      });
    });
    return out;
  }

  /** What all members together add, by their shares, head by head: heads x codimension. */
  headParts(
    members: readonly number[],
    shares: Float64Array,
    attractions: Float64Array,
    sums: Float64Array,
  ): Float64Array {
    const { codimension, count } = this;
    const out = new Float64Array(this.outside.length * codimension);
    this.work.add(out.length * members.length);
    this.outside.forEach((rows, head) => {
      members.forEach((member, at) => {
        const weight = (shares[at]! * attractions[head * count + member]!) / (sums[head]! * this.size);
        const from = member * codimension;
        for (let col = 0; weight > 0 && col < codimension; col++) {
          out[head * codimension + col]! += weight * rows[from + col]!;
        }
      });
    });
    return out;
  }

  /** How far the nearest outputs of a supposed sequence are from the space, roughly: root mean square, relative. */
  misfit(members: readonly number[]): number {
    const nearest = this.squares(members)
      .sort((one, other) => one - other)
      .slice(0, leastClear(members.length));
    return Math.sqrt(nearest.reduce((sum, value) => sum + value, 0) / nearest.length) / this.size;
  }

  /** The same for all of them: geometric mean, as their noise differs by orders of magnitude. */
  typicalMisfit(members: readonly number[]): number {
    const logs = this.squares(members).map((square) => Math.log(Math.max(square, (ROUNDING * this.size) ** 2)));
    return Math.exp(logs.reduce((sum, value) => sum + value, 0) / logs.length / 2) / this.size;
  }

  private squares(members: readonly number[]): number[] {
    const { probeCount, attention } = this;
    const { heads } = attention;
    const keys = members.map((member) => this.keys[member]!);
    const out = new Float64Array(probeCount);
    this.work.add(members.length ** 2 * (this.space.width + heads * probeCount));
    const squares: number[] = [];
    for (const query of members) {
      const weights = attentionWeights(attention, this.queries[query]!, keys);
      out.fill(0);
      for (let head = 0; head < heads; head++) {
        const rows = this.probes[head]!;
        members.forEach((member, at) => {
          const weight = weights[head * members.length + at]!;
          const from = member * probeCount;
          for (let col = 0; col < probeCount; col++) {
            out[col]! += weight * rows[from + col]!;
          }
        });
      }
      squares.push(out.reduce((sum, value) => sum + value * value, 0));
    }
    return squares;
  }

  /** Distances of all outputs of a supposed sequence. */
  distances(members: readonly number[], product: ProductKernel): Promise<Distance[]> {
    const [keys, values] = [this.keys, this.values].map((all) => members.map((member) => all[member]!)) as [
      Float64Array[],
      Float64Array[],
    ];
    const outputs = new Float64Array(members.length * this.space.width);
    this.work.add(members.length * (2 * outputs.length + this.space.rank ** 2 / 2));
    members.forEach((query, at) => {
      const weights = attentionWeights(this.attention, this.queries[query]!, keys);
      outputs.set(attended(this.attention, weights, values), at * this.space.width);
    });
    return distancesTo(this.space, outputs, product, Infinity);
  }
}

/** So many outputs of a sequence have to fit clearly, where the gradient holds too little of some. */
export function leastClear(members: number): number {
  return Math.min(members, Math.max(3, Math.ceil(members / 4)));
}

/** Relative distances below are none. */
const ROUNDING = 1e-7;
const PROBES = 24;
const SEED = 13;

function rowsOf(data: Float64Array, count: number): Float64Array[] {
  const width = data.length / count;
  return Array.from({ length: count }, (_, at) => data.slice(at * width, (at + 1) * width));
}

function columns(data: Float64Array, width: number, start: number, count: number): Float64Array {
  const rows = data.length / width;
  const out = new Float64Array(rows * count);
  for (let row = 0; row < rows; row++) {
    out.set(data.subarray(row * width + start, row * width + start + count), row * count);
  }
  return out;
}

/** An orthonormal basis of what is orthogonal to the space, (width - rank) x width: random rows, twice made orthogonal by Cholesky. */
async function directionsOutside(
  { basis, rank, width }: InputSpace,
  product: ProductKernel,
  pause: Pause,
): Promise<Float64Array> {
  const random = generator(SEED);
  const count = width - rank;
  const out = Float64Array.from({ length: count * width }, () => gaussian(random));
  for (let pass = 0; pass < 2; pass++) {
    const along = await product(out, basis, count, rank, width);
    const inside = await product(along, transposed(basis, rank, width), count, width, rank);
    inside.forEach((value, at) => (out[at]! -= value));
    const factor = await factorise(await product(out, out, count, count, width), count, product);
    for (let col = 0; col < width; col++) {
      await pause();
      const column = Float64Array.from({ length: count }, (_, row) => out[row * width + col]!);
      solveLower(factor, column).forEach((value, row) => (out[row * width + col] = value));
    }
  }
  return out;
}
