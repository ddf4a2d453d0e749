import { NETWORK_INPUT, nodeName } from '../../network/layer-graph.js';
import type { Recipe } from '../../network/layers/recipe.js';
import type { Detail } from '../../protocol/detail.js';
import { type ExactMap, type WalkStep, sampleOf } from '../../recovery/walk/walk-state.js';
import { mapPicture } from '../map-picture.js';
import type { NamedArray } from '../method.js';
import type { MapsRun } from './maps-attack.js';

/** The feature maps found on the way, as people see them. */

/** Deepest maps that are drawn for each sample. */
const MOST_PICTURES = 3;
const MOST_SAMPLES = 4;

/** @returns details for the report and the arrays that its pictures are in */
export function describeMaps(run: MapsRun, recipe: Recipe): { details: Detail[]; arrays: NamedArray[] } {
  const { walk } = run;
  if (walk.steps.length === 0) {
    return { details: [], arrays: [] };
  }
  const nameOf = (node: number): string => nodeName(recipe, node);
  const arrays: NamedArray[] = [];
  const pictures: Detail[] = [];
  const drawable = walk.maps
    .filter(({ node, shape }) => node !== NETWORK_INPUT && shape.length === 3 && shape[1]! > 1)
    .slice(0, MOST_PICTURES);
  for (const map of drawable) {
    for (let sample = 0; sample < Math.min(walk.batch, MOST_SAMPLES); sample++) {
      const which = walk.batch > 1 ? `, sample ${sample + 1}` : '';
      const picture = mapPicture(
        `map-${sample}-layer-${map.node}`,
        `Output of ${nameOf(map.node)}${which}${inPart(map, sample, walk.batch)}`,
        sampleOf(map, sample, walk.batch),
        map.shape,
      );
      arrays.push(picture.array);
      pictures.push(picture.detail);
    }
  }
  return { details: [...aloneOf(run), tableOf(walk.steps, nameOf), ...pictures], arrays };
}

/** What a picture cannot show: entries that are not known are drawn as those that are zero. */
function inPart({ unknown, values }: ExactMap, sample: number, batch: number): string {
  const size = values.length / batch;
  const open = unknown?.subarray(sample * size, (sample + 1) * size).reduce((sum, own) => sum + own, 0) ?? 0;
  return open === 0 ? '' : `, ${Math.max(1, Math.round((100 * open) / size))} % of it not known and drawn as zero`;
}

/** Which layer's gradient would have been enough, and how many samples would hide its input. */
function aloneOf({ walk: { steps, batch } }: MapsRun): Detail[] {
  const [first] = steps.flatMap(({ layers, alone }) => (alone ? [{ layer: layers[0]!, ...alone }] : []));
  if (!first) {
    return [];
  }
  const { layer, channels, positions } = first;
  const most = Math.ceil(channels / positions) - 1;
  return [
    {
      type: 'text',
      text: `The gradient of \`${layer}\` alone gives its input away, without labels, loss or weights: its ${channels} output channels are more than its ${positions} positions times the ${batch === 1 ? 'one sample' : `${batch} samples`}. Sums over more than ${most} samples close this way, and so does withholding that gradient; other ways may stay open.`,
    },
  ];
}

function tableOf(steps: readonly WalkStep[], nameOf: (node: number) => string): Detail {
  return {
    type: 'table',
    title: 'Feature maps computed from the gradients of single layers',
    columns: [
      { title: 'Values at' },
      { title: 'From the gradient of' },
      {
        title: 'By',
        hint: 'equations: deltas above are known, so the values solve linear equations; row space: that gradient alone; signs: there are too few equations, or they repeat each other, but values behind a ReLU are never negative and many are zero, which leaves a single solution, and what a shortcut tells is known; maxima: which entry of each window of the max pooling above was the largest was found with the values',
      },
      { title: 'Unknowns', hint: 'for each channel; for row spaces, in all', isNumber: true },
      { title: 'Equations', isNumber: true },
      {
        title: 'Left',
        hint: 'share of the gradient, or for row spaces of the bias gradient, that the values leave unexplained',
        isNumber: true,
      },
      { title: 'Repaired', hint: 'entries of ReLU masks that the layer below showed to be wrong', isNumber: true },
    ],
    rows: steps.map(({ node, layers, by, unknowns, equations, residual, repaired }) => ({
      cells: [
        nameOf(node),
        layers.join(', '),
        by,
        String(unknowns),
        String(equations),
        residual.toExponential(1),
        String(repaired),
      ],
    })),
  };
}
