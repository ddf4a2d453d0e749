import { dependents } from './derivative.js';
import { type TensorNode, needed } from './tensor-graph.js';

/** A graph in two parts: what depends on feeds that are held for many runs, and what has to be run each time. */

export interface SplitGraph {
  /** What the second part needs of the first, to be computed when a held feed changes. */
  readonly frontier: readonly TensorNode[];
  /** The given outputs, with the frontier as variables named as in `names`. */
  readonly outputs: readonly TensorNode[];
  /** Name of each frontier node's variable. */
  readonly names: readonly string[];
}

/**
 * Cuts a graph where values that only depend on held variables meet the others. With x held and v fed, what is left
 * of a Jacobian's product is linear in v, and costs no forward pass.
 *
 * @param changing names of the variables that change from run to run; all others are held
 */
export function splitHeld(outputs: readonly TensorNode[], changing: readonly string[]): SplitGraph {
  const order = needed(outputs);
  const isVariable = ({ operation }: TensorNode): boolean => operation.kind === 'variable';
  const live = dependents(
    order,
    order.filter(({ operation }) => operation.kind === 'variable' && changing.includes(operation.name)),
  );
  const varying = dependents(order, order.filter(isVariable));
  const replaced = new Map<TensorNode, TensorNode>();
  const frontier: TensorNode[] = [];
  const names: string[] = [];
  const replace = (node: TensorNode): TensorNode => {
    if (live.has(node) || !varying.has(node) || isVariable(node)) {
      return replaced.get(node) ?? node;
    }
    let variable = replaced.get(node);
    if (!variable) {
      const name = `held${node.id}`;
      variable = { ...node, operation: { kind: 'variable', name }, inputs: [] };
      replaced.set(node, variable);
      frontier.push(node);
      names.push(name);
    }
    return variable;
  };
  for (const node of order) {
    if (live.has(node) && node.inputs.length > 0) {
      replaced.set(node, { ...node, inputs: node.inputs.map(replace) });
    }
  }
  return { outputs: outputs.map(replace), frontier, names };
}
