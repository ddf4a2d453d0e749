import { scaleLinear, scaleLog } from 'd3-scale';
import { line } from 'd3-shape';
import { type TemplateResult, html, svg } from 'lit';
import type { LandscapeReport } from '../../src/protocol/report.js';
import { button, choice } from '../ui/toolkit.js';
import { axisTitles, decadeName, decadesOf } from './axes.js';
import { short } from '../../src/words/report-words.js';

/** The loss over lambda with the solution marked: the search as a picture. */

const TITLES: Record<Curve, string> = {
  residual: 'misfit ρ, 0 is perfect',
  paperLoss: 'loss of the paper, 0 is perfect',
};

export type Curve = 'residual' | 'paperLoss';

export interface ChartView {
  curve: Curve;
  /** Visible lambda range; undefined shows everything. */
  range: [number, number] | undefined;
}

const WIDTH = 760;
const HEIGHT = 280;
const MARGIN = { left: 76, right: 16, top: 18, bottom: 42 };
const FRAME = { width: WIDTH, height: HEIGHT, margin: MARGIN };
const LOWEST = 1e-18;

export function landscapeChart(
  landscape: LandscapeReport,
  /** What the marked point is: the solution, or merely the lowest. */
  label: string,
  view: ChartView,
  onView: (view: ChartView) => void,
  onSave: () => void,
): TemplateResult {
  const full = fullRange(landscape);
  const range = view.range ?? full;
  const zoomTo = (next: [number, number] | undefined): void => {
    onView({ ...view, range: next });
  };
  const zoom = (factor: number, centre = (range[0] + range[1]) / 2): void => {
    zoomTo([centre + (range[0] - centre) * factor, centre + (range[1] - centre) * factor]);
  };
  const pan = (share: number): void => {
    const step = (range[1] - range[0]) * share;
    zoomTo([range[0] + step, range[1] + step]);
  };
  const onKey = (event: KeyboardEvent): void => {
    const actions: Record<string, () => void> = {
      '+': () => {
        zoom(0.6);
      },
      '=': () => {
        zoom(0.6);
      },
      '-': () => {
        zoom(1 / 0.6);
      },
      ArrowLeft: () => {
        pan(-0.1);
      },
      ArrowRight: () => {
        pan(0.1);
      },
      '0': () => {
        zoomTo(undefined);
      },
    };
    const action = actions[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  };
  const onWheel = (event: WheelEvent): void => {
    // Plain scrolling must move the page, as in the editor's own charts and maps.
    if (!event.ctrlKey && !event.metaKey) {
      return;
    }
    event.preventDefault();
    const box = (event.currentTarget as SVGElement).getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width) * WIDTH;
    const at = range[0] + ((share - MARGIN.left) / (WIDTH - MARGIN.left - MARGIN.right)) * (range[1] - range[0]);
    zoom(event.deltaY > 0 ? 1 / 0.8 : 0.8, at);
  };
  return html`
    <div class="chart-controls">
      ${choice<Curve>({
        label: 'Curve',
        value: view.curve,
        choices: [
          { value: 'residual', label: 'Misfit ρ' },
          { value: 'paperLoss', label: "Paper's loss" },
        ],
        onChange: (curve) => {
          onView({ ...view, curve });
        },
      })}
      <span class="spacer"></span>
      ${button({
        label: '+',
        title: '+ zooms in',
        onClick: () => {
          zoom(0.5);
        },
      })}
      ${button({
        label: '−',
        title: '− zooms out',
        onClick: () => {
          zoom(2);
        },
      })}
      ${button({
        label: 'Zoom to solution',
        onClick: () => {
          zoomTo(nearSolution(landscape));
        },
      })}
      ${button({
        label: 'Show all',
        title: 'Show all of the range',
        onClick: () => {
          zoomTo(undefined);
        },
      })}
      ${button({ label: 'Save plot', title: 'Save plot (PNG): the loss landscape as it is drawn', onClick: onSave })}
    </div>
    <div class="chart-scroll">
      <svg
        class="chart landscape"
        viewBox="0 0 ${WIDTH} ${HEIGHT}"
        role="img"
        tabindex="0"
        aria-label=${`${TITLES[view.curve]}, over lambda; the ${label} is at ${short(landscape.solution)}. Plus and minus zoom, arrows move, 0 shows all.`}
        @keydown=${onKey}
        @wheel=${onWheel}
      >
        ${chartBody(landscape, view.curve, range, label)}
      </svg>
    </div>
    <p class="muted">
      ${readingOf(landscape, view.curve, label)} The wheel zooms with Ctrl held down, the keys + − ← → 0 when the chart
      has the focus.
    </p>
  `;
}

