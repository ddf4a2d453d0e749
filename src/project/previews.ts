import { averageBlocks } from '../formats/average-blocks.js';
import type { PanelImage } from '../protocol/panel-messages.js';
import type { ProjectReport } from '../protocol/project-report.js';
import type { Report } from '../protocol/report.js';
import type { EntryPreview, PreviewPicture } from '../protocol/summary-messages.js';
import { hasInputsOrTexts } from '../words/outcome-words.js';
import { beginningOf, textsOf } from '../words/recovered-texts.js';

/** What an audit recovered, as the summary of a project shows it: a few pictures of the size of a tile, and how texts begin. */

const MOST_PICTURES = 3;
const MOST_TEXTS = 2;
const MOST_LETTERS = 180;
/** Pixels on a side. */
const MOST_PIXELS = 64;

/** The report with no more pictures of recovered inputs than a preview shows, so that no others are read. */
export function reportForPreview(report: Report): Report {
  const samples = report.samples.filter(({ reconstruction }) => isRecovered(reconstruction?.verdict));
  // A leak that gives no inputs away shows feature maps.
  const leaks = report.leaks.filter(({ gives }) => gives.inputs > 0);
  return {
    ...report,
    samples: samples.slice(0, MOST_PICTURES),
    leaks: leaks.map((leak) => ({
      ...leak,
      details: leak.details.filter(({ type }) => type === 'picture').slice(0, MOST_PICTURES),
    })),
  };
}

function isRecovered(verdict: string | undefined): boolean {
  return verdict === 'exact' || verdict === 'close';
}

/** @param images as read for {@link reportForPreview} */
export function previewOf(id: string, report: Report, images: readonly PanelImage[]): EntryPreview {
  return {
    id,
    pictures: images.slice(0, MOST_PICTURES).map(smaller),
    texts: textsOf(report)
      .slice(0, MOST_TEXTS)
      .map((own) => beginningOf(own, MOST_LETTERS)),
  };
}

/** A page that is passed on stays small enough to be mailed. */
const MOST_PAGE_LETTERS = 16 * 2 ** 20;

/**
 * Of the entries that gave inputs or texts away, in their order, as many as a page has room for.
 *
 * @param previewOf reads what one entry's audit recovered
 */
export function previewsForPage(
  { entries }: ProjectReport,
  previewOf: (id: string) => EntryPreview | undefined,
): EntryPreview[] {
  const previews: EntryPreview[] = [];
  let room = MOST_PAGE_LETTERS;
  for (const { id } of entries.filter(hasInputsOrTexts)) {
    const preview = previewOf(id);
    if (preview && preview.pictures.length + preview.texts.length > 0) {
      room -= JSON.stringify(preview).length;
      if (room < 0) {
        break;
      }
      previews.push(preview);
    }
  }
  return previews;
}

/** Down to the size of a tile; what is no image is drawn as a map of its numbers. */
function smaller({ shape, values, normalisation }: PanelImage): PreviewPicture {
  const isImage = shape.length === 3;
  const [channels = 1, height = 1, width = 1] = isImage ? shape : [1, 1, shape.reduce((all, own) => all * own, 1)];
  const step = Math.ceil(isImage ? Math.max(height, width) / MOST_PIXELS : width / MOST_PIXELS ** 2);
  if (step <= 1) {
    return { shape, values, normalisation };
  }
  const [rows, columns] = [Math.ceil(height / step), Math.ceil(width / step)];
  const averages = averageBlocks(floatsOf(values), {
    channels,
    rows: height,
    columns: width,
    channelStride: height * width,
    rowStride: width,
    columnStride: 1,
    every: step,
  });
  return {
    shape: isImage ? [channels, rows, columns] : [columns],
    values: Buffer.from(new Float32Array(averages).buffer).toString('base64'),
    normalisation,
  };
}

function floatsOf(base64: string): Float32Array {
  const bytes = Buffer.from(base64, 'base64');
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}
