import type { TensorFile } from '../formats/tensor-file.js';
import { messageOf } from '../protocol/errors.js';
import type { FileFinding, FileFindings } from '../protocol/inspection.js';
import { METHODS } from './registry.js';

/** What methods tell of one file by itself, without an audit. */

/** Of one tensor. Larger ones are read by an audit, not by looking. */
const MOST_BYTES = 2 ** 28;

/** @param canBe whether the file may be what a method reads */
export function lookAtFile(file: TensorFile, canBe: (what: 'checkpoint' | 'gradient') => boolean): FileFindings {
  const entries = file.entries.filter(({ bytes }) => bytes <= MOST_BYTES);
  const readable: TensorFile = { ...file, entries };
  const findings: FileFinding[] = [];
  const problems: string[] = [];
  for (const { look, title } of METHODS) {
    if (!look || !canBe(look.of)) {
      continue;
    }
    try {
      for (const { tensor, findings: own } of look.find(readable)) {
        const row = file.entries.findIndex(({ name }) => name === tensor);
        findings.push(...own.map((finding) => ({ ...finding, row })));
      }
    } catch (error) {
      problems.push(`${title}: ${messageOf(error).split('\n')[0] ?? ''}`);
    }
  }
  return { findings, problems };
}
