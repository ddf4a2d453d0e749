import type { Pause } from '../pause.js';
import { norm, scaled } from '../vectors.js';
import { type Course, type Together, Confirmation } from './confirmed-together.js';
import type { FactoredLayer } from './factored-layer.js';
import { independent } from './mixtures.js';
import type { SeparatedSample } from './separate-samples.js';

/** Exchanges that are looked at, in all. */
const MOST_TRIED = 1000;

/**
 * Which of the mixtures that may be inputs are: flat parts of pictures make differences of two samples zero as often as a sample
 * is. As many as there are samples are taken, and exchanged for others as long as that confirms more of them.
 */
export class ChosenInputs {
  private chosen: Float64Array[] = [];
  private readonly left: Float64Array[] = [];
  private best: Together | undefined;
  private tried = 0;
  private readonly confirmation: Confirmation;

  constructor(
    private readonly layer: FactoredLayer,
    course: Course,
    private readonly pause: Pause,
  ) {
    this.confirmation = new Confirmation(layer, course);
  }

  /** @param input one more mixture. @returns all samples, once they are confirmed */
  async with(input: Float64Array): Promise<readonly SeparatedSample[] | undefined> {
    const own = this.confirmation.normalised(input);
    if (this.chosen.length < this.layer.rank) {
      const all = [...this.chosen, own].map((each) => scaled(each, 1 / norm(each)));
      const isNew = independent(all).length > this.chosen.length;
      (isNew ? this.chosen : this.left).push(own);
      if (this.chosen.length < this.layer.rank) {
        return undefined;
      }
      this.best = this.confirmation.of(this.chosen);
    } else {
      this.left.push(own);
    }
    while (!this.best?.samples && (await this.exchange())) {
      // Each exchange makes others worth trying.
    }
    return this.best?.samples;
  }

  /** All samples, where one input was not found and the others tell it. */
  completed(): readonly SeparatedSample[] | undefined {
    const missing = this.chosen.length === this.layer.rank - 1 ? this.confirmation.missing(this.chosen) : undefined;
    return missing && this.confirmation.of([...this.chosen, missing])?.samples;
  }

  /** @returns whether one was exchanged */
  private async exchange(): Promise<boolean> {
    for (const [from, other] of this.left.entries()) {
      for (const at of this.chosen.keys()) {
        if (this.tried++ > MOST_TRIED) {
          return false;
        }
        await this.pause();
        const tried = this.chosen.with(at, other);
        const own = this.confirmation.of(tried);
        if (own && (own.samples || own.confirmed > (this.best?.confirmed ?? 0))) {
          this.left[from] = this.chosen[at]!;
          [this.chosen, this.best] = [tried, own];
          return true;
        }
      }
    }
    return false;
  }
}
