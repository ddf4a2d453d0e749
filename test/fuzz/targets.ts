import { basename, join } from 'node:path';
import { pathsInFolder, findClassNames } from '../../src/facts/inputs.js';
import { readCapture } from '../../src/facts/capture.js';
import { CONFIG_FILE, readConfigJson } from '../../src/facts/config-json.js';
import { runAudit } from '../../src/audit/run-audit.js';
import { readImages, readStored } from '../../src/audit/output.js';
import { compareWithTruth, readTruth } from '../../src/audit/truth.js';
import { upgradeReport } from '../../src/audit/upgrade-report.js';
import { renderProject } from '../../src/cli/render-project.js';
import { renderListing, renderReport } from '../../src/cli/render-text.js';
import { memorySource } from '../../src/formats/byte-source.js';
import { readKerasModel } from '../../src/formats/keras-file.js';
import { openTensorFile, openTensorSource } from '../../src/formats/open.js';
import { type TensorFile, elementCount, isFloating } from '../../src/formats/tensor-file.js';
import { foldConstant } from '../../src/graph/evaluate.js';
import { TensorGraph, type TensorNode } from '../../src/graph/tensor-graph.js';
import { Inspection } from '../../src/inspection/inspection.js';
import { modelOf } from '../../src/inspection/model.js';
import { pictureAxes } from '../../src/protocol/inspection.js';
import { fileKindOf } from '../../src/kinds/file-kind.js';
import { findVocabulary } from '../../src/facts/vocabulary.js';
import { findNetwork } from '../../src/methods/input/network-source.js';
import { RecipeError } from '../../src/network/layers/layer-rule.js';
import { buildNetwork } from '../../src/network/network-graph.js';
import { embed } from '../../src/network/transformers/embed.js';
import { readTransformer } from '../../src/network/transformers/read-transformer.js';
import { buildTransformer, headInput, headLogits } from '../../src/network/transformers/transformer-graph.js';
import type { Transformer } from '../../src/network/transformers/transformer.js';
import { planProject } from '../../src/project/plan.js';
import { readProject } from '../../src/project/run-project.js';
import { renderSarif } from '../../src/project/sarif.js';
import { resultOf } from '../../src/project/summarise.js';
import type { ReconstructionRequest } from '../../src/protocol/audit-request.js';
import type { Report } from '../../src/protocol/report.js';
import { analyseScript } from '../../src/scripts/analyse.js';
import { cellAt, joinCells } from '../../src/scripts/notebook.js';
import { parsePython, updatePython } from '../../src/scripts/python-document.js';
import { drawable } from '../../src/words/detail-words.js';
import { confidenceInWords, kindInWords, labelInShort, labelInWords } from '../../src/words/label-words.js';
import {
  className,
  headInWords,
  methodsInWords,
  sampleInWords,
  statusInWords,
  summaryOf,
  updateInWords,
} from '../../src/words/report-words.js';
import { allTextsOf } from '../../src/words/recovered-texts.js';
import { type Files, first, project, renamed, reports, single, together } from './corpus.js';

/** What reads files that others may have made: each reader, importer, note and report, and whole audits. */

export interface Target {
  readonly name: string;
  /** How often, relative to the others. */
  readonly weight: number;
  readonly seeds: () => readonly Files[];
  /** True where it is given bytes, so that no files need be written. */
  readonly inMemory?: true;
  /** Never mutated. */
  readonly kept?: RegExp;
  /** True where it computes, which the user may end at any time, beside reading. */
  readonly attacks?: true;
  /**
   * @param folder where the files lie; it may write to `out` in it
   * @throws UnusableInputError, CancelledError; anything else is a finding
   */
  run(files: Files, folder: string): void | Promise<void>;
}

const pause = (): Promise<void> => Promise.resolve();
const hooks = { progress: () => undefined, pause };

function onlyName(files: Files): string {
  return Object.keys(files)[0] ?? '';
}

/** Reads what a tensor file lists, as far as a screen would show it. */
function readAll(file: TensorFile): void {
  for (const { name, shape, bytes } of file.entries.slice(0, 64)) {
    if (!Number.isSafeInteger(bytes)) {
      throw new Error(`"${name}" of ${bytes} bytes`);
    }
    file.read(name, { start: 0, end: Math.min(elementCount(shape), 1000) });
  }
  renderListing(file, [], modelOf(file)?.report.sentence);
  fileKindOf(file, true);
}

