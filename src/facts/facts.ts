import type { TensorFile } from '../formats/tensor-file.js';
import type { AuditRequest } from '../protocol/audit-request.js';
import type { AuditHooks } from './hooks.js';
import type { UpdateOrigin } from './read-update.js';

/** What is derived from an audit's inputs once, however many methods ask for it. The truth is no fact. */

export interface Fact<T> {
  readonly id: string;
  /** @throws UnusableInputError where the inputs cannot be used; CancelledError when stopped */
  compute(facts: Facts): T | Promise<T>;
  /** The value in a few words or numbers, for a trace; left out where there is nothing short to say. */
  describe?(value: T): unknown;
}

/** What an audit starts from. */
export interface Given {
  readonly request: AuditRequest;
  /** The gradient's own names without numbers where none was given; then only methods that need none run. */
  readonly checkpoint: TensorFile;
  readonly gradients: TensorFile;
  /** Where `gradients` are not the file as it was given. */
  readonly origin?: UpdateOrigin;
  readonly hooks: AuditHooks;
  /** Asks every method for its best guess, whatever speaks against it: what an attacker would take, and no finding. */
  readonly guess?: Guess;
}

/** What an attacker is taken to know of an update that was defended. */
export interface Guess {
  /** Name of the network among those that fit, and how its normalisation ran; undefined where no network is needed. */
  readonly network: { readonly name: string; readonly normMode: 'eval' | 'train' | null } | undefined;
}

export interface FactEvent {
  readonly fact: string;
  /** What asked first: the id of a fact or of a method; undefined for the pipeline itself. */
  readonly by: string | undefined;
  readonly milliseconds: number;
  readonly value?: unknown;
  readonly error?: string;
}

interface Known {
  readonly value: Promise<unknown>;
  readonly uses: Set<Fact<unknown>>;
}

export class Facts {
  private readonly known: Map<Fact<unknown>, Known>;
  private readonly asker: string | undefined;
  private readonly uses: Set<Fact<unknown>> | undefined;

  constructor(
    readonly given: Given,
    private readonly observe: (event: FactEvent) => void = () => undefined,
    state?: {
      known: Map<Fact<unknown>, Known>;
      asker: string | undefined;
      uses: Set<Fact<unknown>> | undefined;
    },
  ) {
    this.known = state?.known ?? new Map<Fact<unknown>, Known>();
    this.asker = state?.asker;
    this.uses = state?.uses;
  }

  /** Computed on the first call, the same promise ever after. */
  get<T>(fact: Fact<T>): Promise<T> {
    this.uses?.add(fact);
    let own = this.known.get(fact);
    if (!own) {
      const uses = new Set<Fact<unknown>>();
      own = { uses, value: this.compute(fact, uses) };
      this.known.set(fact, own);
    }
    return own.value as Promise<T>;
  }

  /** The same facts, asked for in somebody's name. */
  for(asker: string): Facts {
    return new Facts(this.given, this.observe, { known: this.known, asker, uses: this.uses });
  }

  /** Facts in which one has another value; what was computed from it is computed anew, the rest is shared. */
  with<T>(fact: Fact<T>, value: T): Facts {
    const changed = new Set<Fact<unknown>>([fact]);
    for (let before = 0; before < changed.size;) {
      before = changed.size;
      for (const [own, { uses }] of this.known) {
        if ([...uses].some((used) => changed.has(used))) {
          changed.add(own);
        }
      }
    }
    const known = new Map([...this.known].filter(([own]) => !changed.has(own)));
    known.set(fact, { value: Promise.resolve(value), uses: new Set() });
    return new Facts(this.given, this.observe, { known, asker: this.asker, uses: undefined });
  }

  private async compute<T>(fact: Fact<T>, uses: Set<Fact<unknown>>): Promise<T> {
    const started = performance.now();
    const event = { fact: fact.id, by: this.asker };
    const own = new Facts(this.given, this.observe, { known: this.known, asker: fact.id, uses });
    try {
      const value = await fact.compute(own);
      const described = fact.describe?.(value);
      this.observe({
        ...event,
        milliseconds: performance.now() - started,
        ...(described === undefined ? {} : { value: described }),
      });
      return value;
    } catch (error) {
      this.observe({ ...event, milliseconds: performance.now() - started, error: String(error) });
      throw error;
    }
  }
}
