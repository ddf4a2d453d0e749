import type { Level } from '../../defences/defence.js';
import { deviationOf } from '../../defences/gaussian-noise.js';
import type { DefenceSetting } from '../../protocol/defence-report.js';
import type { Undefended } from './undefended.js';

/** A level in the words of libraries, to copy. A privacy statement with epsilon is made elsewhere, of the same deviation and clip norm. */

/** @param curve id of the defence */
export function settingsFor(curve: string, level: Level, undefended: Undefended): DefenceSetting[] {
  if (curve === 'gaussian-noise') {
    return noiseSettings(level, undefended);
  }
  return curve === 'clipping' ? clipSettings(level, undefended) : [];
}

function noiseSettings({ value }: Level, undefended: Undefended): DefenceSetting[] {
  const { figures, update } = undefended;
  const clip = digits(figures.norm);
  const deviation = deviationOf(value, figures);
  const samples = samplesOf(undefended);
  const isGradient = update.kind !== 'difference';
  const perSample = samples === undefined || !isGradient ? undefined : digits((deviation * samples) / figures.norm);
  const several =
    samples === 1
      ? 'The clip norm is that of this update, which is of one sample.'
      : `Opacus and TensorFlow Privacy clip each of the ${samples ?? 0} samples and divide the noisy sum by their number, so this noise on the mean takes ${samples ?? 0} times the multiplier; samples whose own gradient is longer than the clip norm are changed further.`;
  const ofSamples: DefenceSetting[] =
    perSample === undefined
      ? []
      : [
          {
            library: 'Opacus',
            note: several,
            code: [
              'from opacus import PrivacyEngine',
              '',
              'model, optimizer, loader = PrivacyEngine().make_private(',
              '    module=model,',
              '    optimizer=optimizer,',
              '    data_loader=loader,',
              `    noise_multiplier=${perSample},`,
              `    max_grad_norm=${clip},`,
              ')',
            ].join('\n'),
          },
          {
            library: 'TensorFlow Privacy',
            note: `${several} num_microbatches is the batch size, and the loss is one number per sample (reduction none).`,
            code: [
              'import tensorflow_privacy',
              '',
              'optimizer = tensorflow_privacy.DPKerasSGDOptimizer(',
              `    l2_norm_clip=${clip},`,
              `    noise_multiplier=${perSample},`,
              `    num_microbatches=${samples ?? 1},`,
              '    learning_rate=learning_rate,',
              ')',
            ].join('\n'),
          },
        ];
  return [...ofSamples, flowerNoise(digits(deviation), clip, isGradient)];
}

/** Flower adds noise of sensitivity sqrt(2 ln(1.25 / delta)) / epsilon, so the deviation decides epsilon. */
function flowerNoise(deviation: string, clip: string, isGradient: boolean): DefenceSetting {
  const unit = isGradient
    ? ' Flower clips and noises the change of the weights: multiply both numbers by the learning rate if what is sent is one step of this gradient.'
    : '';
  return {
    library: 'Flower',
    note: `A client's mod that clips the whole update and adds noise of this standard deviation to each number. Its epsilon only sets that noise: above 1 the formula behind it proves nothing.${unit}`,
    code: [
      'from math import log, sqrt',
      'from flwr.clientapp.mod import LocalDpMod',
      '',
      `clip, deviation, delta = ${clip}, ${deviation}, 1e-5`,
      'mod = LocalDpMod(',
      '    clipping_norm=clip,',
      '    sensitivity=clip,',
      '    epsilon=clip * sqrt(2 * log(1.25 / delta)) / deviation,',
      '    delta=delta,',
      ')',
    ].join('\n'),
  };
}

function clipSettings({ value }: Level, { figures }: Undefended): DefenceSetting[] {
  return [
    {
      library: 'Flower',
      note: "The client's mod clips to the norm that the server's strategy gives; without noise that only makes an update shorter.",
      code: [
        'from flwr.clientapp.mod import fixedclipping_mod',
        'from flwr.serverapp.strategy import DifferentialPrivacyClientSideFixedClipping',
        '',
        'strategy = DifferentialPrivacyClientSideFixedClipping(',
        `    strategy, noise_multiplier=noise_multiplier, clipping_norm=${digits(value * figures.norm)},`,
        '    num_sampled_clients=num_sampled_clients,',
        ')',
      ].join('\n'),
    },
  ];
}

/** Samples of the update, where it is of one or they were told apart: what clips samples one by one has to know. */
function samplesOf({ recovered }: Undefended): number | undefined {
  if (recovered?.single) {
    return recovered.single.isOneTold ? 1 : undefined;
  }
  return recovered?.complete === true
    ? recovered.several.reduce((sum, { multiplicity }) => sum + multiplicity, 0)
    : undefined;
}

function digits(value: number): string {
  return String(Number(value.toPrecision(3)));
}
