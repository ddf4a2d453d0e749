import { existsSync, statSync } from 'node:fs';
import { CancelledError, UnusableInputError } from '../protocol/errors.js';
import { findTraps } from '../methods/imprint-trap/traps.js';
import { minimise } from '../audit/minimise.js';
import { TOOL_VERSION } from '../audit/version.js';
import { openTensorFile } from '../formats/open.js';
import { modelOf } from '../inspection/model.js';
import { badArguments, didYouMean, oneOf, parse, textOf } from './arguments.js';
import { audit, auditPaths } from './audit-command.js';
import { layoutOption } from './audit-settings.js';
import { compare } from './compare.js';
import { defendDump } from './defend-command.js';
import { epsilon } from './epsilon.js';
import { EXIT, exitCode } from './exit-code.js';
import { COMMANDS, HELP } from './help.js';
import { mergeStore } from './merge-command.js';
import { planManifest } from './plan-command.js';
import { queueCommand } from './queue-command.js';
import { renderDoctor } from './render-doctor.js';
import { renderError } from './render-error.js';
import { renderListing, renderMinimised } from './render-text.js';
import { type CliSurroundings, hooksOf } from './surroundings.js';

/** The `gradleak` command: the same audit as the editor's, for terminals and CI. */

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
    case 'plan':
      return planManifest(rest, surroundings);
    case 'queue':
      return queueCommand(rest, surroundings);
    case 'merge':
      return mergeStore(rest, surroundings);
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
