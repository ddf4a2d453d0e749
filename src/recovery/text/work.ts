import type { ProductKernel } from '../../graph/product-kernel.js';

/** A native product does so many multiplications while a plain loop does one. */
const NATIVE_SPEED = 4;

/** A bound on work by multiplications that are counted, so that it ends at the same place on every machine. */
export class Work {
  private done = 0;

  /**
   * @param most multiplications of plain loops
   * @param whole that this is a part of
   */
  constructor(
    readonly most: number,
    private readonly whole?: Work,
  ) {}

  get isSpent(): boolean {
    return this.done >= this.most;
  }

  add(multiplications: number): void {
    this.done += multiplications;
    this.whole?.add(multiplications);
  }

  /** A bound that is reached when so much of the whole is done. */
  upTo(share: number): Work {
    return new Work(share * this.most - this.done, this);
  }

  /** The same product, counted. */
  counting(product: ProductKernel): ProductKernel {
    return (a, b, rows, cols, inner) => {
      this.add((rows * cols * inner) / NATIVE_SPEED);
      return product(a, b, rows, cols, inner);
    };
  }
}
