/** A fit as good as this needs no reweighting. */
export const CLEAN = 1e-4;
export const MOST_REWEIGHTINGS = 30;
/** Channels this many times the median off have a wrong delta. */
export const OUTLYING = 10;
/** Rounding adds up over the numbers that a gradient is a sum of. */
const ROUNDING = 5;
/** Each round is at least so much stricter. */
const NARROWING = 1.7;

/**
 * Weights of a robust fit, round after round: output channels whose delta is wrong somewhere are weighed down by how far
 * they are off (graduated as Geman and McClure do), then left out.
 */
export class Reweighting {
  private readonly floor: number;
  private width = Infinity;

  /** @param error relative error of the gradients' numbers */
  constructor(error: number) {
    this.floor = ROUNDING * error;
  }

  /**
   * @param off how far each output channel is off
   * @param middle their median
   * @returns 1 for each channel that does not stand out, 0 for the others
   */
  kept(off: Float64Array, middle: number): Float64Array {
    const limit = OUTLYING * Math.max(middle, this.floor);
    return off.map((own) => Number(own <= limit));
  }

  /** Of each output channel, for the next round. */
  next(off: Float64Array, middle: number): Float64Array {
    const isFirst = this.width === Infinity;
    const width = Math.max(3 * this.floor, Math.min(this.width / NARROWING, isFirst ? middle : 1.5 * middle));
    this.width = width;
    return off.map((own) => width / Math.hypot(own, width));
  }
}

/**
 * Whether enough equations would contradict an output channel if its delta was wrong: otherwise that is fitted, and nothing
 * is left to see. Each adds one less its leverage (Hoaglin and Welsch, The American Statistician 1978).
 *
 * @param checks sum over the channel's equations, for each input channel
 * @param most what they would come to without any leverage: their number
 * @param enough that suffices
 */
export function isChecked(checks: number, most: number, enough: number): boolean {
  return most > 0 && checks >= Math.min(enough, most / 4);
}
