import { clipsIn, frozenIn, importsPrivacy, noisesIn } from './hints.js';
import { type Imports, type Outline, constantsOf } from './outline.js';
import { acceleratorsOf } from './training-points.js';

/** What a block of a script is told of all of them. */
export interface Surroundings {
  /** Packages that are imported: `torch`, `flwr`. */
  readonly packages: ReadonlySet<string>;
  /** Names of what Accelerate and Fabric make. */
  readonly accelerators: ReadonlySet<string>;
  /** Names of layers that are not trained. */
  readonly frozen: ReadonlySet<string>;
  /** Numbers that names of the top of the file stand for. */
  readonly constants: ReadonlyMap<string, number>;
  /** True where gradients are clipped and noised. */
  readonly isProtected: boolean;
}

/** What one block adds to them. */
export interface Facts {
  readonly accelerators: readonly string[];
  readonly frozen: readonly string[];
  readonly constants: ReadonlyMap<string, number | null>;
  readonly clips: boolean;
  readonly noises: boolean;
  readonly isTopCapturing: boolean;
}

export function factsOf(outline: Outline): Facts {
  const [top] = outline.scopes;
  return {
    accelerators: acceleratorsOf(outline),
    frozen: frozenIn(outline),
    constants: constantsOf(outline),
    clips: clipsIn(outline),
    noises: noisesIn(outline),
    isTopCapturing: top !== undefined && outline.capturing.has(top),
  };
}

/** @param facts of every block, in the order of the text */
export function surroundingsOf(facts: readonly Facts[], imports: Imports): Surroundings {
  const clips = facts.some((own) => own.clips);
  const noises = facts.some((own) => own.noises);
  return {
    packages: new Set([...imports.values()].map((name) => name.split('.')[0] ?? name)),
    accelerators: new Set(facts.flatMap((own) => own.accelerators)),
    frozen: new Set(facts.flatMap((own) => own.frozen)),
    constants: constantsIn(facts),
    isProtected: importsPrivacy(imports) || (clips && noises),
  };
}

/** Those that one block alone gives a number. */
function constantsIn(facts: readonly Facts[]): Map<string, number> {
  const found = new Map<string, number>();
  const seen = new Set<string>();
  for (const { constants } of facts) {
    for (const [name, value] of constants) {
      if (seen.has(name) || value === null) {
        found.delete(name);
      } else {
        found.set(name, value);
      }
      seen.add(name);
    }
  }
  return found;
}

/** Equal for equal surroundings. */
export function keyOf({ packages, accelerators, frozen, constants, isProtected }: Surroundings): string {
  return JSON.stringify([[...packages], [...accelerators], [...frozen], [...constants], isProtected]);
}
