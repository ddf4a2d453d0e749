import type {
  EmbeddingReport,
  Finding,
  ImprintReport,
  LabelCountReport,
  SampleReport,
  Severity,
} from '../protocol/report.js';
import { SEVERITIES } from '../protocol/report.js';
import { confidenceInDigits, labelInWords } from '../words/label-words.js';
import type { TensorFile } from '../formats/tensor-file.js';
import { SURE_CLASS } from '../recovery/single-sample.js';
import type { NoiseSweep } from './noise-sweep.js';

/** What the audit found, as risks with evidence and with what would stop each. */

export interface FindingFacts {
  readonly files: readonly TensorFile[];
  readonly samples: readonly SampleReport[];
  readonly labelCounts: LabelCountReport | null;
  readonly batchSize: number | null;
  /** K. */
  readonly classes: number;
  readonly className: (index: number) => string;
  readonly sweep: NoiseSweep | undefined;
  readonly embeddings: readonly EmbeddingReport[];
  readonly imprints: readonly ImprintReport[];
  /** Noise hides even the feature's direction. */
  readonly hidden: boolean;
}

/** Findings, worst first. */
export function findingsOf(facts: FindingFacts): Finding[] {
  const findings = [
    ...pickleFindings(facts.files),
    ...mergeSamples(
      facts.samples.flatMap((sample) => sampleFindings(sample, facts)),
      facts,
    ),
    ...countFindings(facts),
    ...facts.embeddings.map(embeddingFinding),
    ...facts.imprints.map(imprintFinding),
  ];
  return findings.sort((one, other) => rank(one.severity) - rank(other.severity));
}

function rank(severity: Severity): number {
  return SEVERITIES.indexOf(severity);
}

/** True when any finding is at least as severe as the threshold. */
export function reaches(findings: readonly Pick<Finding, 'severity'>[], threshold: Severity): boolean {
  return findings.some(({ severity }) => rank(severity) <= rank(threshold));
}

function pickleFindings(files: readonly TensorFile[]): Finding[] {
  return files.flatMap((file): Finding[] => {
    const named = (risk: string): string[] => [
      ...new Set(
        file.foreignGlobals.filter((global) => global.risk === risk).map(({ module, name }) => `${module}.${name}`),
      ),
    ];
    const dangerous = named('dangerous');
    if (dangerous.length > 0) {
      return [
        {
          id: 'pickle-runs-code',
          severity: 'critical',
          title: 'A file would run code when loaded',
          evidence: `${file.path} would run ${dangerous.join(', ')} when loaded with torch.load.`,
          mitigation:
            'Do not load it in Python. Find out where it came from, and ask for safetensors, which cannot hold code.',
        },
      ];
    }
    const unknown = named('unknown');
    return unknown.length > 0
      ? [
          {
            id: 'pickle-unknown-code',
            severity: 'medium',
            title: 'A file would import unfamiliar code when loaded',
            evidence: `${file.path} would import ${unknown.slice(0, 8).join(', ')}.`,
            mitigation: 'Load it with weights_only=True only, or convert it to safetensors.',
          },
        ]
      : [];
  });
}

/** A batch's samples leak alike; what is said of each is said once. */
function mergeSamples(findings: readonly Finding[], { samples, classes }: FindingFacts): Finding[] {
  if (samples.length < 2) {
    return [...findings];
  }
  const kinds = [...new Set(findings.map(({ id }) => id))];
  return kinds.flatMap((id): Finding[] => {
    const own = findings.filter((finding) => finding.id === id);
    const [first] = own;
    return first
      ? [
          {
            ...first,
            title: `${first.title}: ${own.length} of the batch`,
            evidence: `The one that shows most: ${first.evidence}`,
            mitigation: `Averaging over this batch did not protect its samples. Up to about ${Math.floor((classes - 2) / 2)} samples, half the number of classes, can be told apart one by one; sum over many more with secure aggregation before anyone sees the gradient, or use DP-SGD: clip each sample's gradient and add noise.`,
          },
        ]
      : [];
  });
}

