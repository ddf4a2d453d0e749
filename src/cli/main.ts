import { existsSync, statSync } from 'node:fs';
import { CancelledError, UnusableInputError, messageOf } from '../protocol/errors.js';
import {
  ATTACKS,
  type AuditRequest,
  ENGINE_CHOICES,
  LAYOUTS,
  type Layout,
  METHODS,
  READING_STAGES,
} from '../protocol/audit-request.js';
import { NORMALISATION_CHOICES } from '../protocol/normalisations.js';
import type { Reading } from '../protocol/deadlines.js';
import { SEVERITIES, type Severity } from '../protocol/report.js';
import type { StatedTraining } from '../protocol/stated-training.js';
import { findTraps } from '../methods/imprint-trap/traps.js';
import type { AuditHooks } from '../facts/hooks.js';
import { type AuditPaths, isCapture, pathsInFolder } from '../facts/inputs.js';
import { readImages } from '../audit/output.js';
import { writeOutput } from '../audit/output-folder.js';
import { minimise } from '../audit/minimise.js';
import { mismatchError, runAudit } from '../audit/run-audit.js';
import { TOOL_VERSION } from '../audit/version.js';
import { ACCOUNTANTS } from '../defences/privacy/accountants.js';
import { openTensorFile } from '../formats/open.js';
import { modelOf } from '../inspection/model.js';
import { openOf } from '../words/outcome-words.js';
import { TRAINING_EXAMPLE, trainingOf } from '../words/training-words.js';
import { badArguments, didYouMean, numberOption, oneOf, parse, textOf, wholeOption } from './arguments.js';
import { EXIT, EXIT_TABLE, exitCode, factsOfProject, factsOfReport } from './exit-code.js';
import { RECONSTRUCTION_OPTIONS, reconstructionRequest } from './reconstruction-options.js';
import { auditProject } from './audit-project.js';
import { compare } from './compare.js';
import { ADJACENCY_NAMES, UNIT_NAMES, epsilon } from './epsilon.js';
import { defendDump } from './defend-command.js';
import { renderError } from './render-error.js';
import { renderDoctor } from './render-doctor.js';
import { renderHtml } from '../project/render-html.js';
import { renderProject } from './render-project.js';
import { renderListing, renderMinimised, renderReport } from './render-text.js';

/** The `gradleak` command: the same audit as the editor's, for terminals and CI. */

const COMMANDS = ['audit', 'compare', 'defend', 'epsilon', 'minimise', 'doctor', 'inspect'];