const tensors = (name: string, weight: number, seeds: Target['seeds']): Target => ({
  name,
  weight,
  seeds,
  inMemory: true,
  run(files) {
    const own = onlyName(files);
    const file = openTensorSource(memorySource(own, files[own]!));
    readAll(file);
    file.close();
  },
});

const HOSTILE = 'hostile-neighbours';
const MLP = `${HOSTILE}/dump`;

const READERS: readonly Target[] = [
  tensors('torch-zip', 24, () => [
    ...single('formats', /^(?!legacy|module_legacy|strided_legacy).*\.(pt|pth|ckpt)$/),
    ...single('hostile', /os_system\.pt$/),
    ...first(`${HOSTILE}/expanded`, /^gradient/, 'gradient.pt'),
    ...single('inspection', /optimiser\.pt$/),
  ]),
  tensors('torch-legacy', 24, () => [
    ...single('formats', /legacy\.pt$/),
    ...single('hostile', /legacy\.pt$/),
    ...single(`${HOSTILE}/files`, /\.pt$/),
  ]),
  tensors('pickle', 24, () => single('formats', /\.pkl$/)),
  tensors('safetensors', 16, () => [
    ...single('formats', /\.safetensors$/),
    ...single(`${HOSTILE}/files`, /\.safetensors$/),
  ]),
  tensors('npy', 12, () => [
    ...single('formats', /\.npy$/),
    ...single('hostile', /\.npy$/),
    ...single(`${HOSTILE}/files`, /\.npy$/),
  ]),
  tensors('npz', 14, () => single('formats', /\.npz$/)),
  {
    name: 'safetensors-sharded',
    weight: 4,
    seeds: () => [
      together('formats', [
        'sharded.safetensors.index.json',
        'sharded-00001-of-00002.safetensors',
        'sharded-00002-of-00002.safetensors',
      ]),
    ],
    run(_, folder) {
      const file = openTensorFile(join(folder, 'sharded.safetensors.index.json'));
      readAll(file);
      file.close();
    },
  },
  {
    name: 'inspection',
    weight: 2,
    seeds: () => single('formats', /\.(pt|npz|safetensors|pkl|npy)$/),
    async run(files, folder) {
      const inspection = new Inspection(join(folder, onlyName(files)));
      try {
        await inspect(inspection);
      } finally {
        inspection.close();
      }
    },
  },
];

async function inspect(inspection: Inspection): Promise<void> {
  const { shapes } = inspection.directory();
  inspection.kind();
  inspection.compare(inspection.directory().path);
  const rows = [...shapes.keys()].slice(0, 4);
  await inspection.statisticsOf(rows, 100, pause);
  await inspection.differencesOf(rows, 100, pause);
  for (const row of rows) {
    inspection.text(row, 0);
    const pictures = pictureAxes(shapes[row] ?? []);
    if (pictures) {
      inspection.pictures(row, pictures);
    }
    if (shapes[row]?.length === 2) {
      await inspection.rows(row, pause);
    }
  }
}

/** Importers of networks: as a file that was asked for, then as a graph for the checkpoint. */
const network = (name: string, weight: number, checkpoint: string, seeds: Target['seeds']): Target => ({
  name,
  weight,
  seeds: () => seeds().map((files) => ({ ...files, ...renamed(checkpoint, basename(checkpoint)) })),
  kept: /^checkpoint/,
  async run(files, folder) {
    const path = join(folder, Object.keys(files).find((own) => own !== basename(checkpoint)) ?? '');
    const file = openTensorFile(join(folder, basename(checkpoint)));
    try {
      if (path.endsWith('.h5')) {
        // A process of its own may loop until its deadline, which here is shorter than what counts as stuck.
        await readKerasModel(path, { deadlineMs: 1500 });
      }
      const { candidates, own } = await findNetwork(path, file, file, {}, () => Promise.resolve());
      const stored = new Map(file.entries.map(({ name: tensor, shape }) => [tensor, shape]));
      for (const { recipe } of candidates) {
        buildNetwork(
          new TensorGraph(foldConstant),
          recipe,
          (tensor) => {
            const shape = stored.get(tensor);
            return own.get(tensor) ?? (shape && { shape, data: file.read(tensor).data });
          },
          1,
          'eval',
        );
      }
    } catch (error) {
      // What says that a recipe does not fit is turned into words where networks are prepared.
      if (!(error instanceof RecipeError)) {
        throw error;
      }
    } finally {
      file.close();
    }
  },
});