function sampleFindings(sample: SampleReport, facts: FindingFacts): Finding[] {
  if (facts.hidden) {
    return [];
  }
  return [...inputFindings(sample), ...labelFindings(sample, facts)];
}

function inputFindings({ reconstruction }: SampleReport): Finding[] {
  if (!reconstruction || (reconstruction.verdict !== 'exact' && reconstruction.verdict !== 'close')) {
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
        evidence: `${reconstruction.shape.join(' x ')} numbers by gradient matching with the true label. An attacker would have to know the label first, so this is no finding about the gradient alone. ${reconstruction.reason}`,
        mitigation: 'Audit without `--labels true` to see what the gradient gives away by itself.',
      },
    ];
  }
  return [
    {
      id: 'input-reconstructed',
      severity: exact ? 'critical' : 'high',
      title: exact
        ? 'The training input itself can be computed from this gradient'
        : 'Much of the training input can be computed from this gradient',
      evidence: `${reconstruction.shape.join(' x ')} numbers by ${reconstruction.method === 'chain' ? 'a closed form, without any search' : 'gradient matching'}. ${reconstruction.reason}`,
      mitigation:
        'Do not share gradients of single samples: aggregate them securely over many clients, or clip and add noise (differential privacy) before they leave the machine.',
    },
  ];
}

function labelFindings(sample: SampleReport, facts: FindingFacts): Finding[] {
  if (sample.status === 'not-identifiable') {
    return [directionFinding(sample)];
  }
  const certain = sample.status === 'recovered';
  const { classConfidence = sample.confidence } = sample.label;
  const isClassSure = classConfidence >= SURE_CLASS;
  const several = sample.label.classes.length > 1;
  const findings: Finding[] = [
    {
      id: 'label-recovered',
      severity: certain || isClassSure ? 'high' : 'low',
      title: certain
        ? 'The label can be computed from this gradient'
        : isClassSure
          ? 'The class of the label can be computed from this gradient'
          : 'An attacker could guess the label from this gradient, and might be wrong',
      evidence: `${labelInWords(sample, facts.className)}; class at a confidence of ${confidenceInDigits(classConfidence)}, residual ${sample.residual.toExponential(1)} against a floor of ${sample.residualFloor.toExponential(1)}.`,
      mitigation: stopAdvice(facts.sweep),
    },
    ...featureFinding(sample, certain || isClassSure || sample.method === 'closed-form-bias'),
  ];
  if (certain && sample.label.smoothing > 0) {
    findings.push({
      id: 'smoothing-hides-nothing',
      severity: 'medium',
      title: 'Label smoothing does not protect this label',
      evidence: `epsilon = ${sample.label.smoothing.toPrecision(5)} was computed along with the label.`,
      mitigation: 'Treat label smoothing as regularisation only.',
    });
  }
  if (certain && several && sample.label.kind.startsWith('mixup')) {
    findings.push({
      id: 'mixup-hides-nothing',
      severity: 'medium',
      title: 'Mixing samples does not protect this label',
      evidence: `Both classes and their shares of the label were computed: ${labelInWords(sample, facts.className)}.`,
      mitigation: 'Treat mixup and CutMix as regularisation only.',
    });
  }
  return findings;
}

/** The feature follows from the bias gradient whatever the label is; without one it is as sure as the label. */
function featureFinding(sample: SampleReport, isKnown: boolean): Finding[] {
  if (!isKnown) {
    return [directionFinding(sample)];
  }
  return [
    {
      id: 'feature-recovered',
      severity: 'high',
      title: 'The last-layer feature can be computed from this gradient',
      evidence: `All ${sample.featureStatistics.length} numbers (norm ${sample.featureStatistics.norm.toPrecision(4)}); features like these identify people and are the start of reconstructing the input.`,
      mitigation:
        'The same measures as for the label. Freezing the head does not help: the layer below leaks the same way.',
    },
  ];
}

function directionFinding(sample: SampleReport): Finding {
  return {
    id: 'feature-direction-recovered',
    severity: 'medium',
    title: 'The last-layer feature is known up to its length',
    evidence: `The gradient is of a single sample, so each of its rows is that sample's feature (${sample.featureStatistics.length} numbers) times one number.`,
    mitigation: stopAdvice(undefined),
  };
}

