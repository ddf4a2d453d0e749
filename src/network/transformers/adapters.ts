import { Config } from './config.js';
import { TransformerProblem } from './problem.js';
import type { NamedShape } from './tensor-names.js';

/** Low-rank adapters (LoRA) of a checkpoint, as PEFT names them: W + scale B A in the place of W. */

export interface Adapter {
  /** Name of the adapted weight, as if there were no adapter. */
  readonly weight: string;
  /** Its name in the checkpoint. */
  readonly base: string;
  /** rank x inputs */
  readonly a: string;
  /** outputs x rank */
  readonly b: string;
  readonly rank: number;
  readonly inputs: number;
  readonly outputs: number;
  /** Factor of B A; null where no configuration says it. */
  readonly scale: number | null;
}

export interface Adapters {
  /** By the adapted weight. */
  readonly byWeight: ReadonlyMap<string, Adapter>;
  /** Names in the checkpoint of all other tensors, by their names without adapters. */
  readonly stored: ReadonlyMap<string, string>;
}

const FACTOR = /^(.*)\.lora_(A|B)(?:\.([^.]+))?\.weight$/;
/** Of the same library, and not read: rescaled weights, adapters of embeddings, biases. */
const OTHER_PARTS = /\.(lora_magnitude_vector|lora_embedding_[AB])(\.|$)|\.lora_[AB](\.[^.]+)?\.bias$/;
const MOST_RANK = 2 ** 14;
const MOST_ALPHA = 2 ** 20;

/** Whether a name is that of an adapter's factor. */
export function isFactor(name: string): boolean {
  return FACTOR.test(name);
}

/**
 * No numbers are read.
 *
 * @param entries names and shapes of the checkpoint
 * @param config value of an `adapter_config.json`, from anybody; undefined without one
 * @param source for people: the configuration's file
 * @returns undefined for a checkpoint without adapters
 * @throws TransformerProblem for adapters of another kind, or tensors and configuration that contradict each other
 */
export function readAdapters(
  entries: readonly NamedShape[],
  config: object | undefined,
  source: string,
): Adapters | undefined {
  const other = entries.find(({ name }) => OTHER_PARTS.test(name));
  if (other) {
    throw new TransformerProblem(`"${other.name}" is of an adapter that is more than LoRA, which is not read.`);
  }
  const modules = factorsByModule(entries);
  if (modules.size === 0) {
    return undefined;
  }
  const settings = config && new Settings(new Config(config, source));
  const shapes = new Map(entries.map(({ name, shape }) => [name, shape]));
  const adapters = [...modules].map(([module, factors]) => adapterOf(module, factors, shapes, settings));
  const plain = entries.filter(({ name }) => !isFactor(name)).map(({ name }) => [withoutLayer(name), name] as const);
  return { byWeight: new Map(adapters.map((own) => [own.weight, own])), stored: new Map(plain) };
}

function withoutLayer(name: string): string {
  return name.replace('.base_layer.', '.');
}

type Factors = Partial<Record<'A' | 'B', NamedShape>>;

/** @throws TransformerProblem when one module has several adapters */
function factorsByModule(entries: readonly NamedShape[]): Map<string, Factors> {
  const modules = new Map<string, Factors>();
  for (const entry of entries) {
    const [, module, factor] = FACTOR.exec(entry.name) ?? [];
    if (module === undefined) {
      continue;
    }
    const own = modules.get(module) ?? {};
    if (own[factor as 'A' | 'B']) {
      throw new TransformerProblem(`"${module}" has several adapters, of which only one can be read.`);
    }
    modules.set(module, { ...own, [factor as 'A' | 'B']: entry });
  }
  return modules;
}

