/** Why a checkpoint or its configuration is not read as a transformer: one sentence. Caught where reading begins. */
export class TransformerProblem extends Error {
  override readonly name = 'TransformerProblem';
}
