import { scaleLinear, scaleLog } from 'd3-scale';
import { line } from 'd3-shape';
import { type TemplateResult, svg } from 'lit';
import { short } from '../../src/words/report-words.js';

/** Lowest matching loss over the iterations, one line per restart. */

export interface Curve {
  readonly iteration: readonly number[];
  readonly loss: readonly number[];
}

const WIDTH = 640;
const HEIGHT = 180;
const MARGIN = { left: 58, right: 12, top: 10, bottom: 30 };

export function lossCurve(curves: readonly Curve[]): TemplateResult {
  const last = Math.max(1, ...curves.flatMap(({ iteration }) => iteration));
  return lineChart(
    curves.map(({ iteration, loss }) => ({ x: iteration, y: loss })),
    (best) => `Matching loss over ${last + 1} iterations, ${curves.length} restarts, lowest ${short(best)}`,
  );
}

/** A curve of positive numbers; x ascends from zero. */
export interface Line {
  readonly x: readonly number[];
  readonly y: readonly number[];
}

/**
 * Lines over a linear x and a logarithmic y.
 *
 * @param label what a reader who does not see it is told, from the lowest value
 */
export function lineChart(lines: readonly Line[], label: (lowest: number) => string): TemplateResult {
  const points = lines.map(({ x: across, y: up }) =>
    across.flatMap((x, index): [number, number][] => {
      const y = up[index] ?? NaN;
      return y > 0 && Number.isFinite(y) ? [[x, y]] : [];
    }),
  );
  const all = points.flat();
  const last = Math.max(1, ...all.map(([x]) => x));
  const values = all.map(([, y]) => y);
  const x = scaleLinear([0, last], [MARGIN.left, WIDTH - MARGIN.right]);
  const y = scaleLog(
    [Math.min(...values, 1) || 1e-12, Math.max(...values, 1e-12)],
    [HEIGHT - MARGIN.bottom, MARGIN.top],
  ).nice();
  const path = line(
    ([iteration]) => x(iteration),
    ([, loss]) => y(loss),
  );
  const best = Math.min(...values);
  const ticks = y
    .ticks(4)
    .filter((value) => Number.isInteger(Math.log10(value) + 1e-9) || Math.abs(Math.log10(value) % 1) < 1e-6);
  return svg`<svg class="loss-curve" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img"
    aria-label=${label(best)}>
    ${ticks.map(
      (
        value,
      ) => svg`<g class="tick"><line x1=${MARGIN.left} x2=${WIDTH - MARGIN.right} y1=${y(value)} y2=${y(value)}></line>
        <text x=${MARGIN.left - 8} y=${y(value) + 4} text-anchor="end">${value.toExponential(0)}</text></g>`,
    )}
    ${x.ticks(6).map((value) => svg`<text class="tick" x=${x(value)} y=${HEIGHT - 10} text-anchor="middle">${value}</text>`)}
    ${points.map((own, index) => svg`<path class=${`curve curve-${index % 4}`} d=${path(own) ?? ''}></path>`)}
  </svg>`;
}