const NETWORKS: readonly Target[] = [
  network('onnx', 4, 'networks/operations/checkpoint.pt', () => [
    renamed('networks/operations/model.onnx', 'model.onnx'),
    renamed('networks/operations/dynamo.onnx', 'model.onnx'),
    renamed('networks/operations/folded.onnx', 'model.onnx'),
    ...single(`${HOSTILE}/files`, /\.onnx$/),
    ...first(`${HOSTILE}/neighbours`, /\.onnx$/, 'model.onnx'),
  ]),
  network('keras-json', 5, 'networks/keras/checkpoint.npz', () => [
    renamed('networks/keras/topology.json', 'model.json'),
    ...single(`${HOSTILE}/files`, /keras.*\.json$/),
  ]),
  network('keras-archive', 3, 'networks/keras/checkpoint.npz', () => [
    renamed('networks/keras/net.keras', 'model.keras'),
    ...single(`${HOSTILE}/files`, /\.keras$/),
  ]),
  network('keras-hdf5', 0.05, 'networks/keras/checkpoint.npz', () => [renamed('networks/keras/net.h5', 'model.h5')]),
  network('recipe', 5, 'networks/pooled/checkpoint.pt', () => [
    renamed('networks/pooled/recipe.json', 'recipe.json'),
    ...single(`${HOSTILE}/files`, /recipe.*\.json$/),
    ...first(`${HOSTILE}/neighbours`, /^recipe\.json$/, 'recipe.json'),
  ]),
  {
    name: 'transformer',
    weight: 5,
    seeds: () => TRANSFORMERS.map((name) => together(`transformers/${name}`, [CONFIG_FILE, 'checkpoint.safetensors'])),
    run(_, folder) {
      const file = openTensorFile(join(folder, 'checkpoint.safetensors'));
      try {
        const entries = file.entries.filter(({ dtype }) => isFloating(dtype));
        const config = readConfigJson(join(folder, CONFIG_FILE));
        for (const own of typeof config === 'string' ? [undefined] : [config, undefined]) {
          const found = readTransformer(entries, own, CONFIG_FILE);
          if (found && !('refused' in found)) {
            logitsOf(found, file);
          }
        }
      } finally {
        file.close();
      }
    },
  },
];

/** One of each family and head. */
const TRANSFORMERS = [
  ...['gpt2-scaled', 'bert', 'bert-token', 'roberta', 'roberta-sequence', 'distilbert-sequence'],
  ...['llama-sequence', 'mistral', 'qwen2', 'qwen3', 'gemma'],
];

/** Of one token, as a graph: what was read of names and shapes has to fit the tensors. */
function logitsOf(transformer: Transformer, file: TensorFile): void {
  const shapes = new Map(file.entries.map(({ name, shape }) => [name, shape]));
  const graph = new TensorGraph(foldConstant);
  const parameter = (name: string): TensorNode => graph.parameter(name, file.read(name).data, shapes.get(name) ?? []);
  const rowOf = (name: string, row: number): Float64Array => {
    const width = shapes.get(name)?.at(-1) ?? 0;
    return file.read(name, { start: row * width, end: (row + 1) * width }).data;
  };
  const only = Int32Array.of(0);
  const input = graph.parameter('embedded', embed(transformer, rowOf, only, only), [1, transformer.width]);
  const places = { positions: only, sees: Uint8Array.of(1) };
  const hidden = buildTransformer(graph, transformer, parameter, input, places);
  if (transformer.head) {
    headLogits(graph, transformer.head, parameter, headInput(graph, transformer.head, parameter, hidden, null));
  }
}

const PATHS = (folder: string): { gradients: string; checkpoint: string } => ({
  gradients: join(folder, 'gradient.pt'),
  checkpoint: join(folder, 'checkpoint.pt'),
});

const CLASSES = Array.from({ length: 10 }, (_, index) => `class ${index}`);

