import { type TemplateResult, html } from 'lit';
import type { ReconstructionReport, Report } from '../../src/protocol/report.js';
import { NORMALISATIONS, type Normalisation } from '../../src/protocol/normalisations.js';
import { counted } from '../../src/words/count-words.js';
import { term } from '../ui/term.js';
import { button, tag } from '../ui/toolkit.js';
import { short } from '../../src/words/report-words.js';
import { decibels } from '../../src/words/truth-words.js';
import { fact } from './feature-strip.js';
import { lossCurve } from './loss-curve.js';
import {
  type Picture,
  type PictureView,
  asPicture,
  fittingZoom,
  isPicture,
  pictureFigure,
  rangeOf,
} from './picture.js';

/** The reconstructed input of a sample: the picture, what it rests on, and the truth beside it when it is known. */

export interface PanelPicture {
  /** Whose input it is, null for another picture. */
  readonly sample: number | null;
  readonly file: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
  readonly truth: Float32Array | undefined;
  readonly normalisation: Normalisation | undefined;
}

/** How pictures are shown; the user's choice. */
export interface PictureChoice {
  readonly normalisation: 'auto' | 'capture' | 'cifar10' | 'imagenet';
  readonly channel: number;
  /** {@link TO_SIZE} enlarges small pictures. */
  readonly zoom: number;
  readonly amplify: number;
}

export interface ReconstructionActions {
  savePicture: (id: string) => void;
  saveInput: (() => void) | undefined;
  setPicture: (choice: PictureChoice) => void;
}

export const TO_SIZE = 0;

/** Factors by which a difference to the truth can be amplified. */
export const AMPLIFICATIONS: readonly number[] = [1, 10, 100, 1e3, 1e4, 1e5, 1e6];

const VERDICTS: Record<ReconstructionReport['verdict'], string> = {
  exact: 'Exact',
  close: 'Close',
  uncertain: 'Not confirmed',
  failed: 'Not found',
};

/** How the input came out. */
export function inputHeading(own: ReconstructionReport): TemplateResult {
  return html`<h3 class="with-tag">
    The input
    ${tag(own.method === 'none' ? 'Not reconstructed' : VERDICTS[own.verdict])}${own.usedTruth ? tag('with the true label') : ''}
  </h3>`;
}

/** The input with what it is compared with, a cell each. */
export function inputPictures(picture: PanelPicture, choice: PictureChoice): TemplateResult {
  const found = asPicture(picture.shape, picture.values);
  const truth = picture.truth && asPicture(picture.shape, picture.truth);
  const view: PictureView = {
    normalisation: normalisationOf(picture, choice),
    channel: choice.channel,
    zoom: zoomOf(found, choice),
    range: rangeOf((truth ?? found).values),
  };
  const id = idOf(picture);
  return html`
    ${pictureFigure(found, view, isPicture(picture.shape) ? 'Reconstructed from the gradient' : 'Reconstructed numbers', id)}
    ${truth ? pictureFigure(truth, view, 'True input', `${id}-truth`) : ''}
    ${
      truth
        ? pictureFigure(
            difference(found, truth, choice.amplify),
            { ...view, normalisation: undefined, range: [-0.5, 0.5] },
            `Difference x ${choice.amplify}`,
            `${id}-difference`,
          )
        : ''
    }
  `;
}

/** Why it is believed or not, how far it is from the truth, and how it is drawn and saved. */
export function inputNotes(
  own: ReconstructionReport,
  picture: PanelPicture | undefined,
  choice: PictureChoice,
  actions: ReconstructionActions,
): TemplateResult {
  return html`
    <p>${own.reason}</p>
    ${own.method === 'none' ? '' : errorsOf(own)} ${picture ? pictureControls(picture, choice, actions) : ''}
  `;
}

function errorsOf(own: ReconstructionReport): TemplateResult | string {
  const errors = [
    own.psnr === undefined ? '' : fact('PSNR', decibels(own.psnr)),
    own.psnrFitted === undefined ? '' : fact('PSNR, brightness fitted', decibels(own.psnrFitted)),
    own.psnr8bit === undefined ? '' : fact('PSNR in 8 bits', decibels(own.psnr8bit)),
    own.ssim === undefined ? '' : fact('SSIM', own.ssim.toFixed(4)),
    own.mse === undefined ? '' : fact('MSE', own.mse.toExponential(2)),
    own.lpips === undefined ? '' : fact('LPIPS', own.lpips.toFixed(4)),
  ].filter((error) => error !== '');
  return errors.length === 0 ? '' : html`<dl class="facts" aria-label="Against the true input">${errors}</dl>`;
}

/** How it was found, and the network that it was found through. */
export function reconstructionEvidence(report: Report, own: ReconstructionReport): TemplateResult | string {
  return own.method === 'none'
    ? networkPart(report)
    : html`
        <h3>How the input was found</h3>
        <dl class="facts">
          ${fact('method', own.by)} ${fact('time', `${own.seconds.toFixed(1)} s`)}
          ${own.gradientError === null ? '' : fact('gradient error', own.gradientError.toExponential(1))}
          ${own.expectedError === null ? '' : fact('expected error', own.expectedError.toExponential(1))}
          ${own.matchingLoss === null ? '' : fact('matching loss', own.matchingLoss.toExponential(2))}
        </dl>
        ${own.chain.length > 0 ? chainTable(own) : ''} ${matchingPart(report, own)} ${networkPart(report)}
      `;
}

function idOf({ sample, file }: PanelPicture): string {
  return `picture-${sample ?? file}`;
}

