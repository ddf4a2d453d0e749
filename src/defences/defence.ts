/** What somebody could do to an update before it leaves the machine, at levels from hardly to very much. */

/** The numbers of an update by the names of its tensors; shapes do not matter to a defence. */
export type DefendedTensors = ReadonlyMap<string, Float64Array>;

export interface Defence {
  readonly id: string;
  /** Rising: a higher level never helps an attacker. */
  readonly levels: readonly number[];
  /** @param random uniform in [0, 1); the same sequence gives the same defence */
  apply(tensors: DefendedTensors, level: number, random: () => number): DefendedTensors;
}
