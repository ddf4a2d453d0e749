import { clientLabels } from '../methods/client-labels/client-labels.js';
import { clientSamples } from '../methods/client-samples/client-samples.js';
import { embeddingRows } from '../methods/embedding-rows/embedding-rows.js';
import { featureMaps } from '../methods/feature-maps/feature-maps.js';
import { headBatch, headSingle, labelCounts } from '../methods/head/head-methods.js';
import { hiddenLayer } from '../methods/hidden-layer/hidden-layer.js';
import { imprintTrap } from '../methods/imprint-trap/imprint-trap.js';
import { input } from '../methods/input/input-method.js';
import { simulatedClient } from '../methods/simulated-client/simulated-client.js';
import { vitPatches } from '../methods/vit-patches/vit-patches.js';
import { texts } from '../methods/texts/texts.js';
import type { Method } from '../methods/method.js';

/** Every method, in the order in which they are tried and told. */
export const METHODS: readonly Method[] = [
  headSingle,
  headBatch,
  labelCounts,
  clientLabels,
  embeddingRows,
  imprintTrap,
  hiddenLayer,
  featureMaps,
  vitPatches,
  texts,
  clientSamples,
  simulatedClient,
  input,
];
