/**
 * The error function to float64 precision: its Maclaurin series near zero, the continued fraction of its complement
 * elsewhere (Abramowitz and Stegun 7.1.6 and 7.1.14).
 */
export function erf(x: number): number {
  const size = Math.abs(x);
  if (size < 2.5) {
    // 2/sqrt(pi) e^{-x^2} sum 2^n x^{2n+1} / (2n+1)!!, all terms positive
    let term = x;
    let sum = x;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= (2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
  }
  if (size > 6) {
    return Math.sign(x);
  }
  let fraction = 0;
  for (let k = 60; k >= 1; k--) {
    fraction = k / 2 / (size + fraction);
  }
  return Math.sign(x) * (1 - Math.exp(-x * x) / (Math.sqrt(Math.PI) * (size + fraction)));
}
