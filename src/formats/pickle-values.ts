/** What a pickle parses into: inert values that only record what Python would have made. */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleList
  | PickleTuple
  | PickleDict
  | PickleSet
  | PickleGlobal
  | PickleObject
  | PicklePersistent;

export class PickleList {
  readonly items: PickleValue[] = [];
}

export class PickleTuple {
  constructor(readonly items: readonly PickleValue[]) {}
}

export class PickleDict {
  /** Insertion order, duplicates included: later ones win, as in Python. */
  readonly pairs: [PickleValue, PickleValue][] = [];
}

export class PickleSet {
  readonly items: PickleValue[] = [];
}

export class PickleGlobal {
  called = false;
  constructor(
    readonly module: string,
    readonly name: string,
  ) {}
}

/** What calling `callee(*args)` would have made, with everything later put into it. */
export class PickleObject {
  state: PickleValue | undefined;
  readonly items: PickleValue[] = [];
  readonly pairs: [PickleValue, PickleValue][] = [];
  constructor(
    readonly callee: PickleValue,
    readonly args: PickleValue,
  ) {}
}

/** A reference to data outside the pickle; PyTorch keeps its storages there. */
export class PicklePersistent {
  constructor(readonly id: PickleValue) {}
}
