import { embeddingRows } from './embedding-rows/embedding-rows.js';
import { headBatch, headSingle, labelCounts } from './head/head-methods.js';
import { imprintTrap } from './imprint-trap/imprint-trap.js';
import { input } from './input/input-method.js';
import type { Method } from './method.js';

/** Every method, in the order in which they are tried and told. */
export const METHODS: readonly Method[] = [headSingle, headBatch, labelCounts, embeddingRows, imprintTrap, input];