const NOTES: readonly Target[] = [
  {
    name: 'capture',
    weight: 5,
    seeds: () => [
      ...first('networks', /^capture\.json$/, 'capture.json'),
      ...first(`${HOSTILE}/neighbours`, /^capture\.json$/, 'capture.json'),
    ],
    run(_, folder) {
      readCapture(PATHS(folder).gradients);
    },
  },
  {
    name: 'truth',
    weight: 5,
    seeds: () => [
      ...first('networks', /^truth\.json$/, 'truth.json').map((files) => ({
        ...files,
        ...renamed('networks/residual/image.npy', 'image.npy'),
      })),
      ...first('dumps', /^truth\.json$/, 'truth.json').filter((_, index) => index % 4 === 0),
    ],
    run(_, folder) {
      const truth = readTruth(join(folder, 'truth.json'));
      const label = { probabilities: truth.labels?.[0] ?? [] };
      const feature = Float64Array.from(truth.feature?.[0] ?? []);
      compareWithTruth(truth, [{ label }, { label }], [feature, feature], [truth.image, truth.image], null);
    },
  },
  {
    name: 'classes',
    weight: 4,
    seeds: () => [
      { 'classes.txt': Buffer.from(CLASSES.join('\n')) },
      { 'classes.json': Buffer.from(JSON.stringify(CLASSES)) },
      { 'class_names.json': Buffer.from(JSON.stringify(Object.fromEntries(CLASSES.entries()))) },
    ],
    run(_, folder) {
      for (const count of [9, 10, 11]) {
        findClassNames(PATHS(folder), count);
      }
    },
  },
  {
    name: 'vocabulary',
    weight: 3,
    seeds: () => [
      renamed('leaks/language/tokenizer.json', 'tokenizer.json'),
      { 'vocab.json': Buffer.from('{"a":0,"\u0120b":1,"c":2,"d":3}'), 'merges.txt': Buffer.from('a b\n') },
      { 'vocab.txt': Buffer.from('[PAD]\n[UNK]\nthe\n##s\n') },
      renamed('vocabularies/byte-fallback/tokenizer.json', 'tokenizer.json'),
      renamed('vocabularies/sentencepiece/tokenizer.model', 'tokenizer.model'),
      { 'items.json': Buffer.from('["one","two",3,"four"]') },
    ],
    run(_, folder) {
      for (const count of [4, 100, 1000]) {
        const vocabulary = findVocabulary(PATHS(folder), count);
        const ids = Array.from({ length: count }, (__, id) => id);
        vocabulary?.textsOf(ids);
        vocabulary?.piecesOf(ids);
      }
    },
  },
  {
    name: 'report',
    weight: 4,
    seeds: reports,
    run(_, folder) {
      const report = upgradeReport(readStored(folder));
      if (report) {
        sayReport(report);
        resultOf(report);
        readImages(folder, report);
      }
    },
  },
  {
    name: 'project-report',
    weight: 3,
    seeds: () => [project()],
    run(_, folder) {
      const report = readProject(folder);
      if (report) {
        renderProject(report, folder);
        renderSarif(report);
      }
    },
  },
  {
    name: 'project-plan',
    weight: 0.6,
    seeds: () => [
      together('e2e/capture', ['checkpoint.pt', 'gradient.pt', 'capture.json'], {
        'truth.json': Buffer.from('{"labels":[[1,0]]}'),
        '.gitignore': Buffer.from('*.tmp\n/build/\n!keep.tmp\n**/logs/*.[ot]\n'),
      }),
      together('formats', [
        'sharded.safetensors.index.json',
        'sharded-00001-of-00002.safetensors',
        'sharded-00002-of-00002.safetensors',
      ]),
    ],
    async run(_, folder) {
      const kindOf = (file: TensorFile): ReturnType<typeof fileKindOf>['kind'] => fileKindOf(file, true).kind;
      await planProject(folder, { exclude: ['**/x'], includeIgnored: false, settings: '', kindOf }, pause);
    },
  },
  {
    name: 'script',
    weight: 3,
    inMemory: true,
    seeds: () => single('scripts', /\.py$/),
    run(files) {
      const text = files[onlyName(files)]!.toString('utf8');
      const document = parsePython(text);
      const { points } = analyseScript(document);
      points.forEach(({ insertion }) => insertion);
      const half = text.length >> 1;
      const shorter = text.slice(0, half) + text.slice(half + 1);
      analyseScript(updatePython(document, shorter));
    },
  },
  {
    name: 'notebook',
    weight: 0.5,
    inMemory: true,
    seeds: () => single('scripts', /\.py$/),
    run(files) {
      const joined = joinCells(files[onlyName(files)]!.toString('utf8').split('\n\n'));
      for (const { at } of analyseScript(parsePython(joined.text)).points) {
        cellAt(joined, at);
      }
    },
  },
];

