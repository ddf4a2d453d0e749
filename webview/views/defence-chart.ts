import { scaleLinear, scaleLog, scalePoint } from 'd3-scale';
import { line } from 'd3-shape';
import { type TemplateResult, svg } from 'lit';
import type { DefenceCurve, DefencePoint, FollowedLeak, LeftOver } from '../../src/protocol/defence-report.js';
import { kneeInWords, letterOf, shareLeft } from '../../src/words/defence-words.js';
import { axisTitles, decadeName } from './axes.js';

/** What is left of each leak over the levels of one defence; dragging chooses a level. */

const WIDTH = 640;
const HEIGHT = 268;
const MARGIN = { left: 96, right: 20, top: 26, bottom: 74 };
const FRAME = { width: WIDTH, height: HEIGHT, margin: MARGIN };
/** Of curves and their letters (panel.css). */
export const COLOURS = 4;
const MOST_TICKS = 9;
/** Between marks that stand side by side. */
const DOT_STEP = 11;
/** Below the axis: levels at which no method gives a guess, which is neither nothing nor everything. */
const NO_GUESS_Y = HEIGHT - MARGIN.bottom + 16;
const TICKS_Y = HEIGHT - 32;

export interface ChartChoice {
  readonly curve: DefenceCurve;
  readonly leaks: readonly FollowedLeak[];
  /** The level that is looked at. */
  readonly level: number;
  readonly onLevel: (level: number) => void;
}

export function defenceChart({ curve, leaks, level, onLevel }: ChartChoice): TemplateResult {
  const x = placesOf(curve);
  const y = scaleLinear([0, 1], [HEIGHT - MARGIN.bottom, MARGIN.top]);
  const choose = (event: PointerEvent): void => {
    if (event.type === 'pointermove' && event.buttons === 0) {
      return;
    }
    const chart = event.currentTarget as SVGSVGElement;
    const box = chart.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * WIDTH;
    const nearest = nearestPoint(curve.points, (own) => Math.abs(x(own) - at));
    if (nearest) {
      onLevel(nearest.level);
    }
  };
  return svg`<svg
    class="chart defence-chart"
    viewBox=${`0 0 ${WIDTH} ${HEIGHT}`}
    role="img"
    aria-label=${`${curve.title}: ${leaks.map(({ title }, at) => `${title}, ${kneeInWords(curve, curve.knees[at])}`).join('; ')}`}
    @pointerdown=${choose}
    @pointermove=${choose}
  >
    ${[0, 0.5, 1].map(
      (share) =>
        svg`<line class="grid" x1=${MARGIN.left} x2=${WIDTH - MARGIN.right} y1=${y(share)} y2=${y(share)}></line>`,
    )}
    <text class="tick" x=${MARGIN.left - 8} y=${y(1) + 4} text-anchor="end">everything</text>
    <text class="tick" x=${MARGIN.left - 8} y=${y(0) + 4} text-anchor="end">nothing</text>
    ${hasKnees(curve) ? svg`<text class="tick" x=${MARGIN.left - 8} y=${MARGIN.top - 10} text-anchor="end">stopped</text>` : ''}
    ${hasLost(curve) ? svg`<text class="tick" x=${MARGIN.left - 8} y=${NO_GUESS_Y + 4} text-anchor="end">no guess</text>` : ''}
    ${ticksOf(curve).map(
      (own) => svg`<text class="tick" x=${x(own)} y=${TICKS_Y} text-anchor="middle">${tickName(curve, own)}</text>`,
    )}
    ${axisTitles(FRAME, curve.unit === '' ? 'choice' : curve.unit, 'left of the leak')}
    <line class="cursor" x1=${x(level)} x2=${x(level)} y1=${MARGIN.top} y2=${HEIGHT - MARGIN.bottom + 24}></line>
    ${leaks.map((leak, at) => leakCurve({ curve, leaks }, leak, at, x, y))} ${knees(curve, x)}
  </svg>`;
}

