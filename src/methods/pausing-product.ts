import { doubleProduct } from '../engine/double-product.js';
import type { ProductKernel } from '../graph/product-kernel.js';
import { plainProduct } from '../recovery/cholesky.js';
import type { Context } from './method.js';

/** The fastest float64 product there is here. */
export function fastestProduct(): Promise<ProductKernel> {
  return doubleProduct().catch(() => plainProduct);
}

/** The same; before each, other work runs and the user's wish to stop is heard. */
export async function pausingProduct(context: Context): Promise<ProductKernel> {
  const native = await fastestProduct();
  return async (...args) => {
    await context.pause();
    return native(...args);
  };
}
