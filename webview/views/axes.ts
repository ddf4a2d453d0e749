import { type TemplateResult, svg } from 'lit';

/** What all charts have in common: a frame, titles of the axes, names of ticks. */

export interface Frame {
  readonly width: number;
  readonly height: number;
  readonly margin: { readonly left: number; readonly right: number; readonly top: number; readonly bottom: number };
}

/** Titles below and to the left. */
export function axisTitles({ width, height, margin }: Frame, across: string, up: string): TemplateResult {
  const middle = (margin.top + height - margin.bottom) / 2;
  return svg`<text class="axis-title" x=${(margin.left + width - margin.right) / 2} y=${height - 6} text-anchor="middle">${across}</text>
    <text class="axis-title" transform=${`translate(12 ${middle}) rotate(-90)`} text-anchor="middle">${up}</text>`;
}

/** A power of ten, or what lies between two. */
export function decadeName(value: number): string {
  return value >= 0.01 && value < 1e4 ? String(Number(value.toPrecision(1))) : value.toExponential(0);
}

/** At most so many of a logarithmic axis' ticks, powers of ten where there are two or more. */
export function decadesOf(ticks: readonly number[], most: number): number[] {
  const decades = ticks.filter((tick) => Math.abs(Math.log10(tick) - Math.round(Math.log10(tick))) < 1e-6);
  const kept = decades.length >= 2 ? decades : ticks;
  const every = Math.max(1, Math.ceil(kept.length / most));
  return kept.filter((_, at) => at % every === 0);
}