function pictureControls(picture: PanelPicture, choice: PictureChoice, actions: ReconstructionActions): TemplateResult {
  return html`<details class="fold">
    <summary>Colours, zoom and saving of the picture</summary>
    <div class="picture-controls">
      ${select('Normalisation', choice.normalisation, normalisationChoices(picture), (value) => {
        actions.setPicture({ ...choice, normalisation: value });
      })}
      ${select(
        'Channel',
        String(choice.channel),
        [['-1', picture.shape[0] === 3 ? 'colour' : 'first'], ...channels(asPicture(picture.shape, picture.values))],
        (value) => {
          actions.setPicture({ ...choice, channel: Number(value) });
        },
      )}
      ${select(
        'Zoom',
        String(choice.zoom),
        [[String(TO_SIZE), 'to fit'], ...[1, 2, 4, 8, 16].map((zoom): [string, string] => [String(zoom), `${zoom} x`])],
        (value) => {
          actions.setPicture({ ...choice, zoom: Number(value) });
        },
      )}
      ${
        picture.truth
          ? select(
              'Amplify difference',
              String(choice.amplify),
              AMPLIFICATIONS.map((own) => [String(own), `${own} x`]),
              (value) => {
                actions.setPicture({ ...choice, amplify: Number(value) });
              },
            )
          : ''
      }
      ${button({
        label: 'Save picture',
        title: 'Save picture (PNG): the reconstruction as it is drawn',
        onClick: () => {
          actions.savePicture(idOf(picture));
        },
      })}
      ${actions.saveInput ? button({ label: 'Save numbers', title: "Save numbers (.npy): the reconstruction in the input's own units", onClick: actions.saveInput }) : ''}
    </div>
  </details>`;
}

function zoomOf({ shape }: Picture, { zoom }: PictureChoice): number {
  return zoom === TO_SIZE ? fittingZoom(shape) : zoom;
}

function channels({ shape }: Picture): [string, string][] {
  const count = shape[0] ?? 1;
  return count > 1 ? Array.from({ length: count }, (_, at): [string, string] => [String(at), `channel ${at}`]) : [];
}

function normalisationChoices({ normalisation, shape }: PanelPicture): [PictureChoice['normalisation'], string][] {
  return [
    ['auto', "picture's own range"],
    ...(normalisation ? ([['capture', 'as in the report']] as const) : []),
    ...(shape[0] === 3
      ? ([
          ['cifar10', 'CIFAR-10'],
          ['imagenet', 'ImageNet'],
        ] as const)
      : []),
  ].map(([value, label]) => [value, label] as [PictureChoice['normalisation'], string]);
}

export function normalisationOf(picture: PanelPicture, choice: PictureChoice): PictureView['normalisation'] {
  switch (choice.normalisation) {
    case 'auto':
      return undefined;
    case 'capture':
      return picture.normalisation;
    default:
      return NORMALISATIONS[choice.normalisation];
  }
}

function difference(found: Picture, truth: Picture, amplify: number): Picture {
  return { shape: found.shape, values: found.values.map((value, at) => (value - (truth.values[at] ?? NaN)) * amplify) };
}

function select<T extends string>(
  label: string,
  value: T,
  options: readonly (readonly [T, string])[],
  onChange: (value: T) => void,
): TemplateResult {
  return html`<label class="select"
    >${label}
    <select
      @change=${(event: Event) => {
        const picked = options.find(([own]) => own === (event.target as HTMLSelectElement).value);
        if (picked) {
          onChange(picked[0]);
        }
      }}
    >
      ${options.map(([own, name]) => html`<option value=${own} ?selected=${own === value}>${name}</option>`)}
    </select></label
  >`;
}

function chainTable({ chain }: ReconstructionReport): TemplateResult {
  return html`
    <h3>Layer by layer, from the head down</h3>
    <div class="scroll" tabindex="0" role="region" aria-label="Evidence of each layer">
      <table>
        <thead>
          <tr>
            <th scope="col">Layer</th>
            ${['Unknowns', 'Equations', 'Rank', 'Condition', 'Unexplained', 'Expected error'].map((name) => html`<th scope="col">${term(name)}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${chain.map(
            (layer) =>
              html`<tr>
                <th scope="row">${layer.layer} (${layer.op})</th>
                <td class="number">${layer.unknowns}</td>
                <td class="number">${layer.equations}</td>
                <td class="number ${layer.rank < layer.unknowns ? 'differs' : ''}">${layer.rank}</td>
                <td class="number">${short(layer.condition)}</td>
                <td class="number">${layer.residual.toExponential(1)}</td>
                <td class="number">${layer.inputError.toExponential(1)}${layer.converged ? '' : ', not converged'}</td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>
  `;
}

function matchingPart({ engine }: Report, { matching }: ReconstructionReport): TemplateResult | string {
  if (!matching) {
    return '';
  }
  return html`
    <h3>Gradient matching</h3>
    ${lossCurve(matching.curves)}
    <dl class="facts wide">
      ${fact('settings', `${matching.preset}: ${matching.distance}, terms ${matching.terms}, labels ${matching.labels}, ${matching.optimiser}`)}
      ${fact('iterations', `${matching.done}, ${matching.millisecondsPerIteration.toPrecision(3)} ms each`)}
      ${engine ? fact('engine', `${engine.description}. ${engine.reasons.join('; ')}.`) : ''}
    </dl>
  `;
}

function networkPart({ network }: Report): TemplateResult | string {
  return network
    ? html`<dl class="facts wide">
        ${fact('network', `${network.name}, ${network.inputShape.join(' x ')}, ${counted(network.layers, 'layer')}`)}
        ${fact('known from', `${network.reasons.join('; ')}.`)}
      </dl>`
    : '';
}
