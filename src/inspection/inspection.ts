import { statSync } from 'node:fs';
import { CancelledError, messageOf } from '../protocol/errors.js';
import type {
  DifferenceSummary,
  Directory,
  ElementText,
  FilterImages,
  Histogram,
  NonZeroRows,
  PictureRequest,
  Pictures,
  Slice,
  SliceRequest,
  TensorDifference,
  TensorStatistics,
} from '../protocol/inspection.js';
import { openTensorFile } from '../formats/open.js';
import type { TensorEntry, TensorFile } from '../formats/tensor-file.js';
import { fileKindOf } from '../kinds/file-kind.js';
import { filtersOf, readWindow, subtract, textOf, toCells } from './slices.js';
import { type Model, modelOf } from './model.js';
import { nonZeroRowsOf } from './non-zero-rows.js';
import { picturesOf } from './pictures.js';
import type { Pause } from './pieces.js';
import { differenceOf, histogramOf, statisticsOf } from './statistics.js';

/** One open file of the inspector, with what was computed of it; nothing is read that was not asked for. */

const HISTOGRAM_BINS = 80;

export class Inspection {
  private readonly file: TensorFile;
  private readonly model: Model | undefined;
  private other: TensorFile | undefined;
  private readonly statistics = new Map<number, TensorStatistics>();
  private readonly differences = new Map<number, TensorDifference>();
  /** By index here: the entry in the other file. */
  private counterparts = new Map<number, TensorEntry>();

  /** @throws UnusableInputError when the file cannot be opened */
  constructor(path: string) {
    this.file = openTensorFile(path);
    this.model = modelOf(this.file);
  }

  get path(): string {
    return this.file.path;
  }

  /** The open file, for whoever looks for what this room knows nothing of. */
  get tensors(): TensorFile {
    return this.file;
  }

  directory(): Directory {
    const { path, format, entries, foreignGlobals, notes } = this.file;
    return {
      path,
      format,
      fileBytes: statSync(path).size,
      kind: fileKindOf(this.file, false),
      names: entries.map(({ name }) => name),
      shapes: entries.map(({ shape }) => [...shape]),
      dtypes: entries.map(({ dtype }) => dtype),
      bytes: entries.map(({ bytes }) => bytes),
      buffers: entries.flatMap(({ role }, at) => (role === 'buffer' ? [at] : [])),
      globals: foreignGlobals.map(({ module, name, called, risk }) => ({ name: `${module}.${name}`, called, risk })),
      notes: [...notes],
      ...(this.model ? { model: this.model.report } : {}),
    };
  }

  /** The same judgement with a look into a few small tensors. */
  kind(): Directory['kind'] {
    return fileKindOf(this.file, true);
  }

  /**
   * Statistics of rows, in the order asked for, until the budget is spent; what is missing can be asked for again.
   *
   * @param pause called between pieces; what it throws ends the work
   */
  async statisticsOf(
    rows: readonly number[],
    budgetMs: number,
    pause: Pause,
  ): Promise<{ row: number; statistics: TensorStatistics }[]> {
    return this.within(rows, budgetMs, async (row) => {
      const known = this.statistics.get(row);
      const statistics = known ?? (await this.compute(row, pause));
      this.statistics.set(row, statistics);
      return { row, statistics };
    });
  }

  private async compute(row: number, pause: Pause): Promise<TensorStatistics> {
    try {
      return await statisticsOf(this.file, this.entry(row), pause);
    } catch (error) {
      if (error instanceof CancelledError) {
        throw error;
      }
      const nothing = { min: null, max: null, mean: null, std: null, norm: null, zeros: 0, nans: 0, infinities: 0 };
      return { ...nothing, problem: messageOf(error) };
    }
  }

  private async within<T>(rows: readonly number[], budgetMs: number, one: (row: number) => Promise<T>): Promise<T[]> {
    const started = performance.now();
    const done: T[] = [];
    for (const row of rows) {
      done.push(await one(row));
      if (performance.now() - started > budgetMs) {
        break;
      }
    }
    return done;
  }

