import { ATTACKS, PRESET_NAMES, type ReconstructionRequest } from '../protocol/audit-request.js';
import type { AuditSettings } from './launch-audit.js';

/** What can be changed of an audit before it is run again. */

export type RerunOption = ChoiceOption | TextOption | FileOption;

interface Option {
  readonly label: string;
  /** As it is now, in words. */
  readonly value: string;
}

interface ChoiceOption extends Option {
  readonly form: 'choice';
  readonly choices: readonly { readonly label: string; readonly settings: AuditSettings }[];
}

interface TextOption extends Option {
  readonly form: 'text';
  readonly prompt: string;
  /** As it is now, to be edited. */
  readonly text: string;
  /** What is wrong with a text; undefined for a good one. */
  readonly problem: (text: string) => string | undefined;
  readonly set: (text: string) => AuditSettings;
}

export interface FileOption extends Option {
  readonly form: 'file';
  readonly file: string;
  readonly set: (path: string | undefined) => AuditSettings;
}

const METHOD_WORDS = { auto: 'closed form or exhaustive scan', paper: 'the published search' };
const ATTACK_WORDS: Record<ReconstructionRequest['attack'], string> = {
  auto: 'closed form, else gradient matching',
  chain: 'closed form only',
  matching: 'gradient matching only',
  none: 'labels and features only',
};

/** Those that mean something with the others as they are. */
export function rerunOptions(settings: AuditSettings): RerunOption[] {
  const { reconstruction } = settings;
  return [
    {
      label: 'Method',
      value: METHOD_WORDS[settings.method],
      form: 'choice',
      choices: (['auto', 'paper'] as const).map((method) => ({
        label: METHOD_WORDS[method],
        settings: { ...settings, method },
      })),
    },
    {
      label: 'Batch size',
      value: settings.batchSize === undefined ? 'found from the gradient' : String(settings.batchSize),
      form: 'text',
      prompt: 'Number of samples in the gradient; empty when it is to be found from the gradient',
      text: String(settings.batchSize ?? ''),
      problem: (text) => (text === '' || isWhole(text) ? undefined : 'A whole number of at least 1, or nothing.'),
      set: (text) => {
        const { batchSize: _, ...others } = settings;
        return text === '' ? others : { ...others, batchSize: Number(text) };
      },
    },
    {
      label: 'Head',
      value: settings.head ?? 'found automatically',
      form: 'text',
      prompt: 'Name of the classifier head’s weight or layer; empty when it is to be found automatically',
      text: settings.head ?? '',
      problem: () => undefined,
      set: (text) => {
        const { head: _, ...others } = settings;
        return text === '' ? others : { ...others, head: text };
      },
    },
    ...(reconstruction ? reconstructionOptions(settings, reconstruction) : []),
  ];
}

function reconstructionOptions(settings: AuditSettings, reconstruction: ReconstructionRequest): RerunOption[] {
  const attack: RerunOption = {
    label: 'Inputs',
    value: ATTACK_WORDS[reconstruction.attack],
    form: 'choice',
    choices: ATTACKS.map((own) => ({
      label: ATTACK_WORDS[own],
      settings: { ...settings, reconstruction: { ...reconstruction, attack: own } },
    })),
  };
  const network: RerunOption = {
    label: 'Network’s file',
    value: reconstruction.model ?? 'found beside the files, or recognised',
    form: 'file',
    file: 'ONNX, Keras or recipe file that describes the network',
    set: (model) => {
      const { model: _, ...others } = reconstruction;
      return { ...settings, reconstruction: model === undefined ? others : { ...others, model } };
    },
  };
  const preset: RerunOption = {
    label: 'Gradient matching as published in',
    value: reconstruction.preset,
    form: 'choice',
    choices: PRESET_NAMES.map((own) => ({
      label: own,
      settings: { ...settings, reconstruction: { ...reconstruction, preset: own } },
    })),
  };
  const limit: RerunOption = {
    label: 'Time for gradient matching',
    value: `${reconstruction.timeLimitSeconds} s`,
    form: 'text',
    prompt: 'Seconds that gradient matching may take',
    text: String(reconstruction.timeLimitSeconds),
    problem: (text) => (isWhole(text) ? undefined : 'A whole number of at least 1.'),
    set: (text) => ({ ...settings, reconstruction: { ...reconstruction, timeLimitSeconds: Number(text) } }),
  };
  switch (reconstruction.attack) {
    case 'auto':
    case 'matching':
      return [attack, network, preset, limit];
    case 'chain':
      return [attack, network];
    case 'none':
      return [attack];
  }
}

function isWhole(text: string): boolean {
  return /^[1-9]\d{0,8}$/.test(text);
}
