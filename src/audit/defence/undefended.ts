import { stem } from '../../facts/head-structure.js';
import type { HeadSearch } from '../../facts/head-facts.js';
import { HEAD, HEAD_SHAPE } from '../../facts/head-facts.js';
import type { Matching, TensorPair } from '../../facts/matching.js';
import { TRANSFORMER } from '../../facts/transformer.js';
import { MATCHING, UPDATE } from '../../facts/update.js';
import { type TensorFile, elementCount } from '../../formats/tensor-file.js';
import type { UpdateFigures, UpdateParts } from '../../defences/defence.js';
import { RECOVERY } from '../../methods/head/recovery.js';
import type { RecoveredHead } from '../../methods/head/recover-head.js';
import { READABLE } from '../../methods/method.js';
import type { GradientNature } from '../../recovery/head-gradient.js';
import type { UpdateReport } from '../../protocol/report.js';
import type { AuditResult, OpenDump } from '../run-audit.js';

/** What the audit without a defence says of the update: defended ones are taken for the same thing, as an attacker would. */
export interface Undefended {
  readonly dump: OpenDump;
  /** What left the machine, with everything that is in it: what a defence acts on. */
  readonly sent: TensorFile;
  readonly result: AuditResult;
  readonly matching: Matching;
  readonly update: UpdateReport;
  readonly head: HeadSearch | undefined;
  readonly recovered: RecoveredHead | undefined;
  /** Of the head's gradient: only without noise is what it tells a truth to compare numbers with. */
  readonly nature: GradientNature | undefined;
  /** What the network's input is made of, where that is known. */
  readonly takes: 'tokens' | 'numbers' | undefined;
  readonly figures: UpdateFigures;
  /** Names of the captured tensors that a defence changes: gradients of parameters. */
  readonly numbers: ReadonlySet<string>;
}

export async function undefendedOf(dump: OpenDump, result: AuditResult): Promise<Undefended> {
  const { facts } = result;
  const hasCheckpoint = facts.given.request.checkpoint !== undefined;
  const matching = await facts.get(MATCHING);
  const head = hasCheckpoint ? await facts.get(HEAD).catch(() => undefined) : undefined;
  // Steps added up are no gradient of samples.
  const isReadable = hasCheckpoint && READABLE.includes((await facts.get(UPDATE)).kind);
  const recovered = isReadable ? await facts.get(RECOVERY).catch(() => undefined) : undefined;
  const embeddings = await embeddingsOf(result);
  const parts = partsOf(matching, head, embeddings);
  const sent = dump.origin?.difference ?? dump.gradients;
  let squares = 0;
  let count = 0;
  for (const { gradient } of matching.pairs) {
    await facts.given.hooks.pause();
    for (const value of sent.read(gradient.name).data) {
      squares += value * value;
    }
    count += elementCount(gradient.shape);
  }
  return {
    dump,
    sent,
    result,
    matching,
    update: await facts.get(UPDATE),
    head,
    recovered,
    nature: hasCheckpoint ? (await facts.get(HEAD_SHAPE).catch(() => undefined))?.nature : undefined,
    takes: takesOf(result, matching, embeddings),
    figures: { count, norm: Math.sqrt(squares), parts },
    numbers: new Set(matching.pairs.map(({ gradient }) => gradient.name)),
  };
}

function takesOf(
  { reconstructions }: AuditResult,
  { pairs }: Matching,
  embeddings: ReadonlySet<string>,
): Undefended['takes'] {
  const isPicture =
    reconstructions.some(({ input }) => input) || pairs.some(({ parameter }) => parameter.shape.length > 3);
  if (embeddings.size > 0) {
    // Networks may take both.
    return isPicture ? undefined : 'tokens';
  }
  return isPicture ? 'numbers' : undefined;
}

/** Parameters that rows are looked up in. */
async function embeddingsOf({ facts, leaks }: AuditResult): Promise<Set<string>> {
  const transformer =
    facts.given.request.checkpoint === undefined ? undefined : await facts.get(TRANSFORMER).catch(() => undefined);
  const { tokens, positions } =
    transformer && !('refused' in transformer) ? transformer.embedding : { tokens: undefined, positions: undefined };
  const looked = leaks.flatMap(({ leak }) => (leak.noun === 'Embedding' && leak.tensor !== null ? [leak.tensor] : []));
  return new Set([tokens, positions, ...looked].flatMap((own) => (typeof own === 'string' ? [own] : [])));
}

function partsOf({ pairs }: Matching, head: HeadSearch | undefined, embeddings: ReadonlySet<string>): UpdateParts {
  const headNames = [head?.tensors?.weight.gradient.name, head?.tensors?.biasGradient?.name].flatMap(
    (own) => own ?? [],
  );
  const isOther = ({ gradient, parameter }: TensorPair): boolean =>
    headNames.includes(gradient.name) || embeddings.has(parameter.name) || parameter.name === head?.tied;
  const layers = pairs.filter((pair) => !isOther(pair) && pair.parameter.shape.length > 1);
  const first = layers.find(({ parameter }) => parameter.shape.length === 4) ?? layers[0];
  const ofFirst = first && stem(first.parameter.name);
  return {
    head: headNames,
    embeddings: pairs.filter(({ parameter }) => embeddings.has(parameter.name)).map(({ gradient }) => gradient.name),
    first: pairs
      .filter((pair) => !isOther(pair) && (pair === first || stem(pair.parameter.name) === ofFirst))
      .map(({ gradient }) => gradient.name),
  };
}