/** What the curve says of the point that is marked. */
function readingOf(landscape: LandscapeReport, curve: Curve, label: string): string {
  const values = landscape[curve];
  const lowest = values.reduce((best, value, at) => (value < (values[best] ?? Infinity) ? at : best), 0);
  const isLowest = landscape.lambda[lowest] === landscape.solution;
  const what = 'Each λ is a guess at the feature, and the curve is how badly that guess explains the gradient.';
  return isLowest
    ? `${what} It is lowest at the ${label}; a second dip as deep would make it ambiguous.`
    : `${what} This curve alone is lowest at λ = ${short(landscape.lambda[lowest] ?? 0)}; the ${label} is the most probable when the noise is taken into account.`;
}

function fullRange({ lambda }: LandscapeReport): [number, number] {
  return [lambda[0] ?? -1, lambda[lambda.length - 1] ?? 1];
}

function nearSolution({ solution }: LandscapeReport): [number, number] {
  const reach = Math.abs(solution) * 0.3;
  return [solution - reach, solution + reach];
}

function chartBody(landscape: LandscapeReport, curve: Curve, range: [number, number], label: string): TemplateResult {
  const values = landscape[curve].map((value) => Math.max(value, LOWEST));
  const points = landscape.lambda.map((lambda, index): [number, number] => [lambda, values[index] ?? LOWEST]);
  const visible = points.filter(([lambda]) => lambda >= range[0] && lambda <= range[1]).map(([, value]) => value);
  const low = Math.min(...visible, 1);
  const high = Math.max(...visible, low * 10);
  const x = scaleLinear(range, [MARGIN.left, WIDTH - MARGIN.right]);
  const y = scaleLog([low / 3, high * 3], [HEIGHT - MARGIN.bottom, MARGIN.top]);
  const path = line(
    ([lambda]) => x(lambda),
    ([, value]) => y(value),
  );
  const [negative, positive] = [points.filter(([lambda]) => lambda < 0), points.filter(([lambda]) => lambda > 0)];
  const solutionX = x(landscape.solution);
  const inside = landscape.solution >= range[0] && landscape.solution <= range[1];
  const solutionValue = values[landscape.lambda.indexOf(landscape.solution)] ?? low;
  return svg`
    <clipPath id="plot"><rect x=${MARGIN.left} y=${MARGIN.top} width=${WIDTH - MARGIN.left - MARGIN.right} height=${HEIGHT - MARGIN.top - MARGIN.bottom}></rect></clipPath>
    ${x.ticks(7).map(
      (tick) => svg`
        <line class="grid" x1=${x(tick)} x2=${x(tick)} y1=${MARGIN.top} y2=${HEIGHT - MARGIN.bottom}></line>
        <text class="tick" x=${x(tick)} y=${HEIGHT - MARGIN.bottom + 16} text-anchor="middle">${short(tick)}</text>`,
    )}
    ${decadesOf(y.ticks(5), 6).map(
      (tick) => svg`
        <line class="grid" x1=${MARGIN.left} x2=${WIDTH - MARGIN.right} y1=${y(tick)} y2=${y(tick)}></line>
        <text class="tick" x=${MARGIN.left - 6} y=${y(tick) + 4} text-anchor="end">${decadeName(tick)}</text>`,
    )}
    ${axisTitles(FRAME, 'λ, where feature = λ x gradient row', TITLES[curve])}
    <g clip-path="url(#plot)">
      <path class="curve" d=${path(negative) ?? ''}></path>
      <path class="curve" d=${path(positive) ?? ''}></path>
      ${
        inside
          ? svg`<line class="solution" x1=${solutionX} x2=${solutionX} y1=${MARGIN.top} y2=${HEIGHT - MARGIN.bottom}></line>
          <circle class="solution-dot" cx=${solutionX} cy=${y(solutionValue)} r="5"></circle>`
          : ''
      }
    </g>
    ${
      inside
        ? svg`<text class="solution-label" x=${Math.min(Math.max(solutionX, MARGIN.left + 60), WIDTH - MARGIN.right - 60)} y=${MARGIN.top - 5} text-anchor="middle">${label} λ = ${short(landscape.solution)}</text>`
        : ''
    }
  `;
}