const HELP = `gradleak ${TOOL_VERSION} - what a captured gradient gives away

  gradleak audit FOLDER                                 a folder with checkpoint.* (or model.safetensors,
                                                        as Hugging Face saves it) and gradient.*
  gradleak audit --checkpoint C --gradients G [options]
  gradleak audit --gradients G                          what a gradient gives away without its checkpoint
  gradleak audit PROJECT [options]                      a folder of many dumps: each with the checkpoint that fits it
  gradleak compare A B [--fail-on SEVERITY]             what leaked in two audits, or two projects: folders or report.json
  gradleak epsilon --noise-multiplier X --delta D       the (epsilon, delta) that clipping and noise promise
  gradleak defend FOLDER [options]                      what would stop each leak: defences tried at rising levels
  gradleak minimise FOLDER --out DIR                    a dump for an issue report: audited like yours, with little of it
  gradleak doctor                                       which engines work here, and what the others need
  gradleak inspect FILE [--format text|json]            list the tensors of a file without running anything in it

Options of audit
  --head NAME          the classifier head's weight or layer, when it is not found by itself
  --layout auto|kxd|dxk
                       classes x features as in PyTorch, or features x classes as in Keras and Flax
  --method ${METHODS.join('|')}  auto (default), or the published search of Wang, Liang, He (ICLR 2024)
  --batch-size N       number of samples in the gradient, when you know it; else it is found
  --training LINE      how a client trained between the weights before and after, such as
                       ${TRAINING_EXAMPLE}
  --batch-time-limit SECONDS
                       the search for a batch's samples ends with what it has (default 120)
  --attack ${ATTACKS.join('|')}
                       reconstruct the input: exactly where the network allows it, else by gradient matching (default auto)
  --model FILE         the network: ONNX, Keras (.keras, .h5, model.json) or a recipe; else recognised where possible
  --input-shape CxHxW  shape of one input, when nothing else tells it
  --preset NAME        gradient matching as published: dlg, idlg, inverting-gradients, soft-label (default)
  --engine NAME        ${ENGINE_CHOICES.slice(0, 5).join(', ')},
                       ${ENGINE_CHOICES.slice(5).join(', ')}
  --tfjs-folder FOLDER whose node_modules holds @tensorflow/tfjs-node-gpu
  --time-limit SECONDS gradient matching is shortened to fit (default 600)
  --distance l2|cosine, --terms g|f|gf, --feature-weight X, --labels recovered|hard|free|true, --total-variation X,
  --norm-prior X, --optimiser adam|lbfgs, --learning-rate X, --iterations N, --restarts N, --seed N
                       settings that differ from the preset's
  --normalisation NAME ${NORMALISATION_CHOICES.join(', ')}: how inputs were normalised, for pictures
                       (default capture: as capture.json says)
  --mean A,B,C, --std A,B,C
                       a custom normalisation, one number for each channel
  --lpips FILE         ONNX model of LPIPS, to measure with --truth
  --truth FILE         JSON with "labels" and "feature": adds errors to the report; takes part only with --labels true
  --jobs N             projects: audits at a time (default half the cores)
  --exclude GLOB       projects: leave out what matches, several with commas
  --include-ignored    projects: also what .gitignore leaves out
  --fresh              projects: audit again what was audited before
  --out DIR            write report.json and features.npy (never replaces files of others without --force)
  --html               with --out: also write report.html, the results panel as one file; projects: one of each dump,
                       which the project's page leads to
  --format text|json   what to print (default text)
  --fail-on SEVERITY   exit 1 when a finding is critical, high, medium or low, or worse
  --trace FILE         write what each method saw and decided, one JSON object a line; none of the tensors' numbers
  --force              replace files in DIR

Options of compare
  --fail-on SEVERITY   exit 1 when a leak of at least this severity is in B that was not in A, or is worse there
  --json               print the comparison as JSON

Options of epsilon
  --epsilon E          in place of --noise-multiplier: the least noise that gives this epsilon
  --clip-norm C        largest norm of a unit's part of the sum (default 1); the noise is multiplier x clip norm
  --rounds T, --sampling-rate Q
                       sums that are released, and with which probability a unit takes part in each (default 1 and 1)
  --unit ${UNIT_NAMES.join('|')}, --adjacency ${ADJACENCY_NAMES.join('|')}
                       what is protected (default ${UNIT_NAMES[0]}), and against which change (default ${ADJACENCY_NAMES[0]})
  --population N       how many units there are
  --accountant ${ACCOUNTANTS.join('|')}
                       orders and sums as in this library (default ${ACCOUNTANTS[0]})
  --json               print numbers and sentences as JSON

Options of defend: --checkpoint, --gradients, --head, --out, --force and those of the reconstruction as above, and
  --target MEASURE=LIMIT,...
                       the smallest level that leaves no more: label=0.1 (share of guesses), psnr=15 (dB), feature=0.5
                       (relative error), tokens=0, texts=0 (shares); prints settings for Opacus, Flower, TensorFlow Privacy
  --quick, --thorough  halve between levels in about half a minute (default), or try every one
  --defences ID,...    only these
  --total-time SECONDS end after this long with what there is
  --json               print defence.json instead of the table; --out writes it with the pictures of what is left

  --help, --version

A project's report.json, report.html and report.sarif go to --out, by default PROJECT/gradleak-report. Inputs are computed in
closed form only unless --attack says otherwise. Stopped with Ctrl+C, it goes on from there the next time.

Exit codes, the first that applies
${EXIT_TABLE.map(([code, meaning]) => `  ${String(code).padStart(3)}  ${meaning}`).join('\n')}
`;

