import type { TensorFile } from '../formats/tensor-file.js';
import type { Leak } from '../methods/method.js';
import { counted } from '../words/count-words.js';
import { type Finding, SEVERITIES, type Severity } from '../protocol/report.js';

/** What the audit found, as risks with evidence and with what would stop each: of the methods' leaks, and of the files themselves. */

/**
 * Findings, worst first.
 *
 * @param classes K, 0 without a head
 */
export function findingsOf(files: readonly TensorFile[], leaks: readonly Leak[], classes: number): Finding[] {
  const samples = new Set(leaks.flatMap(({ sample }) => sample ?? []));
  const ofSamples = leaks.filter(({ sample }) => sample !== null).flatMap(({ findings }) => findings);
  const ofAll = leaks.filter(({ sample }) => sample === null).flatMap(({ findings }) => findings);
  const findings = [
    ...pickleFindings(files),
    ...(samples.size < 2 ? ofSamples : mergeSamples(ofSamples, classes)),
    ...ofAll,
  ];
  return findings.sort((one, other) => rank(one.severity) - rank(other.severity));
}

function rank(severity: Severity): number {
  return SEVERITIES.indexOf(severity);
}

/** The worst severity of findings, null of none. */
export function worst(findings: readonly Pick<Finding, 'severity'>[]): Severity | null {
  return SEVERITIES.find((severity) => findings.some((own) => own.severity === severity)) ?? null;
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
function mergeSamples(findings: readonly Finding[], classes: number): Finding[] {
  const kinds = [...new Set(findings.map(({ id }) => id))];
  return kinds.flatMap((id): Finding[] => {
    const own = findings.filter((finding) => finding.id === id);
    const [first] = own;
    return first
      ? [
          {
            ...first,
            title: `${first.title}, for ${counted(own.length, 'sample')} of the batch`,
            evidence: `The one that shows most: ${first.evidence}`,
            mitigation: `Averaging over this batch did not protect its samples: up to about ${Math.floor((classes - 2) / 2)}, half the number of classes, can be told apart one by one. Sum over many more before anyone sees the gradient (secure aggregation), or clip each sample's gradient and add noise (DP-SGD).`,
          },
        ]
      : [];
  });
}