function adapterOf(
  module: string,
  { A: a, B: b }: Factors,
  shapes: ReadonlyMap<string, readonly number[]>,
  settings: Settings | undefined,
): Adapter {
  if (!a || !b) {
    throw new TransformerProblem(`The adapter of "${module}" has one of lora_A and lora_B only.`);
  }
  const [rank = 0, inputs = 0] = a.shape;
  const [outputs = 0, columns = 0] = b.shape;
  if (a.shape.length !== 2 || b.shape.length !== 2 || rank !== columns || !(rank > 0) || rank > MOST_RANK) {
    throw new TransformerProblem(
      `"${a.name}" is ${a.shape.join(' x ')} and "${b.name}" is ${b.shape.join(' x ')}: no product of theirs is a layer's weight.`,
    );
  }
  const base = baseOf(module, shapes);
  const [rows = 0, cols = 0] = base === undefined ? [] : shapes.get(base)!;
  if (base === undefined || !((rows === outputs && cols === inputs) || (rows === inputs && cols === outputs))) {
    throw new TransformerProblem(
      `The adapter of "${module}" makes a weight of ${outputs} x ${inputs}, and the checkpoint's is ${base === undefined ? 'not there' : `${rows} x ${cols}`}.`,
    );
  }
  const scale = settings?.scaleOf(module, rank, a.name) ?? null;
  return { weight: withoutLayer(base), base, a: a.name, b: b.name, rank, inputs, outputs, scale };
}

/** The adapted weight: beside the adapter, or in a base model whose names begin later. */
function baseOf(module: string, shapes: ReadonlyMap<string, readonly number[]>): string | undefined {
  const wrapped = `${module}.base_layer.weight`;
  if (shapes.has(wrapped)) {
    return wrapped;
  }
  for (let at = 0; at >= 0; at = module.indexOf('.', at) + 1 || -1) {
    const name = `${module.slice(at)}.weight`;
    if (shapes.has(name)) {
      return name;
    }
  }
  return undefined;
}

/** What `adapter_config.json` says. */
class Settings {
  private readonly alpha: number;
  private readonly rank: number;
  private readonly isRankStabilised: boolean;

  constructor(private readonly config: Config) {
    const kind = config.text(['peft_type']);
    const refused = ['use_dora', 'use_qalora', 'use_bdlora', 'lora_bias'].find((name) => config.flag(name) === true);
    if ((kind !== undefined && kind !== 'LORA') || refused !== undefined) {
      const what =
        refused === undefined ? `"peft_type" is ${JSON.stringify(kind?.slice(0, 40))}` : `"${refused}" is true`;
      throw new TransformerProblem(`${config.source}: ${what}, and only plain LoRA is read.`);
    }
    const [rank, alpha] = [config.whole(['r'], MOST_RANK), config.real('lora_alpha', 0, MOST_ALPHA)];
    if (rank === undefined || alpha === undefined || alpha === 0) {
      throw new TransformerProblem(`${config.source}: "r" and "lora_alpha" are needed, and both are above zero.`);
    }
    [this.rank, this.alpha] = [rank, alpha];
    this.isRankStabilised = config.flag('use_rslora') ?? false;
  }

  /** alpha / r, or alpha / sqrt(r). @throws TransformerProblem when the rank is another than the tensor's */
  scaleOf(module: string, rank: number, factor: string): number {
    const stated = this.patterned('rank_pattern', module) ?? this.rank;
    if (stated !== rank) {
      throw new TransformerProblem(
        `${this.config.source}: the rank of "${module}" is ${stated}, and "${factor}" has ${rank} rows.`,
      );
    }
    const alpha = this.patterned('alpha_pattern', module) ?? this.alpha;
    return alpha / (this.isRankStabilised ? Math.sqrt(rank) : rank);
  }

  /** Patterns are compared as plain ends of names: no expression out of a file is run. */
  private patterned(field: 'rank_pattern' | 'alpha_pattern', module: string): number | undefined {
    const patterns = this.config.object([field]);
    const key = patterns?.names().find((own) => module === own || module.endsWith(`.${own}`));
    const most = field === 'rank_pattern' ? MOST_RANK : MOST_ALPHA;
    return key === undefined ? undefined : patterns?.real(key, Number.MIN_VALUE, most);
  }
}