/** What a run of the command needs of its surroundings; tests give their own. */
export interface CliSurroundings {
  readonly print: (text: string) => void;
  readonly printError: (text: string) => void;
  /** True once the user has asked to stop. */
  readonly cancelled: () => boolean;
  /** Called by what ends its own children when it is asked to stop, and may take longer than others. */
  readonly endsItself?: () => void;
  /** Called before what a file can hold up for ever, and with null after it. */
  readonly reading?: (reading: { path: string; what: Reading } | null) => void;
  /** A line that the next one replaces; nothing when nobody watches. */
  readonly progress: (message: string) => void;
  /** Columns of the terminal, undefined when the output is not one. */
  readonly columns: number | undefined;
}

/** Runs the command; never throws. Returns the exit code. */
export async function runCli(args: readonly string[], surroundings: CliSurroundings): Promise<number> {
  try {
    return await dispatch(args, surroundings);
  } catch (error) {
    if (error instanceof CancelledError) {
      surroundings.printError(`${error.message}\n`);
      return exitCode({ cancelled: true });
    }
    surroundings.printError(renderError(error));
    return exitCode(error instanceof UnusableInputError ? { unusable: true } : { fault: true });
  }
}

async function dispatch(args: readonly string[], surroundings: CliSurroundings): Promise<number> {
  const [command, ...rest] = args;
  if (command === '--version' || command === '-v') {
    surroundings.print(`${TOOL_VERSION}\n`);
    return EXIT.done;
  }
  if (
    command === undefined ||
    command === '--help' ||
    command === '-h' ||
    command === 'help' ||
    rest.includes('--help') ||
    rest.includes('-h')
  ) {
    surroundings.print(HELP);
    return command === undefined ? EXIT.unusable : EXIT.done;
  }
  switch (command) {
    case 'audit':
      return audit(rest, surroundings);
    case 'compare':
      return compare(rest, surroundings);
    case 'epsilon':
      return epsilon(rest, surroundings);
    case 'defend': {
      const hooks = hooksOf(surroundings);
      return defendDump(rest, auditPaths, {
        print: surroundings.print,
        columns: surroundings.columns,
        progress: surroundings.progress,
        reading: (path) => surroundings.reading?.({ path, what: 'dump' }),
        read: () => surroundings.reading?.(null),
        pause: () => hooks.pause(),
      });
    }
    case 'minimise':
      return minimiseDump(rest, surroundings);
    case 'inspect':
      return inspect(rest, surroundings);
    case 'doctor':
      return doctor(rest, surroundings);
    default:
      throw badArguments(
        `the command "${command}"`,
        COMMANDS.join(', '),
        existsSync(command)
          ? `Did you mean gradleak ${statSync(command).isDirectory() ? 'audit' : 'inspect'} ${command}?`
          : didYouMean(command, COMMANDS),
      );
  }
}

