/**
 * A draw of N(0, deviation^2) from uniform ones (Box and Muller 1958).
 *
 * @param random uniform in [0, 1)
 * @param deviation standard deviation, in the unit that the draw shall have
 */
export function gaussian(random: () => number, deviation = 1): number {
  return deviation * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