function stopAdvice(sweep: NoiseSweep | undefined): string {
  const always =
    'Never share the gradient of one sample: sum over many samples (or use secure aggregation) before anything leaves the machine.';
  if (!sweep) {
    return `${always} For a guarantee use DP-SGD: clip each sample's gradient and add noise.`;
  }
  if (sweep.stopsAt === null || sweep.standardDeviation === null) {
    return `${always} Noise alone does not help here: even ${Math.max(...sweep.tried)} times the gradient's root mean square, the most that was tried, left the main class readable${sweep.below ? ` in ${sweep.below.told} of ${sweep.draws} draws` : ''}.`;
  }
  return `${always} Tried on this gradient, ${sweep.draws} draws a level: with Gaussian noise of standard deviation ${sweep.standardDeviation.toPrecision(2)} (${sweep.stopsAt} times its root mean square) the main class was still told in ${sweep.toldAtStop} of ${sweep.draws}${sweep.below ? `, with ${sweep.below.level} times in ${sweep.below.told} of ${sweep.draws}` : ''}. For a guarantee use DP-SGD: clip each sample's gradient and add noise.`;
}

function countFindings({ labelCounts, batchSize, className }: FindingFacts): Finding[] {
  if (!labelCounts) {
    return [];
  }
  const known = labelCounts.agreed.flatMap((count, index) => (count ? [`${className(index)} x ${count}`] : []));
  const open = labelCounts.agreed.filter((count) => count === null).length;
  const { confirmedBy } = labelCounts;
  const shown = `${known.slice(0, 12).join(', ')}${known.length > 12 ? ', ...' : ''}`;
  if (typeof confirmedBy !== 'string') {
    return [
      {
        id: 'label-counts-estimated',
        severity: 'low',
        title: 'How often each class occurs in the batch can be estimated, not computed',
        evidence: `Estimate: ${shown || 'no class agreed on'}. The estimators share assumptions that nothing here confirms, and they disagree on ${open} classes.`,
        mitigation:
          'Treat the estimate as what an attacker would guess. Aggregate over more clients before anyone sees the gradient (secure aggregation), or use DP-SGD.',
      },
    ];
  }
  return [
    {
      id: 'label-counts-recovered',
      severity: 'high',
      title: 'How often each class occurs in the batch can be computed',
      evidence: `${shown} in a batch of ${batchSize ?? 'unknown size'}. ${confirmedBy}`,
      mitigation:
        "Aggregate over more clients before anyone sees the gradient (secure aggregation), or use DP-SGD: clip each sample's gradient and add noise.",
    },
  ];
}

function embeddingFinding({ tensor, what, touched, entries, rows, texts }: EmbeddingReport): Finding {
  const shown = (texts?.map((text) => JSON.stringify(text)) ?? rows.map(String)).slice(0, 24).join(' ');
  return what === 'positions'
    ? {
        id: 'embedding-positions',
        severity: 'low',
        title: 'The length of the longest input can be read from this gradient',
        evidence: `${touched} of ${entries} rows of the gradient of "${tensor}" are not zero, one per position.`,
        mitigation: 'Pad inputs to one length, or do not train position embeddings on clients.',
      }
    : {
        id: 'embedding-tokens',
        severity: 'high',
        title: 'The tokens of the batch can be read from this gradient',
        evidence: `${touched} of ${entries} rows of the gradient of "${tensor}" are not zero, and those are the ids that were looked up: ${shown}${touched > 24 ? ' ...' : ''}.`,
        mitigation:
          'Freeze the embedding on clients, or share only sums over many clients (secure aggregation); noise must be added to every row, also those that are zero.',
      };
}

function imprintFinding({ layer, bins, filled, inputs, width }: ImprintReport): Finding {
  const caught =
    inputs > 0
      ? ` The gradient gives away ${inputs} inputs of ${width} numbers exactly, out of ${filled} bins that were hit.`
      : filled > 0
        ? ` ${filled} bins were hit, none by one input alone.`
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
