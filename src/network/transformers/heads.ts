import { type Place, layerNorm, linear } from './place.js';
import type { Head, TransformerActivation } from './transformer.js';

/** What turns hidden states into logits: told from the tensors that are there, and from the configuration's class. */

interface Body {
  /** Name of the embedding of tokens. */
  readonly tokens: string;
  readonly vocabulary: number;
  readonly width: number;
  /** Whether the family shares the embedding with the head unless told otherwise. */
  readonly tiedByDefault: boolean;
  /** Of families whose masked language models put a transform before the last matrix. */
  readonly activation?: TransformerActivation;
  readonly epsilon?: number;
}

type LanguageModel = Extract<Head, { kind: 'language-model' }>;

/** Null where there is none of those that are read. @throws TransformerProblem when a head's tensors do not fit */
export function readHead(place: Place, body: Body): Head | null {
  const architecture = place.config?.texts('architectures')?.[0] ?? '';
  const readers = [languageModel, sequenceClassifier, tokenClassifier];
  const ordered = architecture.endsWith('Classification') ? [...readers.slice(1), languageModel] : readers;
  for (const outside of place.outside) {
    for (const read of ordered) {
      const head = read(place, body, outside, architecture);
      if (head) {
        return head;
      }
    }
  }
  return sharedHead(place, body, architecture);
}

function languageModel(place: Place, body: Body, outside: string): LanguageModel | undefined {
  const { family, names } = place;
  switch (family) {
    case 'bert': {
      const stem = `${outside}cls.predictions`;
      return masked(place, body, `${stem}.transform.dense`, `${stem}.transform.LayerNorm`, `${stem}.decoder`, [
        `${stem}.bias`,
        `${stem}.decoder.bias`,
      ]);
    }
    case 'roberta': {
      const stem = `${outside}lm_head`;
      const biases = [`${stem}.bias`, `${stem}.decoder.bias`];
      return masked(place, body, `${stem}.dense`, `${stem}.layer_norm`, `${stem}.decoder`, biases);
    }
    case 'distilbert':
      return masked(
        place,
        body,
        `${outside}vocab_transform`,
        `${outside}vocab_layer_norm`,
        `${outside}vocab_projector`,
        [`${outside}vocab_projector.bias`],
      );
    default:
      return names.has(`${outside}lm_head.weight`)
        ? lastMatrix(place, body, `${outside}lm_head.weight`, [`${outside}lm_head.bias`])
        : undefined;
  }
}

function masked(
  place: Place,
  body: Body,
  dense: string,
  norm: string,
  decoder: string,
  biases: readonly string[],
): LanguageModel | undefined {
  const { family, names } = place;
  const { width, activation = 'gelu', epsilon = 1e-12 } = body;
  return names.has(`${dense}.weight`)
    ? {
        ...lastMatrix(place, body, `${decoder}.weight`, biases),
        transform: {
          dense: linear(names, dense, width, width, 'needed'),
          norm: layerNorm(names, norm, width, epsilon),
          activation: family === 'roberta' ? 'gelu' : activation,
        },
      }
    : undefined;
}

/** The weight of its own, or the embedding's where they are one tensor or only the embedding is stored. */
function lastMatrix(
  { config, names }: Place,
  { tokens, vocabulary, width, tiedByDefault }: Body,
  own: string,
  biases: readonly string[],
): LanguageModel {
  const { trained } = names;
  // Both names of one tensor are in a state dict, but only the first is a parameter's.
  const shared = config
    ? (config.flag('tie_word_embeddings') ?? tiedByDefault)
    : trained?.has(tokens) === true && !trained.has(own);
  const tied = shared || !names.has(own);
  const bias = biases.find((name) => trained?.has(name)) ?? biases.find((name) => names.has(name));
  return {
    kind: 'language-model',
    weight: tied ? tokens : names.need(own, [vocabulary, width]),
    bias: bias === undefined ? null : names.need(bias, [vocabulary]),
    tied,
    transform: null,
  };
}

function sequenceClassifier(place: Place, { width }: Body, outside: string, architecture: string): Head | undefined {
  const { family, names, prefix } = place;
  const classifier = `${outside}classifier`;
  if (architecture.endsWith('TokenClassification')) {
    return undefined;
  }
  switch (family) {
    case 'bert':
      return names.has(`${classifier}.weight`) && names.has(`${prefix}pooler.dense.weight`)
        ? pooled(place, width, `${prefix}pooler.dense`, 'tanh', classifier)
        : undefined;
    case 'roberta':
      return names.has(`${classifier}.out_proj.weight`)
        ? pooled(place, width, `${classifier}.dense`, 'tanh', `${classifier}.out_proj`)
        : undefined;
    case 'distilbert':
      return names.has(`${outside}pre_classifier.weight`) && names.has(`${classifier}.weight`)
        ? pooled(place, width, `${outside}pre_classifier`, 'relu', classifier)
        : undefined;
    default:
      // The classifier of sequences has no bias, that of tokens has one.
      return names.has(`${outside}score.weight`) && !names.has(`${outside}score.bias`)
        ? { kind: 'sequence-classifier', reads: 'last', hidden: [], output: output(place, width, `${outside}score`) }
        : undefined;
  }
}

function pooled(
  place: Place,
  width: number,
  dense: string,
  activation: TransformerActivation,
  classifier: string,
): Head {
  return {
    kind: 'sequence-classifier',
    reads: 'first',
    hidden: [{ dense: linear(place.names, dense, width, width, 'needed'), activation }],
    output: output(place, width, classifier),
  };
}

function tokenClassifier(place: Place, { width }: Body, outside: string): Head | undefined {
  const stem = [`${outside}classifier`, `${outside}score`].find((own) => place.names.has(`${own}.weight`));
  return stem === undefined ? undefined : { kind: 'token-classifier', output: output(place, width, stem) };
}

/** The number of classes is the weight's. */
function output({ names }: Place, width: number, stem: string) {
  const [classes = 0] = names.shapeOf(`${stem}.weight`, 2);
  return linear(names, stem, width, classes, 'optional');
}

/** A language model of which no tensor but the embedding is stored. */
function sharedHead(place: Place, body: Body, architecture: string): LanguageModel | null {
  const { config, family } = place;
  const decoder = body.activation === undefined;
  const saysSo =
    architecture === ''
      ? config
        ? (config.flag('tie_word_embeddings') ?? body.tiedByDefault)
        : family === 'gpt2'
      : /(LMHeadModel|ForCausalLM)$/.test(architecture);
  return decoder && saysSo ? lastMatrix(place, body, '', []) : null;
}
