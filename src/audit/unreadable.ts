import type { UpdateKind } from '../protocol/report.js';

/** Why samples are not read from an update of this kind, the verdict's sentence; undefined for one from which they are. */
export function unreadable(kind: UpdateKind): string | undefined {
  switch (kind) {
    case 'adam-step':
      return 'Nothing was assessed: this is the first step of Adam or a sign, whose entries have one size, and no method here reads a gradient from it.';
    case 'sign':
      return 'Nothing was assessed: this is the sign of a gradient, which keeps no magnitudes, and no method here reads it.';
    case 'several-steps':
      return 'Samples were not read from the head: this is the difference of weights over several steps, which the head’s methods do not take apart.';
    case 'gradient':
    case 'checkpoint':
    case 'optimiser-state':
    case 'difference':
    case 'quantised':
    case 'pruned':
    case 'unknown':
      return undefined;
  }
}
