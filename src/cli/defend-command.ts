import type { AuditPaths } from '../facts/inputs.js';
import { defend } from '../audit/defence/defend.js';
import { DEFENCE_IDS } from '../audit/defence/defence-ids.js';
import { readDefence } from '../audit/defence/stored-defence.js';
import { readImages, readStored } from '../audit/output.js';
import { writeOutput } from '../audit/output-folder.js';
import { upgradeReport } from '../audit/upgrade-report.js';
import { contentHashIfAny } from '../formats/content-hash.js';
import { renderHtml } from '../project/render-html.js';
import type { DefenceTarget } from '../protocol/defence-report.js';
import { DEFAULT_DELTA, type DefendRequest, type PrivacyRounds } from '../protocol/defend-request.js';
import { CancelledError } from '../protocol/errors.js';
import type { Report } from '../protocol/report.js';
import { privacyStatement } from '../defences/privacy/privacy-statement.js';
import { badArguments, didYouMean, numberOption, oneOf, parse, wholeOption } from './arguments.js';
import { exitCode, factsOfDefence } from './exit-code.js';
import { RECONSTRUCTION_OPTIONS, reconstructionRequest } from './reconstruction-options.js';
import { renderDefence } from './render-defence.js';

/** `gradleak defend`: which defence would stop the leaks of one update, and at which level. */

export interface DefendSurroundings {
  readonly print: (text: string) => void;
  readonly columns: number | undefined;
  readonly progress: (message: string) => void;
  /** The files are read. */
  readonly read: () => void;
  readonly reading: (path: string) => void;
  readonly pause: () => Promise<void>;
}

const MEASURES = ['label', 'feature', 'psnr', 'tokens', 'texts'] as const;

export async function defendDump(
  args: readonly string[],
  pathsOf: (checkpoint: string | undefined, gradients: string | undefined, folders: readonly string[]) => AuditPaths,
  surroundings: DefendSurroundings,
): Promise<number> {
  const { values, positionals } = parse(args, {
    checkpoint: { type: 'string' },
    gradients: { type: 'string' },
    head: { type: 'string' },
    target: { type: 'string' },
    defences: { type: 'string' },
    quick: { type: 'boolean', default: false },
    thorough: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    'total-time': { type: 'string' },
    delta: { type: 'string' },
    rounds: { type: 'string' },
    'sampling-rate': { type: 'string' },
    out: { type: 'string' },
    force: { type: 'boolean', default: false },
    html: { type: 'boolean', default: false },
    ...RECONSTRUCTION_OPTIONS,
  });
  const text = (name: string): string | undefined => {
    const value = values[name];
    return typeof value === 'string' ? value : undefined;
  };
  if (values.quick === true && values.thorough === true) {
    throw badArguments('--quick with --thorough', 'one of both');
  }
  const [out, head, target, defences] = [text('out'), text('head'), text('target'), text('defences')];
  const seconds = numberOption(text, 'total-time', 1);
  const paths = pathsOf(text('checkpoint'), text('gradients'), positionals);
  const request: DefendRequest = {
    audit: {
      ...paths,
      method: 'auto',
      force: values.force === true,
      reconstruction: reconstructionRequest(text),
      ...(out === undefined ? {} : { out }),
      ...(head === undefined ? {} : { head }),
    },
    ...(out === undefined ? {} : { out }),
    effort: values.thorough === true ? 'thorough' : 'quick',
    ...(target === undefined ? {} : { target: targetOption(target) }),
    privacy: privacyRounds(text),
    ...(defences === undefined ? {} : { defences: defences.split(',').map(defenceOption) }),
    ...(seconds === undefined ? {} : { timeLimitSeconds: seconds }),
  };
  const audit = values.html === true ? await auditIn(out, paths.gradients, surroundings.pause) : undefined;
  surroundings.reading(paths.gradients);
  const report = await defend(request, {
    progress: ({ message }) => {
      surroundings.progress(message);
    },
    read: () => {
      surroundings.read();
    },
    pause: () => surroundings.pause(),
  });
  surroundings.print(
    values.json === true ? `${JSON.stringify(report, undefined, 1)}\n` : renderDefence(report, surroundings.columns),
  );
  if (out !== undefined && audit) {
    const page = renderHtml(audit, readImages(out, audit), { defence: readDefence(out) });
    writeOutput(out, 'report.html', page, values.force === true);
  }
  if (report.status === 'stopped') {
    throw new CancelledError(true);
  }
  return exitCode(factsOfDefence(report));
}

/**
 * The report that a page shows beside the sweep.
 *
 * @throws UnusableInputError where the folder holds none of this gradient
 */
async function auditIn(out: string | undefined, gradients: string, pause: () => Promise<void>): Promise<Report> {
  const report = out === undefined ? undefined : upgradeReport(readStored(out));
  const hash = await contentHashIfAny(gradients, pause);
  if (!report?.inputs.files?.some(({ role, sha256 }) => role === 'gradient' && sha256 === hash)) {
    throw badArguments(
      `--html, and in --out ${report ? 'the report of another gradient' : 'no report of an audit'}`,
      'a folder that "gradleak audit --out" wrote for this gradient',
      'The page shows what that audit found, and what the defences leave of it: run it first.',
    );
  }
  return report;
}

/** @throws UnusableInputError for what is no number, or none of its kind */
function privacyRounds(text: (name: string) => string | undefined): PrivacyRounds {
  const delta = numberOption(text, 'delta', 0);
  const rounds = wholeOption(text, 'rounds', 1);
  const samplingRate = numberOption(text, 'sampling-rate', 0);
  const asked = {
    ...(delta === undefined ? {} : { delta }),
    ...(rounds === undefined ? {} : { rounds }),
    ...(samplingRate === undefined ? {} : { samplingRate }),
  };
  // Numbers out of range are refused before minutes of work.
  privacyStatement({
    noiseMultiplier: 1,
    clipNorm: 1,
    delta: DEFAULT_DELTA,
    ...asked,
    unit: 'sample',
    adjacency: 'add or remove one',
  });
  return asked;
}

function defenceOption(id: string): string {
  return oneOf('--defences', id, DEFENCE_IDS) ?? id;
}

/** `label=0.1,psnr=15`. @throws UnusableInputError for what is no measure with a number */
export function targetOption(given: string): DefenceTarget['asked'] {
  const asked: DefenceTarget['asked'] = {};
  for (const part of given.split(',')) {
    const [name = '', value = ''] = part.split('=');
    const measure = MEASURES.find((own) => own === name.trim());
    const limit = Number(value);
    if (!measure || value.trim() === '' || !Number.isFinite(limit) || limit < 0) {
      throw badArguments(
        `--target ${part}`,
        'label, feature, psnr, tokens or texts with a number, such as label=0.1,psnr=15,tokens=0',
        measure ? undefined : didYouMean(name, MEASURES),
      );
    }
    asked[measure] = limit;
  }
  return asked;
}