async function audit(args: readonly string[], surroundings: CliSurroundings): Promise<number> {
  const { values, positionals } = parse(args, {
    checkpoint: { type: 'string' },
    gradients: { type: 'string' },
    head: { type: 'string' },
    layout: { type: 'string' },
    method: { type: 'string', default: 'auto' },
    'batch-size': { type: 'string' },
    training: { type: 'string' },
    'batch-time-limit': { type: 'string' },
    truth: { type: 'string' },
    out: { type: 'string' },
    html: { type: 'boolean', default: false },
    format: { type: 'string', default: 'text' },
    'fail-on': { type: 'string' },
    force: { type: 'boolean', default: false },
    trace: { type: 'string' },
    jobs: { type: 'string' },
    exclude: { type: 'string' },
    'include-ignored': { type: 'boolean', default: false },
    fresh: { type: 'boolean', default: false },
    ...RECONSTRUCTION_OPTIONS,
  });
  const text = textOf(values);
  const format = oneOf('--format', text('format'), ['text', 'json']) ?? 'text';
  const failOn: Severity | undefined = oneOf('--fail-on', text('fail-on'), SEVERITIES);
  const layout = layoutOption(text);
  const head = text('head');
  const truth = text('truth');
  const out = text('out');
  const trace = text('trace');
  const [folder] = positionals;
  const isProject = folder !== undefined && positionals.length === 1 && !isCapture(folder);
  if (values.html === true && out === undefined && !isProject) {
    throw badArguments('--html without --out', 'a folder to write report.html to');
  }
  if (trace !== undefined && isProject) {
    throw badArguments('--trace with a folder of many dumps', 'the folder of one dump to trace');
  }
  if (text('training') !== undefined && isProject) {
    throw badArguments(
      '--training with a folder of many dumps',
      'the folder of one dump; each of many has its capture.json',
    );
  }
  const reconstruction = reconstructionRequest(text);
  const method = oneOf('--method', text('method'), METHODS) ?? 'auto';
  const batchSize = wholeOption(text, 'batch-size', 1);
  const batchTime = numberOption(text, 'batch-time-limit', 1);
  const training = trainingOption(text);
  const settings = {
    method,
    force: values.force === true,
    ...(batchSize === undefined ? {} : { batchSize }),
    ...(batchTime === undefined ? {} : { batchTimeLimitSeconds: batchTime }),
    ...(training === undefined ? {} : { training }),
    ...(head === undefined ? {} : { head }),
    ...(layout === undefined ? {} : { layout }),
  };
  if (isProject) {
    surroundings.endsItself?.();
    const { report, out: written } = await auditProject(
      {
        root: folder,
        out,
        exclude: text('exclude')?.split(',') ?? [],
        includeIgnored: values['include-ignored'] === true,
        jobs: wholeOption(text, 'jobs', 1),
        fresh: values.fresh === true,
        pages: values.html === true,
        // Gradient matching takes minutes a dump: for a whole project only when asked for.
        settings: {
          ...settings,
          reconstruction: text('attack') ? reconstruction : { ...reconstruction, attack: 'chain' },
        },
      },
      surroundings,
    );
    surroundings.print(
      format === 'json' ? `${JSON.stringify(report, undefined, 1)}\n` : renderProject(report, written),
    );
    if (report.status === 'cancelled') {
      throw new CancelledError(true);
    }
    const left = report.skipped.filter(({ isGradient }) => isGradient === true).length;
    const open = openOf(report.summary) + left;
    if (open > 0) {
      surroundings.printError(`gradleak: not assessed: ${open} of ${report.summary.dumps + left} gradients\n`);
    }
    return exitCode(factsOfProject(report, failOn));
  }
  const request: AuditRequest = {
    ...auditPaths(text('checkpoint'), text('gradients'), positionals),
    ...settings,
    reconstruction,
    ...(truth === undefined ? {} : { truth }),
    ...(out === undefined ? {} : { out }),
    ...(trace === undefined ? {} : { trace }),
  };
  surroundings.reading?.({ path: request.gradients, what: 'dump' });
  const { report } = await runAudit(request, hooksOf(surroundings));
  if (values.html === true && out !== undefined) {
    writeOutput(out, 'report.html', renderHtml(report, readImages(out, report)), settings.force);
  }
  surroundings.print(
    format === 'json' ? `${JSON.stringify(report, undefined, 1)}\n` : renderReport(report, surroundings.columns),
  );
  if (report.cancelled === true) {
    throw new CancelledError(true);
  }
  const mismatch = mismatchError(report);
  if (mismatch) {
    surroundings.printError(renderError(mismatch));
  } else if (report.verdict.outcome === 'not-assessed') {
    surroundings.printError(`gradleak: not assessed: ${report.verdict.sentence}\n`);
  }
  return exitCode(factsOfReport(report, failOn));
}

