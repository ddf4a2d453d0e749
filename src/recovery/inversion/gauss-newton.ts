import type { Engine, Program } from '../../engine/engine.js';
import { splitHeld } from '../../graph/hold.js';
import { jvp, vjp } from '../../graph/jacobian.js';
import { type TensorGraph, type TensorNode, workOf } from '../../graph/tensor-graph.js';
import { dot, norm } from '../vectors.js';

const TOLERANCE = 1e-4;

/**
 * Gauss-Newton steps by conjugate gradients on exact products with the Jacobian in float32. Residuals come from outside,
 * in float64, so that steps refine beyond float32.
 */
export class GaussNewton {
  private constructor(
    private readonly fed: { readonly v: string; readonly u: string; readonly w: string },
    /** Undefined where the Jacobian does not depend on x. */
    private readonly held: Program | undefined,
    private readonly names: readonly string[],
    private readonly normal: Program,
    private readonly adjoint: Program,
    /** Multiplications of one conjugate gradient. */
    readonly work: number,
  ) {}

  /**
   * @param x the graph's variable "x"
   * @throws EngineError when the engine does not take the graph
   */
  static async of(graph: TensorGraph, x: TensorNode, y: TensorNode, engine: Engine): Promise<GaussNewton> {
    // Variables of one name are one, and a graph may have several outputs.
    const [vName, uName, wName] = [`v${y.id}`, `u${y.id}`, `w${y.id}`];
    const v = graph.variable(vName, x.shape);
    const u = graph.variable(uName, y.shape);
    const w = graph.variable(wName, y.shape);
    const outputs = [vjp(graph, y, x, graph.mul(w, jvp(graph, y, x, v))), vjp(graph, y, x, u)];
    const split = splitHeld(outputs, [vName, uName, wName]);
    return new GaussNewton(
      { v: vName, u: uName, w: wName },
      split.frontier.length > 0 ? await engine.compile(split.frontier) : undefined,
      split.names,
      await engine.compile([split.outputs[0]!]),
      await engine.compile([split.outputs[1]!]),
      workOf([split.outputs[0]!]),
    );
  }

  /**
   * Minimises ||W (r + J d)|| over d.
   *
   * @param off r, of y's size
   * @param weight 1 where an entry takes part, 0 elsewhere
   * @param most conjugate gradients
   * @param pause after every product
   * @returns d, of x's size, and whether more conjugate gradients would have brought it nearer
   */
  async step(
    x: Float64Array,
    off: Float64Array,
    weight: Float64Array,
    most: number,
    pause: () => Promise<void>,
  ): Promise<{ direction: Float64Array; isCutShort: boolean }> {
    const values = (await this.held?.run({ x })) ?? [];
    const feeds = Object.fromEntries(this.names.map((name, at) => [name, values[at]!]));
    const w = Float32Array.from(weight);
    // Float32 cannot hold what is small beside its own rounding, so the right side is brought to size one.
    const size = norm(off) || 1;
    const [slope] = await this.adjoint.run({ ...feeds, [this.fed.u]: off.map((value) => -value / size) });
    const right = Float64Array.from(slope!);
    const d = new Float64Array(right.length);
    const rest = right.slice();
    const p = right.slice();
    let square = dot(rest, rest);
    const enough = TOLERANCE ** 2 * square;
    for (let iteration = 0; iteration < most && square > enough; iteration++) {
      await pause();
      const length = norm(p);
      const [product] = await this.normal.run({
        ...feeds,
        [this.fed.v]: p.map((value) => value / length),
        [this.fed.w]: w,
      });
      const applied = Float64Array.from(product!, (value) => value * length);
      const curvature = dot(p, applied);
      if (!(curvature > 0)) {
        break;
      }
      const alpha = square / curvature;
      for (let at = 0; at < d.length; at++) {
        d[at]! += alpha * p[at]!;
        rest[at]! -= alpha * applied[at]!;
      }
      const next = dot(rest, rest);
      const beta = next / square;
      for (let at = 0; at < p.length; at++) {
        p[at] = rest[at]! + beta * p[at]!;
      }
      square = next;
    }
    return { direction: d.map((value) => value * size), isCutShort: square > enough };
  }

  async dispose(): Promise<void> {
    await Promise.all([this.held?.dispose(), this.normal.dispose(), this.adjoint.dispose()]);
  }
}