/** What a panel says of a report that was kept. */
function sayReport(report: Report): void {
  const name = (index: number): string => className(report, index);
  summaryOf(report);
  headInWords(report);
  methodsInWords(report);
  if (report.update) {
    updateInWords(report.update, report.verdict);
  }
  for (const sample of report.samples) {
    sampleInWords(report, sample);
    statusInWords(sample);
    labelInWords(sample, name);
    labelInShort(sample, name);
    kindInWords(sample);
    confidenceInWords(sample, name);
  }
  for (const { details } of report.leaks) {
    details.forEach(drawable);
  }
  allTextsOf(report);
}

const RECONSTRUCTION: ReconstructionRequest = {
  attack: 'chain',
  engine: 'auto',
  preset: 'soft-label',
  timeLimitSeconds: 1,
};

const audit = (
  name: string,
  weight: number,
  seeds: Target['seeds'],
  reconstruction: ReconstructionRequest | undefined,
): Target => ({
  name,
  weight,
  seeds,
  ...(reconstruction ? { attacks: true } : {}),
  async run(files, folder) {
    const { report } = await runAudit(
      {
        ...(Object.keys(files).some((name) => name.startsWith('checkpoint.'))
          ? pathsInFolder(folder)
          : { gradients: PATHS(folder).gradients }),
        method: 'auto',
        batchTimeLimitSeconds: 0.5,
        out: join(folder, 'out'),
        ...(files['truth.json'] ? { truth: join(folder, 'truth.json') } : {}),
        ...(reconstruction ? { reconstruction } : {}),
      },
      hooks,
    );
    renderReport(report);
    if (!upgradeReport(JSON.parse(JSON.stringify(report)))) {
      throw new Error('The report does not follow its own schema.');
    }
  },
});

const dump = (folder: string, ending: string, more: Files = {}): Files =>
  together(
    folder,
    [...[`checkpoint.${ending}`, `gradient.${ending}`], ...['truth.json', 'capture.json', 'recipe.json', CONFIG_FILE]],
    more,
  );

const AUDITS: readonly Target[] = [
  audit(
    'audit-labels',
    0.4,
    () => [
      dump('dumps/k2_hard_bias', 'pt'),
      dump('dumps/batch6_bias', 'pt'),
      dump('dumps/in_safetensors', 'safetensors', { 'classes.txt': Buffer.from(CLASSES.join('\n')) }),
      dump('dumps/in_keras', 'npz'),
      dump('dumps/in_legacy_list', 'pt'),
      dump('dumps/multilabel_nobias', 'pt'),
      dump('leaks/language', 'pt', renamed('leaks/language/tokenizer.json', 'tokenizer.json')),
      dump('leaks/recommender', 'pt'),
      dump('leaks/imprint', 'pt'),
      dump('heads/gpt2-tied-safetensors', 'safetensors', renamed('transformers/gpt2/config.json', CONFIG_FILE)),
      dump('heads/bert', 'pt'),
      dump('vit/torchvision', 'pt'),
      ...['batch-of-two', 'deit', 'linear', 'wide'].map((name) => dump(`vit/${name}`, 'pt')),
      dump('kinds/zero-head', 'pt'),
    ],
    undefined,
  ),
  audit(
    'audit-network',
    0.15,
    () => [
      dump('networks/pooled', 'pt'),
      dump('networks/keras', 'npz', {
        ...renamed('networks/keras/topology.json', 'model.json'),
        ...renamed('networks/keras/image.npy', 'image.npy'),
      }),
      dump('networks/operations', 'pt', renamed('networks/operations/model.onnx', 'model.onnx')),
      dump(MLP, 'pt', { 'capture.json': Buffer.from('{"mode":"eval","input_shape":[3,8,8]}') }),
    ],
    RECONSTRUCTION,
  ),
];

export const TARGETS: readonly Target[] = [...READERS, ...NETWORKS, ...NOTES, ...AUDITS];

/** @throws RangeError for a name that no target has */
export function targetNamed(name: string): Target {
  const target = TARGETS.find((own) => own.name === name);
  if (!target) {
    throw new RangeError(`No target "${name}"; there are ${TARGETS.map((own) => own.name).join(', ')}.`);
  }
  return target;
}
