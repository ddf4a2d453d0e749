import { ATTACKS, ENGINE_CHOICES, METHODS } from '../protocol/audit-request.js';
import { NORMALISATION_CHOICES } from '../protocol/normalisations.js';
import { TOOL_VERSION } from '../audit/version.js';
import { ACCOUNTANTS } from '../defences/privacy/accountants.js';
import { TRAINING_EXAMPLE } from '../words/training-words.js';
import { ADJACENCY_NAMES, UNIT_NAMES } from './epsilon.js';
import { EXIT_TABLE } from './exit-code.js';

/** What `gradleak --help` prints. */

export const COMMANDS = [
  'audit',
  'plan',
  'merge',
  'queue',
  'compare',
  'defend',
  'epsilon',
  'minimise',
  'doctor',
  'inspect',
];

export const HELP = `gradleak ${TOOL_VERSION} - what a captured gradient gives away

  gradleak audit FOLDER                                 a folder with checkpoint.* (or model.safetensors,
                                                        as Hugging Face saves it) and gradient.*
  gradleak audit --checkpoint C --gradients G [options]
  gradleak audit --gradients G                          what a gradient gives away without its checkpoint
  gradleak audit PROJECT [options]                      a folder of many dumps: each with the checkpoint that fits it
  gradleak plan PROJECT --out MANIFEST                  the audits of a project as a list, for many machines to share
  gradleak audit --manifest M --shard I/N --out STORE   the I-th of N shares, in any order, again where it was stopped
  gradleak merge STORE [--manifest M]                   what all shares found, as the report of a project
  gradleak queue submit|work|status|retry|cancel        the same through a Redis server, by workers that come and go
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
  --jobs N             projects: audits at a time (default half the cores, less where memory or the GPU's is short)
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

Options of plan: those of audit that say how an audit is done, --exclude, --include-ignored, and
  --identity contents|size-and-time
                       what tells that a file is the same: its SHA-256, kept in MANIFEST.hashes by size and time (default),
                       or size and time alone, for files too many to be read

Options of audit with --manifest
  --shard I/N          the I-th of N shares (default 1/1)
  --out STORE          folder that all machines see
  --jobs N             audits at a time (default half the cores, less where memory or the GPU's is short)
  --root DIR           where this machine has the project, when it is another place
  --retry              also what failed because of a file's contents

Options of merge: --manifest M, --fail-on, --format, --force as of audit, --html where the store is a folder, and
  --out DIR            for the report of an object store

Options of queue
  --queue URL          redis://[user:password@]host[:port][/db] or rediss://; else the environment's GRADLEAK_QUEUE
  --name NAME          of the queue, where a server holds several (default gradleak-VERSION: the jobs of one)
  submit --manifest M  the jobs of a manifest; those that are in the queue already stay there once
  work --out STORE [--jobs N] [--root DIR] [--until-empty]
                       take jobs until stopped, or until there are none
  status [--format json]
                       how many wait, run and failed, and why
  retry                what failed waits again
  cancel               removes what waits and stops what runs; results stay

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
  --html               with the --out of this gradient's audit: report.html there shows the sweep too

  --help, --version

A project's report.json, report.html and report.sarif go to --out, by default PROJECT/gradleak-report. Inputs are computed in
closed form only unless --attack says otherwise. Stopped with Ctrl+C, it goes on from there the next time.

Exit codes, the first that applies
${EXIT_TABLE.map(([code, meaning]) => `  ${String(code).padStart(3)}  ${meaning}`).join('\n')}
`;
