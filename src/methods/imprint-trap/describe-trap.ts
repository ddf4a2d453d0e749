import { counted } from '../../words/count-words.js';
import type { LeakReport } from '../../protocol/report.js';

/** A layer made to catch inputs. */
export interface TrapFacts {
  /** Name of the weight in the checkpoint. */
  readonly layer: string;
  /** Thresholds that the layer holds. */
  readonly bins: number;
  /** Largest relative distance of a row from the mean row. */
  readonly spread: number;
  /** Bins that some input of the batch fell into. */
  readonly filled: number;
  /** Inputs that were read out alone in their bin. */
  readonly inputs: number;
  /** Numbers of one input. */
  readonly width: number;
}

/** As a report tells it. */
export function describeTrap(trap: TrapFacts): Omit<LeakReport, 'method' | 'files'> {
  const { layer, bins, filled, width, spread, inputs } = trap;
  return {
    noun: 'Trap',
    what: `${layer}: ${bins} bins, ${filled} hit, ${counted(inputs, 'input')} read out`,
    brief: `${counted(inputs, 'input')} by the trap "${layer}"`,
    title: 'A trap in the checkpoint',
    amount: counted(inputs, 'input'),
    sample: null,
    tensor: layer,
    certificate: null,
    gives: { inputs, tokens: 0 },
    details: [
      {
        type: 'text',
        text: `The ${bins} rows of \`${layer}\` are nearly identical (to ${spread.toExponential(0)}) and its biases are thresholds in order. ${counted(filled, 'bin was', 'bins were')} hit, ${inputs} by one input alone: its ${width} numbers follow from the difference of two rows.`,
      },
    ],
  };
}
