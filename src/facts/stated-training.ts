import { UNCOUNTED } from '../kinds/difference-kind.js';
import type { UpdateReport } from '../protocol/report.js';
import type { StatedTraining } from '../protocol/stated-training.js';

/** What was stated of a client's training, beside what the numbers say. Numbers are believed, statements are shown. */

export interface Statements {
  readonly training: StatedTraining;
  /** Who says so, as the beginning of a sentence. */
  readonly source: string;
}

/**
 * What the user states comes before what the capture does.
 *
 * @returns undefined where neither states anything
 */
export function statementsOf(
  given: StatedTraining | undefined,
  captured: StatedTraining | undefined,
): Statements | undefined {
  if (!given) {
    return captured && { training: captured, source: 'capture.json' };
  }
  const own = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return {
    training: { ...captured, ...own },
    source: captured ? 'What was given with the audit, before capture.json,' : 'What was given with the audit',
  };
}

/**
 * An update with what was stated of it. Only a statement that asks for more care changes its kind: where nothing in the numbers
 * counts steps, several stated ones make it an update of several steps. That one step was made is never taken from a statement.
 */
export function withStatements(update: UpdateReport, stated: Statements): UpdateReport {
  const { training, source } = stated;
  const reasons = [...update.reasons, ...statements(update, stated)];
  const isUncounted = update.kind === 'difference' && update.steps === undefined;
  return isUncounted && hasSeveralSteps(training)
    ? {
        ...update,
        kind: 'several-steps',
        reasons: [
          ...reasons.filter((reason) => reason !== UNCOUNTED),
          `Nothing in the numbers counts steps. ${source} says that it was more than one, and is followed.`,
        ],
        ...(training.steps === undefined ? {} : { steps: training.steps }),
      }
    : { ...update, reasons };
}

function hasSeveralSteps({ steps, epochs, batchSize, samples }: StatedTraining): boolean {
  if (steps !== undefined) {
    return steps > 1;
  }
  // A last batch of fewer samples makes a step too, unless it was dropped: more steps ask for more care.
  const perEpoch = samples !== undefined && batchSize !== undefined ? Math.ceil(samples / batchSize) : 1;
  return (epochs ?? 1) * Math.max(perEpoch, 1) > 1;
}

function statements(update: UpdateReport, { training, source }: Statements): string[] {
  const words = inWords(training);
  return [
    `${source} says that the client sent weights after local training${words === '' ? '' : `: ${words}`}. Nobody checked that.`,
    ...contradictions(update, training),
  ];
}

function inWords({ optimiser, learningRate, momentum, steps, epochs, batchSize, samples }: StatedTraining): string {
  return [
    ...(optimiser === undefined ? [] : [`optimiser "${optimiser}"`]),
    ...(learningRate === undefined ? [] : [`learning rate ${learningRate}`]),
    ...(momentum === undefined ? [] : [`momentum ${momentum}`]),
    ...(steps === undefined ? [] : [`local steps ${steps}`]),
    ...(epochs === undefined ? [] : [`local epochs ${epochs}`]),
    ...(batchSize === undefined ? [] : [`batch size ${batchSize}`]),
    ...(samples === undefined ? [] : [`samples ${samples}`]),
  ].join(', ');
}

/** Optimisers whose steps are multiples of a gradient, but for momentum and decay. */
const LINEAR = /sgd|momentum|gradient.?descent/i;

function contradictions(update: UpdateReport, { optimiser, steps }: StatedTraining): string[] {
  const isLinear = optimiser !== undefined && LINEAR.test(optimiser);
  return [
    ...(update.kind === 'difference' || update.kind === 'several-steps' || update.kind === 'adam-step'
      ? []
      : ['The numbers do not show that they are a difference of weights.']),
    ...(update.kind === 'adam-step' && isLinear
      ? [`That does not go with the numbers: entries of one size are not what "${optimiser}" leaves.`]
      : []),
    ...(update.kind === 'difference' && optimiser !== undefined && !isLinear
      ? [`Steps of "${optimiser}" may be no multiples of a gradient; nothing in the numbers says that this is one.`]
      : []),
    ...(steps !== undefined && update.steps !== undefined && steps !== update.steps
      ? [
          `That does not go with the numbers, where steps are counted as ${update.steps} and not as ${steps}: the count is believed.`,
        ]
      : []),
  ];
}
