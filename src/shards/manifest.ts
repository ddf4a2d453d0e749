import { createReadStream } from 'node:fs';
import { isAbsolute } from 'node:path';
import schema from '../../media/manifest.schema.json';
import { replaceFile } from '../audit/output-folder.js';
import { TOOL_VERSION } from '../audit/version.js';
import { isFileSystemError } from '../formats/content-hash.js';
import { parseJson, validatorOf } from '../formats/json-file.js';
import type { ReconstructionRequest } from '../protocol/audit-request.js';
import type { ManifestHead, ManifestJob, ManifestLine, ManifestSettings, QueuedJob } from '../protocol/manifest.js';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import type { ProjectPlan } from '../protocol/project-report.js';

/** Plans of projects as files, which any number of machines take their shares from. */

const VALIDATOR = validatorOf<ManifestLine>(schema);
/** Longer lines are nobody's; a head names every file that was left out. */
const MOST_LINE = 64 * 2 ** 20;

/** A share of the jobs: the `index`th of `of`, from 1. */
export interface Shard {
  readonly index: number;
  readonly of: number;
}

export const WHOLE: Shard = { index: 1, of: 1 };

/**
 * @param root where shards find the project, when it was planned at another place
 * @throws UnusableInputError when the disk does not take it
 */
export function writeManifest(
  path: string,
  { root, entries, skipped }: ProjectPlan,
  {
    settings,
    settingsKey,
    identity,
    root: stated = root,
  }: Pick<ManifestHead, 'settings' | 'settingsKey' | 'identity'> & { root?: string },
): void {
  const head: ManifestHead = {
    manifest: 1,
    tool: { name: 'gradleak', version: TOOL_VERSION },
    root: stated,
    identity,
    settings: withoutOwn(settings),
    settingsKey,
    jobs: entries.length,
    skipped,
  };
  replaceFile(path, linesOfPlan(head, entries));
}

function* linesOfPlan(head: ManifestHead, entries: ProjectPlan['entries']): Generator<string> {
  yield `${JSON.stringify(head)}\n`;
  for (const { status: _status, problem: _problem, result: _result, change: _change, ...job } of entries) {
    yield `${JSON.stringify(job)}\n`;
  }
}

/** Of settings those that hold on every machine, whatever a file says. */
function withoutOwn(settings: ManifestSettings): ManifestSettings {
  const { method, head, layout, batchSize, batchTimeLimitSeconds } = settings;
  return {
    method,
    ...(head === undefined ? {} : { head }),
    ...(layout === undefined ? {} : { layout }),
    ...(batchSize === undefined ? {} : { batchSize }),
    ...(batchTimeLimitSeconds === undefined ? {} : { batchTimeLimitSeconds }),
    ...(settings.reconstruction ? { reconstruction: withoutEngineFolder(settings.reconstruction) } : {}),
  };
}

function withoutEngineFolder({
  tfjsFolder: _own,
  ...rest
}: ReconstructionRequest): Omit<ReconstructionRequest, 'tfjsFolder'> {
  return rest;
}

/** A manifest that is read line by line, as it may be longer than memory. */
export interface Manifest {
  readonly path: string;
  readonly head: ManifestHead;
  /** @throws UnusableInputError at a line that is no job, or when lines are missing */
  jobs(shard: Shard): AsyncGenerator<ManifestJob>;
}

/** @throws UnusableInputError when it is no manifest of this version */
export async function openManifest(path: string): Promise<Manifest> {
  for await (const line of linesOf(path)) {
    const head = lineOf(path, 1, line);
    if (!('manifest' in head)) {
      throw malformed(path, 'a first line that is not the head of a manifest');
    }
    if (head.tool.version !== TOOL_VERSION) {
      throw new UnusableInputError({
        code: 'malformed-file',
        file: path,
        found: `a manifest of version ${head.tool.version}, where this is ${TOOL_VERSION}`,
        expected: 'one version for the plan and all shards',
        advice: 'Plan again with this version, or run the shards with that one.',
      });
    }
    return {
      path,
      head: { ...head, settings: withoutOwn(head.settings) },
      jobs: (shard) => jobsOf(path, head.jobs, shard),
    };
  }
  throw malformed(path, 'an empty file');
}

async function* jobsOf(path: string, count: number, { index, of }: Shard): AsyncGenerator<ManifestJob> {
  let at = -1;
  for await (const line of linesOf(path)) {
    // Round robin: large dumps lie beside each other.
    if (at >= 0 && at % of === index - 1) {
      const job = lineOf(path, at + 2, line);
      if (!('id' in job)) {
        throw malformed(path, `no job in line ${at + 2}`);
      }
      yield job;
    }
    at++;
  }
  if (at !== count) {
    throw malformed(path, `${Math.max(at, 0)} jobs where the head counts ${count}`);
  }
}

async function* linesOf(path: string): AsyncGenerator<string> {
  let begun: string[] = [];
  let length = 0;
  try {
    for await (const chunk of createReadStream(path, { encoding: 'utf8' }) as AsyncIterable<string>) {
      const [first = '', ...others] = chunk.split('\n');
      begun.push(first);
      length += first.length;
      if (length > MOST_LINE) {
        throw malformed(path, `a line of more than ${MOST_LINE / 2 ** 20} MiB`);
      }
      if (others.length > 0) {
        yield begun.join('');
        const last = others.pop() ?? '';
        yield* others;
        [begun, length] = [[last], last.length];
      }
    }
  } catch (error) {
    throw isFileSystemError(error)
      ? new UnusableInputError({
          code: 'missing-file',
          file: path,
          found: messageOf(error),
          expected: 'a manifest that "gradleak plan" wrote',
          advice: 'Check the path.',
        })
      : error;
  }
  if (length > 0) {
    throw malformed(path, 'a last line that is cut short');
  }
}

function lineOf(path: string, number: number, line: string): ManifestLine {
  let value: unknown;
  try {
    value = parseJson(Buffer.from(line));
  } catch {
    throw malformed(path, `a line ${number} that is not JSON`);
  }
  if (!VALIDATOR.is(value)) {
    throw malformed(path, `in line ${number} ${VALIDATOR.problem()}`);
  }
  const problem = 'id' in value ? problemOf(value) : undefined;
  if (problem !== undefined) {
    throw malformed(path, `in line ${number} ${problem}`);
  }
  return value;
}

/** Plans never lead out of their root; a file or a server from elsewhere might. */
function problemOf({ gradients, checkpoint, truth, network }: ManifestJob): string | undefined {
  const leads = [gradients, checkpoint, truth, network].some(
    (own) => own !== null && (isAbsolute(own) || own.split(/[\\/]/).includes('..')),
  );
  return leads ? 'a path that leads out of the root' : undefined;
}

/** A job as a queue holds it; undefined for what is none. */
export function queuedJobOf(value: unknown): QueuedJob | undefined {
  return VALIDATOR.is(value) && 'job' in value && problemOf(value.job) === undefined
    ? { ...value, settings: withoutOwn(value.settings) }
    : undefined;
}

function malformed(file: string, found: string): UnusableInputError {
  return new UnusableInputError({
    code: 'malformed-file',
    file,
    found,
    expected: 'a manifest that "gradleak plan" wrote',
    advice: 'Plan again.',
  });
}