function hooksOf({ progress, cancelled, reading }: CliSurroundings): AuditHooks {
  let isRead = false;
  return {
    progress: ({ message, stage }) => {
      if (!isRead && !READING_STAGES.includes(stage)) {
        isRead = true;
        reading?.(null);
      }
      progress(message);
    },
    async pause() {
      await new Promise<void>((resolve) => {
        setImmediate(resolve);
      });
      if (cancelled()) {
        throw new CancelledError();
      }
    },
  };
}

async function minimiseDump(args: readonly string[], surroundings: CliSurroundings): Promise<number> {
  const { values, positionals } = parse(args, {
    checkpoint: { type: 'string' },
    gradients: { type: 'string' },
    head: { type: 'string' },
    layout: { type: 'string' },
    out: { type: 'string' },
    force: { type: 'boolean', default: false },
  });
  const text = textOf(values);
  const [out, head, layout] = [text('out'), text('head'), layoutOption(text)];
  if (out === undefined) {
    throw badArguments('minimise without --out', 'a folder to write to');
  }
  const { checkpoint, gradients } = auditPaths(text('checkpoint'), text('gradients'), positionals);
  if (checkpoint === undefined) {
    throw badArguments('minimise without --checkpoint', 'both files, or a folder that holds them');
  }
  surroundings.reading?.({ path: gradients, what: 'dump' });
  const { tensors, outcome } = await minimise(
    {
      checkpoint,
      gradients,
      out,
      force: values.force === true,
      ...(head === undefined ? {} : { head }),
      ...(layout === undefined ? {} : { layout }),
    },
    hooksOf(surroundings),
  );
  surroundings.print(renderMinimised(out, tensors, outcome));
  return EXIT.done;
}

function auditPaths(
  checkpoint: string | undefined,
  gradients: string | undefined,
  positionals: readonly string[],
): AuditPaths {
  const [folder] = positionals;
  if (folder !== undefined && positionals.length === 1 && checkpoint === undefined && gradients === undefined) {
    return pathsInFolder(folder);
  }
  if (gradients !== undefined && folder === undefined) {
    return { ...(checkpoint === undefined ? {} : { checkpoint }), gradients };
  }
  throw badArguments(
    positionals.length > 1 ? `${positionals.length} folders` : 'no gradient',
    'one folder, or --gradients G with --checkpoint C',
  );
}

async function doctor(args: readonly string[], surroundings: CliSurroundings): Promise<number> {
  parse(args, {});
  surroundings.print(await renderDoctor());
  return EXIT.done;
}

function inspect(args: readonly string[], surroundings: CliSurroundings): number {
  const { values, positionals } = parse(args, { format: { type: 'string', default: 'text' } });
  const [path] = positionals;
  if (path === undefined || positionals.length > 1) {
    throw badArguments(`${positionals.length} files`, 'one file to inspect');
  }
  const format = oneOf('--format', textOf(values)('format'), ['text', 'json']);
  surroundings.reading?.({ path, what: 'listing' });
  const file = openTensorFile(path);
  try {
    const { entries, foreignGlobals, notes } = file;
    const traps = findTraps(file);
    const model = modelOf(file)?.report.sentence;
    // Whoever pages through the listing takes the time they need.
    surroundings.reading?.(null);
    surroundings.print(
      format === 'json'
        ? `${JSON.stringify({ path, format: file.format, ...(model === undefined ? {} : { model }), tensors: entries, foreignGlobals, notes, traps }, undefined, 1)}\n`
        : renderListing(file, traps, model),
    );
  } finally {
    file.close();
  }
  return EXIT.done;
}

function trainingOption(text: (name: string) => string | undefined): StatedTraining | undefined {
  const line = text('training');
  try {
    return line === undefined ? undefined : trainingOf(line);
  } catch (error) {
    throw badArguments(`--training ${line}`, messageOf(error));
  }
}

function layoutOption(text: (name: string) => string | undefined): Layout | undefined {
  const layout = oneOf('--layout', text('layout'), ['auto', ...LAYOUTS]);
  return layout === 'auto' ? undefined : layout;
}
