import { rowBlocks } from '../../facts/row-blocks.js';
import type { TensorFile } from '../../formats/tensor-file.js';
import { touchedRows } from '../../recovery/embedding-rows.js';
import { stem } from '../../facts/head-structure.js';
import type { AuditPaths } from '../../facts/inputs.js';
import type { Matching, TensorPair } from '../../facts/matching.js';
import type { TouchedEmbedding } from './describe-embedding.js';
import { findVocabulary } from '../../facts/vocabulary.js';

/** Which tokens or items a gradient's embeddings give away, with their texts where a vocabulary is at hand. */

const NAMED = /(^|[._/])(embed\w*|\w*embeddings?|wte|wpe|tok_emb|pos_emb|word_emb\w*)([._/]|$)/i;
const POSITIONS = /(pos|wpe)/i;
/** Which sentence of a pair a token is in: neither a token nor a place. */
const SEGMENTS = /(token_type|segment)/i;
/** With more touched rows than this share, the gradient is dense: a tied head, or noise. */
const FEW = 0.5;
/** A matrix that is not called an embedding is taken for one when far fewer rows are touched, and there are many. */
const VERY_FEW = 0.1;
const MANY_ROWS = 256;
const MOST_LISTED = 4096;

/**
 * Embeddings with few touched rows, in the order of the file.
 *
 * @param headWeight the head, or the embedding that the head is tied to: its rows are of all classes and tell of no look-up
 * @param onlyNamed leaves out matrices that are not called embeddings: one of them may be a head that is not known
 * @throws UnusableInputError when a gradient cannot be read
 */
export function findEmbeddings(
  matching: Pick<Matching, 'pairs'>,
  gradients: TensorFile,
  paths: AuditPaths,
  headWeight: string | undefined,
  onlyNamed: boolean,
): TouchedEmbedding[] {
  const biased = new Set(
    matching.pairs.filter(({ parameter }) => parameter.shape.length === 1).map(({ parameter }) => stem(parameter.name)),
  );
  return matching.pairs.flatMap((pair): TouchedEmbedding[] => {
    const { parameter, gradient } = pair;
    const [rows = 0, width = 0] = parameter.shape;
    const isNamed = NAMED.test(parameter.name);
    const isCandidate =
      parameter.shape.length === 2 &&
      parameter.name !== headWeight &&
      !SEGMENTS.test(parameter.name) &&
      (isNamed || (!onlyNamed && rows >= MANY_ROWS && !biased.has(stem(parameter.name))));
    if (!isCandidate) {
      return [];
    }
    const most = (isNamed ? FEW : VERY_FEW) * rows;
    const touched = touchedRows(width, rowBlocks(gradients, gradient), most);
    if (touched.length === 0 || touched.length > most) {
      return [];
    }
    return [describe(pair, touched, paths)];
  });
}

function describe({ parameter }: TensorPair, touched: readonly number[], paths: AuditPaths): TouchedEmbedding {
  const [entries = 0, width = 0] = parameter.shape;
  const what = POSITIONS.test(parameter.name) ? 'positions' : 'tokens';
  const vocabulary = what === 'tokens' ? findVocabulary(paths, entries) : undefined;
  const rows = touched.slice(0, MOST_LISTED);
  return {
    tensor: parameter.name,
    what,
    entries,
    width,
    touched: touched.length,
    rows,
    ...(vocabulary ? { vocabulary: vocabulary.path, texts: vocabulary.textsOf(rows).map((text) => text ?? '?') } : {}),
  };
}
