import type { StatedTraining } from '../protocol/stated-training.js';

/** How a client's training is stated in one line of text: "lr=0.01,epochs=5,batch-size=4,samples=16". */

interface Part {
  readonly name: string;
  readonly key: Exclude<keyof StatedTraining, 'optimiser'>;
  readonly isWhole: boolean;
}

const PARTS: readonly Part[] = [
  { name: 'lr', key: 'learningRate', isWhole: false },
  { name: 'momentum', key: 'momentum', isWhole: false },
  { name: 'epochs', key: 'epochs', isWhole: true },
  { name: 'steps', key: 'steps', isWhole: true },
  { name: 'batch-size', key: 'batchSize', isWhole: true },
  { name: 'samples', key: 'samples', isWhole: true },
];

/** An example that is whole. */
export const TRAINING_EXAMPLE = 'lr=0.01,momentum=0,epochs=5,batch-size=4,samples=16';

/** @throws RangeError with one sentence for what is no such line */
export function trainingOf(text: string): StatedTraining {
  const training: StatedTraining = {};
  for (const part of text.split(',')) {
    const [name = '', value = '', ...rest] = part.split('=').map((own) => own.trim());
    const known = PARTS.find((own) => own.name === name);
    const number = Number(value);
    if (!known || rest.length > 0 || value === '') {
      throw new RangeError(
        `Expected ${PARTS.map((own) => own.name).join(', ')}, each once, as in ${TRAINING_EXAMPLE}.`,
      );
    }
    if (training[known.key] !== undefined) {
      throw new RangeError(`"${name}" is given twice.`);
    }
    const isRight = known.isWhole ? Number.isSafeInteger(number) && number > 0 : Number.isFinite(number) && number >= 0;
    if (!isRight) {
      throw new RangeError(
        `"${name}" must be ${known.isWhole ? 'a whole number of at least 1' : 'a number, not negative'}.`,
      );
    }
    training[known.key] = number;
  }
  return training;
}
