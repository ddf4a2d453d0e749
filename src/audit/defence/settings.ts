import type { Level } from '../../defences/defence.js';
import { deviationOf } from '../../defences/gaussian-noise.js';
import { LEAST_NOISE, privacyStatement } from '../../defences/privacy/privacy-statement.js';
import type { DefenceSetting } from '../../protocol/defence-report.js';
import { DEFAULT_DELTA, type PrivacyRounds } from '../../protocol/defend-request.js';
import type { Undefended } from './undefended.js';

/** A level in the words of libraries, to copy, and what it promises by itself. */

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
  const samples = samplesClipped(undefended);
  const isGradient = update.kind !== 'difference';
  const perSample = samples === undefined ? undefined : digits(multiplierOf(deviation, samples, figures));
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

/**
 * The privacy statement of clipping and noise at a level, in sentences; empty for other defences, which promise nothing.
 *
 * The unit is a sample where the update's samples are known, as Opacus clips them one by one, and the whole update elsewhere.
 */
export function privacyOf(
  curve: string,
  level: Level,
  undefended: Undefended,
  asked: PrivacyRounds,
): readonly string[] {
  if (curve !== 'gaussian-noise') {
    return [];
  }
  const { figures } = undefended;
  const samples = samplesClipped(undefended);
  // As the settings say them, so that one is of the other.
  const noiseMultiplier = Number(digits(multiplierOf(deviationOf(level.value, figures), samples ?? 1, figures)));
  if (noiseMultiplier < LEAST_NOISE) {
    return [
      `Noise of ${digits(noiseMultiplier)} clip norms promises nothing against other attacks: its epsilon is beyond what has a meaning.`,
    ];
  }
  const { delta = DEFAULT_DELTA, rounds = 1, samplingRate = 1 } = asked;
  return privacyStatement({
    noiseMultiplier,
    clipNorm: Number(digits(figures.norm)),
    delta,
    rounds,
    samplingRate,
    unit: samples === undefined ? 'client update' : 'sample',
    adjacency: 'add or remove one',
  }).sentences;
}

/** Noise on the sum of samples, whose mean this deviation is of, against the clip norm: the update's own. */
function multiplierOf(deviation: number, samples: number, { norm }: Undefended['figures']): number {
  return (deviation * samples) / norm;
}

/** Samples of a gradient that a library would clip one by one; undefined where their number is not known, or it is no gradient. */
function samplesClipped(undefended: Undefended): number | undefined {
  return undefended.update.kind === 'difference' ? undefined : samplesOf(undefended);
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
