import type { StatedTraining } from '../../facts/capture.js';

/** What has to be known of a client's training to simulate it. */
export interface LocalTraining {
  readonly rate: number;
  readonly epochs: number;
  /** Samples of a batch. */
  readonly size: number;
  readonly samples: number;
}

/** Optimisers whose steps are a rate times the gradient, by name alone. */
const PLAIN = /^(torch\.optim\.)?(sgd|gradient.?descent)\b/i;
/** More would take longer than anybody waits. */
const MOST_STEPS = 1000;

/** Local steps, as stated or as epochs and batches make them; undefined where neither is known. */
export function stepsOf({ steps, epochs, batchSize, samples }: StatedTraining): number | undefined {
  return (
    steps ??
    (batchSize === undefined || samples === undefined ? undefined : (epochs ?? 1) * Math.ceil(samples / batchSize))
  );
}

/** @returns a sentence where something is missing, or where the statements do not go together */
export function localTraining(stated: StatedTraining | undefined): LocalTraining | string {
  const { optimiser, learningRate, batchSize, samples } = stated ?? {};
  const missing = [
    ...(learningRate === undefined || learningRate <= 0 ? ['"learning_rate"'] : []),
    ...(batchSize === undefined ? ['"batch_size"'] : []),
    ...(samples === undefined ? ['"samples"'] : []),
  ];
  const steps = stated && stepsOf(stated);
  if (!learningRate || batchSize === undefined || samples === undefined || steps === undefined || missing.length > 0) {
    return `To simulate the client, its training has to be known: state ${missing.join(', ')} in capture.json beside the file, as capture_update of gradleak_capture.py writes it.`;
  }
  if (optimiser !== undefined && !PLAIN.test(optimiser)) {
    return `Only plain gradient descent is simulated, and capture.json states the optimiser "${optimiser}".`;
  }
  const perEpoch = Math.ceil(samples / batchSize);
  const epochs = steps / perEpoch;
  if (!Number.isInteger(epochs) || (stated?.epochs !== undefined && stated.epochs !== epochs)) {
    return `The statements of capture.json do not go together: ${steps} steps are no whole number of epochs of ${perEpoch} batches each, as ${samples} samples in batches of ${batchSize} make.`;
  }
  return steps > MOST_STEPS
    ? `A client of ${steps} steps is not simulated, at most ${MOST_STEPS}.`
    : { rate: learningRate, epochs, size: batchSize, samples };
}
