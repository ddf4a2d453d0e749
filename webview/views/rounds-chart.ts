import { type TemplateResult, html, svg } from 'lit';
import { scaleLinear } from 'd3-scale';
import { line } from 'd3-shape';
import type { ProjectSummary } from '../../src/protocol/project-report.js';

/** Share of gradients that leak over rounds: one line per run, told apart by dashes and by its name. */

const WIDTH = 640;
const HEIGHT = 150;
const LEFT = 44;
const RIGHT = 110;
/** Between labels of runs. */
const LINE = 13;
const DASHES = ['', '6 3', '2 3', '8 3 2 3'];
const MOST_RUNS = 8;
/** Of a long run, rounds are put together to so many dots at most. */
const MOST_DOTS = 60;
/** Dots that are read out one by one. */
const MOST_READ = 12;

interface Dot {
  readonly from: number;
  readonly to: number;
  readonly leaking: number;
  readonly gradients: number;
}

export function roundsChart(runs: ProjectSummary['overRounds']): TemplateResult {
  const long = runs.filter(({ rounds }) => rounds.length > 1);
  const shown = long.slice(0, MOST_RUNS).map(({ run, rounds }) => ({ run, dots: dotsOf(rounds) }));
  const numbers = shown.flatMap(({ dots }) => dots.flatMap(({ from, to }) => [from, to]));
  const [first, last] = [Math.min(...numbers), Math.max(...numbers)];
  const x = scaleLinear([first, last], [LEFT, WIDTH - RIGHT]);
  const y = scaleLinear([0, 1], [HEIGHT, 8]);
  const at = (dot: Dot): [number, number] => [x((dot.from + dot.to) / 2), y(dot.leaking / dot.gradients)];
  const path = line<Dot>(
    (dot) => at(dot)[0],
    (dot) => at(dot)[1],
  );
  const labels = apart(shown.map(({ dots }) => dots.slice(-1).map(at)[0]?.[1] ?? 0));
  return html`<section aria-labelledby="rounds">
    <h2 id="rounds">Share of gradients that leak, over rounds</h2>
    ${long.length > MOST_RUNS ? html`<p class="muted">The first ${MOST_RUNS} of ${long.length} runs.</p>` : ''}
    <svg
      class="chart rounds"
      viewBox="0 0 ${WIDTH} ${HEIGHT + 28}"
      role="img"
      aria-label=${shown.map(({ run, dots }) => `${run}: ${inWords(dots)}`).join('; ')}
    >
      ${[0, 0.5, 1].map(
        (share) => svg`<g><line class="grid" x1=${LEFT} x2=${WIDTH - RIGHT} y1=${y(share)} y2=${y(share)}></line>
          <text x=${LEFT - 6} y=${y(share) + 4} text-anchor="end">${100 * share} %</text></g>`,
      )}
      ${shown.map(({ run, dots }, index) => {
        const end = dots.at(-1);
        return svg`<g><path class="run" d=${path(dots) ?? ''} stroke-dasharray=${DASHES[index % DASHES.length] ?? ''}></path>
          ${dots.map((dot) => svg`<circle class="run-dot" cx=${at(dot)[0]} cy=${at(dot)[1]} r="2.5"><title>${run}, ${dotInWords(dot)} gradients leak</title></circle>`)}
          ${end ? svg`<text x=${at(end)[0] + 6} y=${(labels[index] ?? 0) + 4}>${run.split('/').at(-1) ?? run}</text>` : ''}</g>`;
      })}
      <text x=${LEFT} y=${HEIGHT + 20}>round ${first}</text>
      <text x=${WIDTH - RIGHT} y=${HEIGHT + 20} text-anchor="end">round ${last}</text>
    </svg>
  </section>`;
}

/** Heights of labels, moved down as far as it takes that none covers another, and up again at the bottom. */
function apart(heights: readonly number[]): number[] {
  const moved = [...heights];
  const order = [...heights.keys()].sort((one, other) => (heights[one] ?? 0) - (heights[other] ?? 0));
  let free = -Infinity;
  order.forEach((label, rank) => {
    const lowest = HEIGHT - LINE * (order.length - 1 - rank);
    free = Math.min(Math.max(free, heights[label] ?? 0), lowest);
    moved[label] = free;
    free += LINE;
  });
  return moved;
}

function dotsOf(rounds: ProjectSummary['overRounds'][number]['rounds']): Dot[] {
  const size = Math.ceil(rounds.length / MOST_DOTS);
  return Array.from({ length: Math.ceil(rounds.length / size) }, (_, dot) => {
    const own = rounds.slice(dot * size, (dot + 1) * size);
    return {
      from: own[0]?.round ?? 0,
      to: own.at(-1)?.round ?? 0,
      leaking: own.reduce((sum, { leaking }) => sum + leaking, 0),
      gradients: own.reduce((sum, { gradients }) => sum + gradients, 0),
    };
  });
}

function inWords(dots: readonly Dot[]): string {
  const few = dots.length <= MOST_READ ? dots : [...dots.slice(0, 1), ...dots.slice(-1)];
  return few.map(dotInWords).join(dots.length <= MOST_READ ? ', ' : ', and at its end ');
}

function dotInWords({ from, to, leaking, gradients }: Dot): string {
  return `${from === to ? `round ${from}` : `rounds ${from} to ${to}`} ${leaking} of ${gradients}`;
}
