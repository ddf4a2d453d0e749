import type { Finding, ReconstructionReport } from '../../protocol/report.js';

/** As the rest of "numbers by". */
const HOW: Readonly<Partial<Record<ReconstructionReport['method'], string>>> = {
  chain: 'a closed form, without any search',
  maps: "feature maps computed from the layers' gradients, and the input from the deepest of them",
  matching: 'gradient matching',
};

/** A reconstructed input as a risk. */
export function inputFindings(reconstruction: ReconstructionReport): Finding[] {
  if (reconstruction.verdict !== 'exact' && reconstruction.verdict !== 'close') {
    return [];
  }
  const exact = reconstruction.verdict === 'exact';
  const withTruth = reconstruction.usedTruth === true;
  if (withTruth) {
    return [
      {
        id: 'input-reconstructed-with-true-label',
        severity: 'low',
        title: 'With the true label, which the user gave, the training input was reconstructed',
        evidence: `${reconstruction.shape.join(' x ')} numbers, by gradient matching with the true label. An attacker would have to know the label first, so this is no finding about the gradient alone. ${reconstruction.reason}`,
        mitigation: 'Audit without `--labels true` to see what the gradient gives away by itself.',
      },
    ];
  }
  return [
    {
      id: 'input-reconstructed',
      severity: exact ? 'critical' : 'high',
      title: exact ? 'The training input itself can be computed' : 'Much of the training input can be computed',
      evidence: `${reconstruction.shape.join(' x ')} numbers, by ${HOW[reconstruction.method] ?? reconstruction.by}. ${reconstruction.reason}`,
      mitigation:
        'Do not share the gradient of a single sample: sum over many first (secure aggregation), or clip and add noise (DP-SGD).',
    },
  ];
}
