import { HEAD } from '../../facts/head-facts.js';
import { floatingOf } from '../../facts/transformer-beside.js';
import { MATCHING } from '../../facts/update.js';
import type { Finding } from '../../protocol/report.js';
import { type Leak, type Method, READABLE } from '../method.js';
import { type TouchedEmbedding, describeEmbedding } from './describe-embedding.js';
import { findEmbeddings } from './embeddings.js';

/** Rows of an embedding's gradient that are not zero: the tokens, items or positions that were looked up. */
export const embeddingRows: Method = {
  id: 'embedding-rows',
  title: 'Tokens and items from embeddings',
  assumes:
    'a row of the embedding has a gradient only where its token or item was looked up, so neither noise nor weight decay was added.',
  cites: null,
  cost: 'ms',
  needs: 'gradient',
  kinds: READABLE,
  applies: () => Promise.resolve(true),
  look: {
    of: 'gradient',
    find(file) {
      const pairs = floatingOf(file.entries).map((entry) => ({ parameter: entry, gradient: entry, certain: true }));
      return findEmbeddings({ pairs }, file, { gradients: file.path }, undefined, true).map(leakOf);
    },
  },
  async run(facts) {
    const { gradients, request } = facts.given;
    const isAlone = request.checkpoint === undefined;
    const { tensors, tied } = isAlone ? NO_HEAD : await facts.get(HEAD);
    const head = tensors?.weight.parameter.name ?? tied;
    const embeddings = findEmbeddings(await facts.get(MATCHING), gradients, request, head, isAlone);
    return embeddings.length > 0
      ? {
          outcome: 'found',
          detail: 'The rows of an embedding whose gradient is not zero tell what was looked up.',
          leaks: embeddings.map(leakOf),
        }
      : {
          outcome: 'nothing',
          detail: 'No embedding has a gradient in some rows and none in others, which would tell what was looked up.',
          leaks: [],
        };
  },
};

const NO_HEAD = { tensors: undefined, tied: undefined };

function leakOf(embedding: TouchedEmbedding): Leak {
  return { ...describeEmbedding(embedding), findings: [findingOf(embedding)], arrays: [] };
}

function findingOf({ tensor, what, touched, entries, rows, texts }: TouchedEmbedding): Finding {
  const shown = (texts?.map((text) => JSON.stringify(text)) ?? rows.map(String)).slice(0, 24).join(' ');
  return what === 'positions'
    ? {
        id: 'embedding-positions',
        severity: 'low',
        title: 'The length of the longest input can be read from this gradient',
        evidence: `${touched} of ${entries} rows of the gradient of "${tensor}" are not zero, one per position.`,
        mitigation: 'Pad inputs to one length, or do not train position embeddings on clients.',
      }
    : {
        id: 'embedding-tokens',
        severity: 'high',
        title: 'The tokens of the batch can be read from this gradient',
        evidence: `${touched} of ${entries} rows of the gradient of "${tensor}" are not zero, and those are the ids that were looked up: ${shown}${touched > 24 ? ' ...' : ''}.`,
        mitigation:
          'Freeze the embedding on clients, or share only sums over many clients (secure aggregation); noise must be added to every row, also those that are zero.',
      };
}
