import type { TensorDifference, TensorStatistics } from '../../src/protocol/inspection.js';

/** The table's rows: which tensors and modules are shown, in which order. Plain data, drawn by table-view.ts. */

export interface Tensors {
  readonly names: readonly string[];
  readonly shapes: readonly number[][];
  readonly dtypes: readonly string[];
  readonly bytes: readonly number[];
  /** Saved with weights, but not trained. */
  readonly buffers: ReadonlySet<number>;
  /** Numbers of a transformer's blocks by their module paths; empty for what is none. */
  readonly blocks: ReadonlyMap<string, number>;
  readonly statistics: ReadonlyMap<number, TensorStatistics>;
  readonly differences: ReadonlyMap<number, TensorDifference>;
}

export type Row = ModuleRow | TensorRow;

export interface ModuleRow {
  kind: 'module';
  /** Full path, which also names the row. */
  path: string;
  label: string;
  /** A transformer's block, whose label is its number. */
  isBlock: boolean;
  level: number;
  tensors: number;
  bytes: number;
  expanded: boolean;
}

export interface TensorRow {
  kind: 'tensor';
  index: number;
  label: string;
  level: number;
}

interface Module {
  readonly path: string;
  readonly label: string;
  /** In the order of their first tensors; most have none. */
  modules?: Map<string, Module>;
  readonly tensors: number[];
  count: number;
  bytes: number;
}

export const STATISTIC_COLUMNS = ['min', 'max', 'mean', 'std', 'norm', 'zeros', 'notFinite'] as const;
export const DIFFERENCE_COLUMNS = ['status', 'most', 'relative', 'cosine'] as const;
export const COLUMNS = ['name', 'shape', 'dtype', 'bytes', ...DIFFERENCE_COLUMNS, ...STATISTIC_COLUMNS] as const;
export type Column = (typeof COLUMNS)[number];

export interface Sort {
  by: Column;
  descending: boolean;
}

/** Tensors whose name, shape or type holds every word of the filter. */
export function matching(tensors: Tensors, filter: string): number[] {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const all = [...tensors.names.keys()];
  return words.length === 0
    ? all
    : all.filter((at) => {
        const text =
          `${tensors.names[at] ?? ''} ${tensors.dtypes[at] ?? ''} ${(tensors.shapes[at] ?? []).join('x')}`.toLowerCase();
        return words.every((word) => text.includes(word));
      });
}

/** A number or text to sort by; undefined, which sorts last, while it is not known. */
export function sortKey(tensors: Tensors, at: number, by: Column): number | string | undefined {
  const statistics = tensors.statistics.get(at);
  const difference = tensors.differences.get(at);
  switch (by) {
    case 'name':
      return tensors.names[at];
    case 'dtype':
      return tensors.dtypes[at];
    case 'shape':
      return (tensors.shapes[at] ?? []).reduce((product, size) => product * size, 1);
    case 'bytes':
      return tensors.bytes[at];
    case 'zeros':
      return statistics?.zeros;
    case 'notFinite':
      return statistics && statistics.nans + statistics.infinities;
    case 'status':
      return difference?.status;
    case 'most':
    case 'relative':
    case 'cosine':
      return difference?.[by] ?? undefined;
    default:
      return statistics?.[by] ?? undefined;
  }
}

function sorted(tensors: Tensors, indices: readonly number[], sort: Sort | null): number[] {
  if (!sort) {
    return [...indices];
  }
  const keyed = indices.map((at) => [at, sortKey(tensors, at, sort.by)] as const);
  const sign = sort.descending ? -1 : 1;
  const collator = new Intl.Collator('en', { numeric: true });
  return keyed
    .sort(([, one], [, other]) => {
      if (one === undefined || other === undefined) {
        return Number(one === undefined) - Number(other === undefined);
      }
      return (
        sign *
        (typeof one === 'number' && typeof other === 'number'
          ? one - other
          : collator.compare(String(one), String(other)))
      );
    })
    .map(([at]) => at);
}

/** All rows of a flat list. */
export function flatRows(tensors: Tensors, indices: readonly number[], sort: Sort | null): Row[] {
  return sorted(tensors, indices, sort).map((index) => ({
    kind: 'tensor',
    index,
    label: tensors.names[index] ?? '',
    level: 1,
  }));
}

function emptyModule(path: string, label: string): Module {
  return { path, label, tensors: [], count: 0, bytes: 0 };
}

function partsOf(name: string): string[] {
  // Splitting by a text is much faster than by an expression.
  return name.includes('/') ? name.split(/[./]/) : name.split('.');
}

/** @param indices in the order of the rows: a module stands where its first tensor would */
function moduleTree(tensors: Tensors, indices: readonly number[]): Module {
  const root = emptyModule('', '');
  for (const at of indices) {
    const parts = partsOf(tensors.names[at] ?? '');
    const bytes = tensors.bytes[at] ?? 0;
    let module = root;
    for (let depth = 0; depth < parts.length - 1; depth++) {
      const label = parts[depth] ?? '';
      const modules = (module.modules ??= new Map<string, Module>());
      let next = modules.get(label);
      if (!next) {
        next = emptyModule(module.path === '' ? label : `${module.path}.${label}`, label);
        modules.set(label, next);
      }
      next.count++;
      next.bytes += bytes;
      module = next;
    }
    module.tensors.push(at);
  }
  return root;
}

