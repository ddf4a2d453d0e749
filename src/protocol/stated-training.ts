/** What somebody stated of the training that lies between the weights before and after. Nobody checked it. */
export interface StatedTraining {
  optimiser?: string | undefined;
  learningRate?: number | undefined;
  /** 0 for plain SGD. */
  momentum?: number | undefined;
  /** Local steps of the optimiser. */
  steps?: number | undefined;
  /** How often each sample was seen. */
  epochs?: number | undefined;
  /** Of one step. */
  batchSize?: number | undefined;
  /** That the client trained on. */
  samples?: number | undefined;
}
