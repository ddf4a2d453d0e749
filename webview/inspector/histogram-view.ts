import { scaleLinear } from 'd3-scale';
import { type TemplateResult, html, nothing, svg } from 'lit';
import type { Histogram } from '../../src/protocol/inspection.js';
import { counted } from '../../src/words/count-words.js';
import { axisTitles } from '../views/axes.js';
import { formatNumber } from './rows.js';

/** How often which values occur in a tensor. */

const FRAME = { width: 640, height: 260, margin: { left: 66, right: 8, top: 10, bottom: 44 } };
const RIGHT = FRAME.width - FRAME.margin.right;
const FLOOR = FRAME.height - FRAME.margin.bottom;

export function histogramView({ low, high, counts, notFinite }: Histogram): TemplateResult {
  const { left, top } = FRAME.margin;
  const most = Math.max(...counts, 1);
  // Weights and gradients have a peak at zero that hides everything else on a linear scale.
  const y = scaleLinear([0, Math.log1p(most)], [FLOOR, top]);
  const at = (count: number): number => y(Math.log1p(count));
  // Where all values are one, they are the middle.
  const x = scaleLinear(high > low ? [low, high] : [low - 1, high + 1], [left, RIGHT]);
  const bar = (RIGHT - left) / counts.length;
  const width = (high - low) / counts.length;
  const total = counts.reduce((sum, count) => sum + count, 0);
  return html`<figure class="histogram">
    <svg
      viewBox="0 0 ${FRAME.width} ${FRAME.height}"
      role="img"
      aria-label="Histogram of ${counted(total, 'element')} from ${formatNumber(low)} to ${formatNumber(high)}, counts on a logarithmic scale"
    >
      ${decades(most).map(
        (count) => svg`<line class="grid" x1=${left} x2=${RIGHT} y1=${at(count)} y2=${at(count)}></line>
          <text x=${left - 6} y=${at(count) + 4} text-anchor="end">${count}</text>`,
      )}
      ${counts.map(
        (count, bin) =>
          svg`<rect class="bin" x=${left + bin * bar} y=${at(count)} width=${Math.max(bar - 1, 1)} height=${FLOOR - at(count)}>
          <title>${counted(count, 'element')} from ${formatNumber(low + bin * width)} to ${formatNumber(low + (bin + 1) * width)}</title></rect>`,
      )}
      ${low < 0 && high > 0 ? svg`<line class="zero" x1=${x(0)} x2=${x(0)} y1=${top} y2=${FLOOR}></line>` : nothing}
      <line class="axis" x1=${left} x2=${RIGHT} y1=${FLOOR} y2=${FLOOR}></line>
      ${x.ticks(6).map(
        (value) => svg`<line class="axis" x1=${x(value)} x2=${x(value)} y1=${FLOOR} y2=${FLOOR + 4}></line>
          <text x=${x(value)} y=${FLOOR + 17} text-anchor=${x(value) > RIGHT - 16 ? 'end' : 'middle'}>${formatNumber(value)}</text>`,
      )}
      ${axisTitles(FRAME, 'value of the element', 'elements, logarithmic')}
    </svg>
    <figcaption class="muted">
      ${counted(total, 'element')} from ${formatNumber(low)} to
      ${formatNumber(high)}${notFinite > 0 ? `; ${notFinite} not finite` : ''}
    </figcaption>
  </figure>`;
}

/** Powers of ten up to the highest count, in steps that leave no more than eight. */
function decades(most: number): number[] {
  const last = Math.floor(Math.log10(most));
  const step = Math.max(1, Math.ceil(last / 7));
  return Array.from({ length: Math.floor(last / step) + 1 }, (_, index) => 10 ** (index * step));
}
