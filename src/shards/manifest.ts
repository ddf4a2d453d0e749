import { createReadStream, statSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import schema from '../../media/manifest.schema.json';
import { replaceFile } from '../audit/output-folder.js';
import { TOOL_VERSION } from '../audit/version.js';
import { isFileSystemError } from '../formats/content-hash.js';
import { validatorOf } from '../formats/json-file.js';
import type { ManifestHead, ManifestJob, ManifestLine } from '../protocol/manifest.js';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import type { ProjectPlan } from '../protocol/project-report.js';

/** Plans of projects as files, which any number of machines take their shares from. */

const VALIDATOR = validatorOf<ManifestLine>(schema);
/** Longer lines are nobody's; a head names every file that was left out. */
const MOST_LINE = 256 * 2 ** 20;

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
  { settings, identity, root: stated = root }: Pick<ManifestHead, 'settings' | 'identity'> & { root?: string },
): void {
  const head: ManifestHead = {
    manifest: 1,
    tool: { name: 'gradleak', version: TOOL_VERSION },
    root: stated,
    identity,
    settings,
    jobs: entries.length,
    skipped,
  };
  const jobs = entries.map(({ status: _status, problem: _problem, result: _result, change: _change, ...entry }) => {
    const stat = statSync(resolve(root, entry.gradients), { throwIfNoEntry: false });
    const job: ManifestJob = { ...entry, bytes: stat?.size ?? 0, changed: stat?.mtimeMs ?? 0 };
    return JSON.stringify(job);
  });
  replaceFile(path, `${[JSON.stringify(head), ...jobs].join('\n')}\n`);
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
    return { path, head, jobs: (shard) => jobsOf(path, head.jobs, shard) };
  }
  throw malformed(path, 'an empty file');
}

async function* jobsOf(path: string, count: number, { index, of }: Shard): AsyncGenerator<ManifestJob> {
  let at = -1;
  for await (const line of linesOf(path)) {
    // Round robin: large dumps lie beside each other.
    if (at >= 0 && at % of === index - 1) {
      const job = lineOf(path, at + 2, line);
      if ('manifest' in job) {
        throw malformed(path, `a head in line ${at + 2}`);
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
  let rest = '';
  try {
    for await (const chunk of createReadStream(path, { encoding: 'utf8' }) as AsyncIterable<string>) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > MOST_LINE) {
        throw malformed(path, `a line of more than ${MOST_LINE / 2 ** 20} MiB`);
      }
      yield* lines;
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
  if (rest !== '') {
    throw malformed(path, 'a last line that is cut short');
  }
}

function lineOf(path: string, number: number, line: string): ManifestLine {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw malformed(path, `a line ${number} that is not JSON`);
  }
  if (!VALIDATOR.is(value)) {
    throw malformed(path, `in line ${number} ${VALIDATOR.problem()}`);
  }
  if ('id' in value) {
    for (const own of [value.gradients, value.checkpoint, value.truth, value.network]) {
      // Plans never lead out of their root; a manifest from elsewhere might.
      if (own !== null && (isAbsolute(own) || own.split(/[\\/]/).includes('..'))) {
        throw malformed(path, `in line ${number} a path that leads out of the root`);
      }
    }
  }
  return value;
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
