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

  addItem(item: PickleValue): void {
    this.items.push(item);
  }
}

export class PickleTuple {
  constructor(readonly items: readonly PickleValue[]) {}
}

export class PickleDict {
  /** Insertion order, duplicates included: later ones win, as in Python. */
  readonly pairs: [PickleValue, PickleValue][] = [];

  addPair(key: PickleValue, value: PickleValue): void {
    this.pairs.push([key, value]);
  }
}

export class PickleSet {
  readonly items: PickleValue[] = [];

  addItem(item: PickleValue): void {
    this.items.push(item);
  }
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
  // Most have neither, and there may be millions of them.
  private ownItems: PickleValue[] | undefined;
  private ownPairs: [PickleValue, PickleValue][] | undefined;

  constructor(
    readonly callee: PickleValue,
    readonly args: PickleValue,
  ) {}

  get items(): readonly PickleValue[] {
    return this.ownItems ?? [];
  }

  get pairs(): readonly [PickleValue, PickleValue][] {
    return this.ownPairs ?? [];
  }

  addItem(item: PickleValue): void {
    (this.ownItems ??= []).push(item);
  }

  addPair(key: PickleValue, value: PickleValue): void {
    (this.ownPairs ??= []).push([key, value]);
  }
}

/** A reference to data outside the pickle; PyTorch keeps its storages there. */
export class PicklePersistent {
  constructor(readonly id: PickleValue) {}
}