  /**
   * Opens a second file to compare with; replaces an earlier one.
   *
   * @throws UnusableInputError when it cannot be opened
   */
  compare(path: string): DifferenceSummary {
    const other = openTensorFile(path);
    this.other?.close();
    this.other = other;
    this.differences.clear();
    const { entries } = this.file;
    const byName = new Map(other.entries.map((entry) => [bareName(entry), entry]));
    this.counterparts = new Map(
      entries.flatMap((entry, at) => {
        const match = byName.get(bareName(entry));
        return match ? [[at, match] as const] : [];
      }),
    );
    const how = this.counterparts.size > 0 ? 'names' : 'order';
    if (how === 'order' && entries.length === other.entries.length) {
      // Lists of gradients have no names to go by.
      this.counterparts = new Map(other.entries.map((entry, at) => [at, entry]));
    }
    const taken = new Set(this.counterparts.values());
    return {
      path,
      how,
      matched: this.counterparts.size,
      onlyThere: other.entries.filter((entry) => !taken.has(entry)).map(({ name }) => name),
    };
  }

  /** Ends the comparison. */
  compareNothing(): void {
    this.other?.close();
    this.other = undefined;
    this.counterparts.clear();
    this.differences.clear();
  }

  /** Differences of rows, as {@link statisticsOf}. */
  async differencesOf(
    rows: readonly number[],
    budgetMs: number,
    pause: Pause,
  ): Promise<{ row: number; difference: TensorDifference }[]> {
    return this.within(rows, budgetMs, async (row) => {
      const difference = this.differences.get(row) ?? (await this.compareRow(row, pause));
      this.differences.set(row, difference);
      return { row, difference };
    });
  }

  private async compareRow(row: number, pause: Pause): Promise<TensorDifference> {
    const entry = this.entry(row);
    const there = this.counterparts.get(row);
    const nothing = { most: null, relative: null, cosine: null };
    if (!there || !this.other) {
      return { status: 'only-here', ...nothing };
    }
    if (there.shape.join() !== entry.shape.join()) {
      return { status: 'other-shape', ...nothing };
    }
    try {
      return await differenceOf({ file: this.file, entry }, { file: this.other, entry: there }, pause);
    } catch (error) {
      if (error instanceof CancelledError) {
        throw error;
      }
      return { status: 'unreadable', ...nothing };
    }
  }

  /** @throws RangeError when the request does not fit the tensor */
  slice(row: number, request: SliceRequest): Slice {
    const entry = this.entry(row);
    const here = (): ReturnType<typeof readWindow> => readWindow(this.file, entry, request);
    if (request.of === 'here') {
      const { min, max } = this.statistics.get(row) ?? { min: null, max: null };
      const known = min === null || max === null ? undefined : Math.max(Math.abs(min), Math.abs(max));
      return toCells(here(), known);
    }
    const there = this.counterparts.get(row);
    if (!there || !this.other || there.shape.join() !== entry.shape.join()) {
      throw new RangeError('The other file holds no tensor of this name and shape.');
    }
    const theirs = readWindow(this.other, there, request);
    return toCells(request.of === 'there' ? theirs : subtract(here(), theirs), undefined);
  }

  async histogram(row: number, pause: Pause): Promise<Histogram> {
    const [own] = await this.statisticsOf([row], 0, pause);
    const { min, max, problem } = own!.statistics;
    if (min === null || max === null) {
      throw new RangeError(problem ?? 'No element of this tensor is finite.');
    }
    return histogramOf(this.file, this.entry(row), { low: min, high: max }, HISTOGRAM_BINS, pause);
  }

  text(row: number, start: number): ElementText {
    return textOf(this.file, this.entry(row), start);
  }

  filters(row: number, input: number): FilterImages {
    return filtersOf(this.file, this.entry(row), input);
  }

  /** @throws RangeError when the request does not fit the tensor, UnusableInputError when a picture is too large */
  pictures(row: number, request: PictureRequest): Pictures {
    return picturesOf(this.file, this.entry(row), request);
  }

  /** Which rows of a matrix are not zero, with their texts where a vocabulary lies beside the file. */
  rows(row: number, pause: Pause): Promise<NonZeroRows> {
    return nonZeroRowsOf(this.file, this.entry(row), this.model?.transformer, pause);
  }

  private entry(row: number): TensorEntry {
    const entry = this.file.entries[row];
    if (!entry) {
      throw new RangeError(`Row ${row} of ${this.file.entries.length}.`);
    }
    return entry;
  }

  close(): void {
    this.other?.close();
    this.file.close();
  }
}

/** Without what wrapping adds: `state_dict.module.fc.weight` and `fc.weight` are one parameter. */
function bareName({ key }: TensorEntry): string {
  return key.replace(/^(module\.|model\.|_orig_mod\.)+/, '').replace(/:0$/, '');
}
