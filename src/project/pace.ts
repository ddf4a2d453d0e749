/** Work that costs nothing worth saving, in milliseconds. */
const CHEAP = 20;
/** Milliseconds of rest for each of work. */
const REST = 9;

/**
 * Does over and over what costs more the longer a list is, such as writing all of it: in a tenth of the time at most. What is
 * left out in between is made up for by the next act, so the last has to be done apart.
 */
export class Pace {
  private free = 0;

  /** @param now the time in milliseconds, from any beginning */
  constructor(private readonly now: () => number = () => performance.now()) {}

  act(work: () => void): void {
    const start = this.now();
    if (start < this.free) {
      return;
    }
    work();
    const end = this.now();
    this.free = end - start < CHEAP ? end : end + REST * (end - start);
  }
}
