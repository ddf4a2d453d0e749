import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Files } from './corpus.js';
import { mutate } from './mutate.js';
import { Random } from './random.js';
import { TARGETS, type Target, targetNamed } from './targets.js';

/** Which files an execution gets: mutated ones that follow from seed and index, or kept ones. */

export interface Case {
  readonly target: Target;
  readonly files: Files;
}

export interface CaseSource {
  /** Undefined where it has no end. */
  readonly length: number | undefined;
  targetAt(index: number): Target;
  caseAt(index: number): Case;
}

/** @param only a target's name; all of them when undefined */
export function mutatedCases(seed: number, only: string | undefined): CaseSource {
  const targets = only === undefined ? TARGETS : [targetNamed(only)];
  const total = targets.reduce((sum, { weight }) => sum + weight, 0);
  const seeds = new Map(targets.map((target) => [target, target.seeds()]));
  const drawn = (random: Random): Target => {
    let left = (random.bits() / 2 ** 32) * total;
    return targets.find(({ weight }) => (left -= weight) < 0) ?? targets[0]!;
  };
  return {
    length: undefined,
    targetAt: (index) => drawn(new Random(seed, index)),
    caseAt(index) {
      const random = new Random(seed, index);
      const target = drawn(random);
      return { target, files: mutatedFiles(target, seeds.get(target) ?? [], random) };
    },
  };
}

function mutatedFiles(target: Target, seeds: readonly Files[], random: Random): Files {
  const files = { ...random.pick(seeds) };
  const names = Object.keys(files).filter((name) => target.kept?.test(name) !== true);
  do {
    const name = random.pick(names);
    const donor = random.pick(seeds);
    files[name] = mutate(name, files[name]!, random, donor[name] ?? files[name]!);
  } while (names.length > 1 && random.chance(0.25));
  return files;
}

/** `folder/TARGET/CASE/files`, as `regressions/` keeps them. */
export function keptCases(folder: string): CaseSource {
  const kept = readdirSync(folder)
    .sort()
    .flatMap((target) =>
      readdirSync(join(folder, target))
        .sort()
        .map((name) => ({ target: targetNamed(target), path: join(folder, target, name) })),
    );
  const at = (index: number): { target: Target; path: string } => kept[index]!;
  return {
    length: kept.length,
    targetAt: (index) => at(index).target,
    caseAt(index) {
      const { target, path } = at(index);
      const files = readdirSync(path).sort();
      return { target, files: Object.fromEntries(files.map((name) => [name, readFileSync(join(path, name))])) };
    },
  };
}
