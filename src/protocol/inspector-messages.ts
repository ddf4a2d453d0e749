import type {
  DifferenceSummary,
  Directory,
  ElementText,
  FileFindings,
  FileKindReport,
  FilterImages,
  Histogram,
  Index,
  NonZeroRows,
  PictureRequest,
  Pictures,
  Slice,
  SliceRequest,
  TensorDifference,
  TensorStatistics,
} from './inspection.js';

/** What host and inspector say to each other. `from-inspector.schema.json` is generated from these types. */

/** Host to inspector. */
export type ToInspector =
  /** Everything of the directory but its rows, which follow in parts. */
  | { t: 'directory'; about: DirectoryHeader }
  | { t: 'rows'; from: number; rows: DirectoryRows }
  | { t: 'kind'; kind: FileKindReport }
  | { t: 'findings'; of: FileFindings }
  | { t: 'statistics'; of: { row: number; statistics: TensorStatistics }[] }
  | { t: 'difference'; summary: DifferenceSummary | null }
  | { t: 'differences'; of: { row: number; difference: TensorDifference }[] }
  | { t: 'look'; id: number; result: LookResult }
  | { t: 'look-failed'; id: number; sentence: string }
  /** The newest audit that the file took part in, null without any. */
  | { t: 'audited'; audit: { standing: string; sentence: string } | null }
  /** The file cannot be shown; what was shown before stays. */
  | { t: 'problem'; sentence: string };

export type DirectoryHeader = Omit<Directory, keyof DirectoryRows | 'buffers'> & { tensors: number; buffers: number[] };
export type DirectoryRows = Pick<Directory, 'names' | 'shapes' | 'dtypes' | 'bytes'>;

/** Answer of one look. */
export type LookResult =
  | { what: 'slice'; slice: Slice }
  | { what: 'histogram'; histogram: Histogram }
  | { what: 'text'; text: ElementText }
  | { what: 'filters'; filters: FilterImages }
  | { what: 'pictures'; pictures: Pictures }
  | { what: 'rows'; rows: NonZeroRows };

/** @discriminator what */
export type LookAt =
  | { what: 'slice'; row: Index; request: SliceRequest }
  | { what: 'histogram'; row: Index }
  | { what: 'text'; row: Index; start: Index }
  | { what: 'filters'; row: Index; input: Index }
  | { what: 'pictures'; row: Index; request: PictureRequest }
  | { what: 'rows'; row: Index };

/**
 * Inspector to host.
 *
 * @discriminator t
 */
export type FromInspector =
  | { t: 'ready' }
  /** Rows on screen without numbers; answered in part, the rest is asked for again. */
  | { t: 'need'; rows: Index[]; differences: boolean }
  /** Takes the place of the one before, which is given up. */
  | { t: 'look'; id: Index; at: LookAt }
  /** The open tensor is closed: what is still being read for it is given up. */
  | { t: 'look-away' }
  /** With this file as what it is: a sure checkpoint takes that part, and a gradient is asked for. */
  | { t: 'audit' }
  /** Show the audit that `audited` told of. */
  | { t: 'show-audit' }
  | { t: 'compare' }
  | { t: 'compare-nothing' }
  | { t: 'copy'; text: string };

/** Kept across a window reload. */
export interface InspectorState {
  filter: string;
  flat: boolean;
  sort: { by: string; descending: boolean } | null;
  selected: number | null;
}
