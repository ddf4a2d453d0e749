import type { AttackSettings } from './attack-client.js';

/** As measured by `test/bench/updates/client-images.ts`. */
export const SETTINGS: AttackSettings = {
  wholeSteps: 0,
  iterations: 4000,
  learningRate: 0.05,
  totalVariation: 0.1,
  seed: 0,
};