const WHOLE = new WeakMap<Tensors['names'], Module>();

/** Of all tensors in the order of the file: kept, as opening one of 100,000 modules changes nothing of it. */
function wholeTree(tensors: Tensors): Module {
  const tree = WHOLE.get(tensors.names) ?? moduleTree(tensors, [...tensors.names.keys()]);
  WHOLE.set(tensors.names, tree);
  return tree;
}

/** A chain of modules with one child each is one row: `state_dict.model.layers`. */
function endOfChain(module: Module, blocks: Tensors['blocks']): Module {
  let own = module;
  while (own.tensors.length === 0 && own.modules?.size === 1 && !blocks.has(own.path)) {
    const [only = own] = own.modules.values();
    own = only;
  }
  return own;
}

/**
 * Rows of a tree by module path, `/` and `.` alike; modules first come where their first tensor is. Sorted, a module
 * stands where the first of its tensors would, and by its own size.
 *
 * @param collapsed paths of modules that are closed
 */
export function treeRows(
  tensors: Tensors,
  indices: readonly number[],
  sort: Sort | null,
  collapsed: ReadonlySet<string>,
): Row[] {
  const isWhole = !sort && indices.length === tensors.names.length;
  const tree = isWhole ? wholeTree(tensors) : moduleTree(tensors, sorted(tensors, indices, sort));
  return rowsOf(tree, tensors, sort, collapsed);
}

function rowsOf(root: Module, tensors: Tensors, sort: Sort | null, collapsed: ReadonlySet<string>): Row[] {
  const { blocks } = tensors;
  const rows: Row[] = [];
  const add = (module: Module, level: number): void => {
    for (const child of inOrder([...(module.modules?.values() ?? [])], blocks, sort)) {
      const own = endOfChain(child, blocks);
      const { path, count, bytes } = own;
      const block = blocks.get(path);
      const expanded = !collapsed.has(path);
      rows.push({
        kind: 'module',
        path,
        label: block === undefined ? child.label + path.slice(child.path.length) : `Block ${block}`,
        isBlock: block !== undefined,
        level,
        tensors: count,
        bytes,
        expanded,
      });
      if (expanded) {
        add(own, level + 1);
      }
    }
    for (const index of module.tensors) {
      rows.push({ kind: 'tensor', index, label: partsOf(tensors.names[index] ?? '').at(-1) ?? '', level });
    }
  };
  add(root, 1);
  return rows;
}

/** Files have names in the order of their letters, in which 10 comes before 2. */
function inOrder(modules: Module[], blocks: Tensors['blocks'], sort: Sort | null): Module[] {
  if (sort) {
    const sign = sort.descending ? -1 : 1;
    return sort.by === 'bytes' ? modules.sort((one, other) => sign * (one.bytes - other.bytes)) : modules;
  }
  return modules.every(({ path }) => blocks.has(path))
    ? modules.sort((one, other) => (blocks.get(one.path) ?? 0) - (blocks.get(other.path) ?? 0))
    : modules;
}

/** Some screens of rows, not a hundred thousand. */
const MOST_OPEN = 2000;
/** More tensors than this are looked at block by block. */
const MOST_OPEN_OF_BLOCKS = 100;

/** Paths of modules that a large file starts with closed: a transformer's blocks, or all where that is not enough. */
export function startCollapsed(tensors: Tensors): Set<string> {
  const { names, blocks } = tensors;
  if (names.length <= (blocks.size > 0 ? MOST_OPEN_OF_BLOCKS : MOST_OPEN)) {
    return new Set();
  }
  const tree = wholeTree(tensors);
  const closedBlocks = new Set(blocks.keys());
  return blocks.size > 0 && rowsOf(tree, tensors, null, closedBlocks).length <= MOST_OPEN
    ? closedBlocks
    : new Set(pathsIn(tree));
}

function pathsIn({ modules }: Module): string[] {
  const paths: string[] = [];
  for (const module of modules?.values() ?? []) {
    paths.push(module.path);
    for (const path of pathsIn(module)) {
      paths.push(path);
    }
  }
  return paths;
}

/** `12.3 MB`, powers of 1024. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toPrecision(value < 1000 ? 3 : 4)} ${units[unit] ?? ''}`;
}

/** Four digits; the title of a cell holds them all. */
export function formatNumber(value: number | null | undefined): string {
  if (value === null || value === undefined) {
    return '';
  }
  if (value === 0) {
    return '0';
  }
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(3) : value.toPrecision(4);
}

/** `2.5 %`, with `< 0.1 %` for little and nothing for none. */
export function formatShare(share: number): string {
  if (share === 0) {
    return '0 %';
  }
  return share < 0.001 ? '< 0.1 %' : `${(100 * share).toPrecision(3)} %`;
}
