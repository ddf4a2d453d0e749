import { type TemplateResult, html } from 'lit';
import type { Report, SampleReport } from '../../src/protocol/report.js';
import { confidenceInDigits, labelInShort, percent } from '../../src/words/label-words.js';
import { className } from '../../src/words/report-words.js';
import { asPicture, isPicture, smallPicture } from './picture.js';
import { type PanelPicture, type PictureChoice, normalisationOf } from './reconstruction-view.js';

/** Every sample of a batch as a tile; the one chosen is shown in full below. */

export interface Gallery {
  readonly report: Report;
  readonly pictures: readonly PanelPicture[];
  readonly picture: PictureChoice;
  readonly selected: number;
}

export function galleryView(gallery: Gallery, select: (sample: number) => void): TemplateResult {
  const { report } = gallery;
  const { batch, samples } = report;
  const of = batch.size === null ? `at least ${batch.lowerBound}` : String(batch.size);
  const explained =
    batch.explained === undefined ? '' : `Together they explain ${percent(batch.explained)} of the head's gradient`;
  return html`
    <section aria-labelledby="gallery">
      <h2 id="gallery">Samples: ${batch.found ?? samples.length} of ${of}</h2>
      <p>${batch.evidence}${explained ? html` <span class="muted">${explained}.</span>` : ''}</p>
      <div class="gallery" role="group" aria-label="Samples of the batch">
        ${samples.map((sample, index) => tile(gallery, sample, index, select))}
      </div>
    </section>
  `;
}

function tile(
  { report, pictures, picture, selected }: Gallery,
  sample: SampleReport,
  index: number,
  select: (sample: number) => void,
): TemplateResult {
  const image = pictures.find((own) => own.sample === index);
  const count = sample.multiplicity ?? 1;
  const share = sample.share === undefined ? '' : `${percent(sample.share)} of the gradient`;
  return html`<button
    class="tile"
    type="button"
    aria-pressed=${index === selected ? 'true' : 'false'}
    @click=${() => {
      select(index);
    }}
  >
    ${image && isPicture(image.shape) ? thumbnail(image, picture) : ''}
    <span class="tile-label"
      >${labelInShort(sample, (at) => className(report, at))}${count > 1 ? ` × ${count}` : ''}</span
    >
    <span class="tile-detail">Sample ${index + 1}${share ? ` · ${share}` : ''}</span>
    <span class="tile-detail">confidence ${confidenceInDigits(sample.label.classConfidence ?? sample.confidence)}</span>
  </button>`;
}

function thumbnail(image: PanelPicture, choice: PictureChoice): TemplateResult {
  return smallPicture(asPicture(image.shape, image.values), normalisationOf(image, choice), {
    className: 'tile-picture',
  });
}
