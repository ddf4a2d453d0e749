import { scaleLinear, scaleLog } from 'd3-scale';
import { line } from 'd3-shape';
import { type TemplateResult, html, svg } from 'lit';
import { short } from '../../src/words/report-words.js';
import { counted } from '../../src/words/count-words.js';
import { axisTitles, decadeName, decadesOf } from './axes.js';

/** Curves over a linear x and a logarithmic y, such as the loss of gradient matching. */

export interface Curve {
  readonly iteration: readonly number[];
  readonly loss: readonly number[];
}

const FRAME = { width: 640, height: 210, margin: { left: 66, right: 12, top: 10, bottom: 46 } };
const COLOURS = 4;

/** Lowest loss over the iterations, one line per restart. */
export function lossCurve(curves: readonly Curve[]): TemplateResult {
  const last = Math.max(1, ...curves.flatMap(({ iteration }) => iteration));
  return lineChart(
    curves.map(({ iteration, loss }, restart) => ({ name: `restart ${restart + 1}`, x: iteration, y: loss })),
    { x: 'iteration', y: 'gradient misfit, lowest so far' },
    (best) => `Matching loss over ${last + 1} iterations, ${counted(curves.length, 'restart')}, lowest ${short(best)}`,
  );
}

/** A curve of positive numbers; x ascends from zero. */
export interface Line {
  readonly name: string;
  readonly x: readonly number[];
  readonly y: readonly number[];
}

/**
 * Lines over a linear x and a logarithmic y, with a legend where there are several.
 *
 * @param label what a reader who does not see it is told, from the lowest value
 */
export function lineChart(
  lines: readonly Line[],
  titles: { readonly x: string; readonly y: string },
  label: (lowest: number) => string,
): TemplateResult {
  const { width, height, margin } = FRAME;
  const points = lines.map(({ x: across, y: up }) =>
    across.flatMap((x, index): [number, number][] => {
      const y = up[index] ?? NaN;
      return y > 0 && Number.isFinite(y) ? [[x, y]] : [];
    }),
  );
  const all = points.flat();
  const last = Math.max(1, ...all.map(([x]) => x));
  const values = all.map(([, y]) => y);
  const x = scaleLinear([0, last], [margin.left, width - margin.right]);
  const y = scaleLog(
    [Math.min(...values, 1) || 1e-12, Math.max(...values, 1e-12)],
    [height - margin.bottom, margin.top],
  ).nice();
  const path = line(
    ([iteration]) => x(iteration),
    ([, loss]) => y(loss),
  );
  const chart = svg`<svg class="loss-curve" viewBox=${`0 0 ${width} ${height}`} role="img"
    aria-label=${label(Math.min(...values))}>
    ${decadesOf(y.ticks(4), 6).map(
      (
        value,
      ) => svg`<g class="tick"><line x1=${margin.left} x2=${width - margin.right} y1=${y(value)} y2=${y(value)}></line>
        <text x=${margin.left - 8} y=${y(value) + 4} text-anchor="end">${decadeName(value)}</text></g>`,
    )}
    ${x.ticks(6).map((value) => svg`<text class="tick" x=${x(value)} y=${height - 28} text-anchor="middle">${value}</text>`)}
    ${axisTitles(FRAME, titles.x, titles.y)}
    ${points.map((own, index) => svg`<path class=${`curve curve-${index % COLOURS}`} d=${path(own) ?? ''}></path>`)}
  </svg>`;
  return html`${chart}${lines.length > 1 ? legend(lines) : ''}`;
}

function legend(lines: readonly Line[]): TemplateResult {
  return html`<ul class="legend">
    ${lines.map(
      ({ name }, at) =>
        html`<li>
          <svg viewBox="0 0 24 8" aria-hidden="true">
            ${svg`<line class=${`curve curve-${at % COLOURS}`} x1="0" x2="24" y1="4" y2="4"></line>`}</svg
          >${name}
        </li>`,
    )}
  </ul>`;
}