function leakCurve(
  { curve, leaks }: Pick<ChartChoice, 'curve' | 'leaks'>,
  leak: FollowedLeak,
  at: number,
  x: (level: number) => number,
  y: (share: number) => number,
): TemplateResult {
  // What has one place is drawn side by side.
  const aside = DOT_STEP * (at - (leaks.length - 1) / 2);
  const points = curve.points.flatMap(({ level, left }) => {
    const own = left.find((one) => one.leak === leak.id);
    return own ? [{ level, own }] : [];
  });
  const told = points.flatMap(({ level, own }): [number, number][] =>
    own.left === null ? [] : [[x(level), y(shareLeft(own.left, leak.measure))]],
  );
  const colour = `curve curve-${at % COLOURS}`;
  return svg`<g>
    ${curve.scale === 'names' ? '' : svg`<path class=${colour} d=${line()(told) ?? ''}></path>`}
    ${points.map(({ level, own }) => {
      const isAside = own.left === null || curve.scale === 'names';
      return dot(own, leak, x(level) + (isAside ? aside : 0), y, colour);
    })}
  </g>`;
}

/** Full while it leaks, open where it does not; a cross where there is no guess. */
function dot(
  { left, standing }: LeftOver,
  { measure }: FollowedLeak,
  x: number,
  y: (share: number) => number,
  colour: string,
): TemplateResult {
  return left === null
    ? svg`<path class=${`${colour} dot`} d=${`M ${x - 4} ${NO_GUESS_Y - 4} l 8 8 m 0 -8 l -8 8`}></path>`
    : svg`<circle class=${`${colour} dot dot-${standing}`} cx=${x} cy=${y(shareLeft(left, measure))} r="4"></circle>`;
}

/** Letters of the leaks above the level that stops them. */
function knees({ knees: own, points, scale }: DefenceCurve, x: (level: number) => number): TemplateResult[] {
  if (scale === 'names') {
    return [];
  }
  return points.flatMap(({ level }) => {
    const stopped = own.flatMap((knee, at) => (knee.level === level && knee.by === 'stopped' ? [letterOf(at)] : []));
    return stopped.length === 0
      ? []
      : [
          svg`<g class="knee"><line x1=${x(level)} x2=${x(level)} y1=${MARGIN.top - 6} y2=${HEIGHT - MARGIN.bottom}></line>
            <text x=${x(level)} y=${MARGIN.top - 10} text-anchor="middle">${stopped.join(' ')}</text></g>`,
        ];
  });
}

function hasKnees({ knees: own, scale }: DefenceCurve): boolean {
  return scale !== 'names' && own.some(({ by }) => by === 'stopped');
}

/** The point that is nearest by a distance of levels. */
export function nearestPoint(
  points: readonly DefencePoint[],
  distance: (level: number) => number,
): DefencePoint | undefined {
  return [...points].sort((one, other) => distance(one.level) - distance(other.level))[0];
}

/** Of the levels that were tried, the weakest on the left and the strongest on the right, whichever way values go. */
function placesOf({ scale, levels, points }: DefenceCurve): (level: number) => number {
  const range: [number, number] = [MARGIN.left + 12, WIDTH - MARGIN.right - 12];
  const values = levels.map(({ value }) => value);
  const ends: [number, number] = [values[points[0]?.level ?? 0] ?? 0, values[points.at(-1)?.level ?? 0] ?? 1];
  const isLog = scale === 'log' && values.every((value) => value > 0);
  if (scale === 'names' || ends[0] === ends[1] || (scale === 'log' && !isLog)) {
    const place = scalePoint(points.length === 1 ? points.map(({ level }) => level) : levels.keys(), range).padding(
      0.5,
    );
    return (level) => place(level) ?? range[0];
  }
  const place = isLog ? scaleLog(ends, range) : scaleLinear(ends, range);
  return (level) => place(values[level] ?? NaN);
}

function ticksOf({ points }: DefenceCurve): number[] {
  const [first = 0, last = -1] = [points[0]?.level, points.at(-1)?.level];
  const every = Math.ceil((last - first + 1) / MOST_TICKS);
  return Array.from({ length: last - first + 1 }, (_, at) => first + at).filter((_, at) => at % every === 0);
}

function tickName({ scale, levels }: DefenceCurve, level: number): string {
  const own = levels[level];
  return own === undefined
    ? ''
    : scale === 'names'
      ? own.name
      : scale === 'log'
        ? decadeName(own.value)
        : String(own.value);
}

function hasLost({ points }: DefenceCurve): boolean {
  return points.some(({ left }) => left.some((own) => own.left === null));
}
