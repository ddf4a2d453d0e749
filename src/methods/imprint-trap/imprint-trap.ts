import { MATCHING } from '../../facts/update.js';
import type { Finding } from '../../protocol/report.js';
import { counted } from '../../words/count-words.js';
import { type Leak, type Method, READABLE } from '../method.js';
import { describeTrap } from './describe-trap.js';
import { type FoundTrap, readTraps } from './traps.js';

/** Layers that a malicious server planted to catch inputs, and the inputs that are in the gradient of one. */
export const imprintTrap: Method = {
  id: 'imprint-trap',
  title: 'Traps for inputs in the checkpoint',
  assumes:
    'a trap has the rows that were published, alike up to their biases; one that is built otherwise is not seen.',
  cites: 'Fowl et al., Robbing the Fed, ICLR 2022',
  cost: 'ms',
  kinds: READABLE,
  applies: () => Promise.resolve(true),
  look: { of: 'checkpoint', find: (file) => readTraps(file, file, { pairs: [] }).map(leakOf) },
  async run(facts) {
    const { checkpoint, gradients } = facts.given;
    const traps = readTraps(checkpoint, gradients, await facts.get(MATCHING));
    return traps.length > 0
      ? { outcome: 'found', detail: 'The checkpoint holds a layer made to catch inputs.', leaks: traps.map(leakOf) }
      : { outcome: 'nothing', detail: 'No layer is made to catch inputs, as in "Robbing the Fed".', leaks: [] };
  },
};

function leakOf(trap: FoundTrap, at: number): Leak {
  const { imprints, width } = trap;
  const inputs = imprints.length;
  return {
    ...describeTrap({ ...trap, inputs }),
    findings: [findingOf(trap)],
    arrays:
      inputs > 0
        ? [
            {
              name: `imprint-${at}`,
              shape: [inputs, width],
              data: Float64Array.from(imprints.flatMap(({ input }) => [...input])),
            },
          ]
        : [],
  };
}

function findingOf({ layer, bins, filled, width, imprints }: FoundTrap): Finding {
  const inputs = imprints.length;
  const caught =
    inputs > 0
      ? ` The gradient gives away ${counted(inputs, 'input')} of ${width} numbers exactly; ${counted(filled, 'bin was', 'bins were')} hit.`
      : filled > 0
        ? ` ${counted(filled, 'bin was', 'bins were')} hit, none by one input alone.`
        : '';
  return {
    id: inputs > 0 ? 'imprint-inputs' : 'imprint-trap',
    severity: 'critical',
    title: inputs > 0 ? 'The checkpoint holds a trap, and inputs are in it' : 'The checkpoint holds a trap for inputs',
    evidence: `The ${bins} rows of "${layer}" are nearly identical and its biases are thresholds in order ("Robbing the Fed", Fowl et al., ICLR 2022): no training makes such a layer.${caught}`,
    mitigation:
      'Do not train this checkpoint and do not send its gradients. Whoever sent it is reading inputs; secure aggregation does not help against it.',
  };
}
