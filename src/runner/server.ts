import type { MessageConnection } from 'vscode-jsonrpc';
import { messageOf } from '../protocol/errors.js';
import { READING_STAGES } from '../protocol/audit-request.js';
import type { Reading } from '../protocol/deadlines.js';
import type { FileKind } from '../protocol/inspection.js';
import {
  AuditRun,
  CompareTruth,
  DefendProgressNotification,
  DefendRun,
  type FileOfKind,
  HelloRequest,
  InspectDifferences,
  InspectLook,
  InspectStatistics,
  type KindsParams,
  type Look,
  type Looks,
  OpenInspection,
  PROTOCOL_VERSION,
  PlanProject,
  ProbeEngines,
  ProgressNotification,
  ReadingNotification,
  type RankParams,
  RankCheckpoints,
  type RankedCheckpoint,
  TellKinds,
} from '../protocol/runner-messages.js';
import { fitOf } from '../facts/matching.js';
import { holdsOtherState } from '../facts/read-update.js';
import { compareStored } from '../audit/compare-stored.js';
import { defend } from '../audit/defence/defend.js';
import { lookAtFile } from '../audit/look-at-file.js';
import { runAudit } from '../audit/run-audit.js';
import { TOOL_VERSION } from '../audit/version.js';
import { CPU_ENGINES, GPU_ENGINES, probeEngine } from '../engine/choose.js';
import { openTensorFile } from '../formats/open.js';
import type { TensorFile } from '../formats/tensor-file.js';
import { canBe, fileKindOf } from '../kinds/file-kind.js';
import { Inspection } from '../inspection/inspection.js';
import { planProject } from '../project/plan.js';
import { answered, pausing } from './answers.js';

/** The child process's side of the protocol. */

/** Answers requests on a connection until it closes. */
export function serve(connection: MessageConnection): void {
  const watched = watching(connection);
  connection.onRequest(HelloRequest, () => ({
    protocolVersion: PROTOCOL_VERSION,
    toolVersion: TOOL_VERSION,
    node: process.version,
    pid: process.pid,
  }));
  connection.onRequest(AuditRun, ({ id, request }, token) =>
    answered(async () => {
      const done = await watched.begin(request.gradients, 'dump');
      const { report } = await runAudit(request, {
        progress: (progress) => {
          if (!READING_STAGES.includes(progress.stage)) {
            done();
          }
          void connection.sendNotification(ProgressNotification, { id, progress });
        },
        pause: pausing(token),
      }).finally(done);
      return {
        folder: request.out,
        mismatch: report.verdict.outcome === 'mismatch' ? report.verdict.sentence : null,
        notAssessed: report.verdict.outcome === 'not-assessed' ? report.verdict.sentence : null,
        cancelled: report.cancelled === true,
      };
    }),
  );
  connection.onRequest(DefendRun, ({ id, request }, token) =>
    answered(async () => {
      const done = await watched.begin(request.audit.gradients, 'dump');
      const { status, sentence } = await defend(request, {
        progress: (progress) => {
          void connection.sendNotification(DefendProgressNotification, { id, progress });
        },
        read: done,
        pause: pausing(token),
      }).finally(done);
      return { folder: request.out, status, sentence };
    }),
  );
  connection.onRequest(CompareTruth, ({ folder, truth }, token) =>
    answered(async () => {
      await compareStored(folder, truth, pausing(token));
      return null;
    }),
  );
  connection.onRequest(ProbeEngines, async ({ tfjsFolder }) => {
    const options = tfjsFolder === null ? {} : { tfjsFolder };
    return Promise.all([...GPU_ENGINES, ...CPU_ENGINES].map((id) => probeEngine(id, options)));
  });
  connection.onRequest(PlanProject, ({ root, ...options }, token) =>
    answered(() =>
      planProject(
        root,
        { ...options, watch: watched.listing, kindOf: (file) => fileKindOf(file, true).kind },
        pausing(token),
      ),
    ),
  );
  connection.onRequest(RankCheckpoints, (params) => answered(() => rankCheckpoints(params, watched.listing)));
  connection.onRequest(TellKinds, (params, token) =>
    answered(() => tellKinds(params, watched.listing, pausing(token))),
  );
  serveInspections(connection, watched.listing);
  connection.listen();
}

/** Runs what may take long because of a file. */
type Watch = <T>(path: string, work: () => T) => Promise<T>;

/** Tells the host what is being read, before it is: afterwards nothing is sent until it is done. */
function watching(connection: MessageConnection): {
  begin(path: string, what: Reading): Promise<() => void>;
  listing: Watch;
} {
  let last = 0;
  const begin = async (path: string, what: Reading): Promise<() => void> => {
    const id = ++last;
    let isOver = false;
    await connection.sendNotification(ReadingNotification, { id, reading: { path, what } });
    return () => {
      if (!isOver) {
        isOver = true;
        void connection.sendNotification(ReadingNotification, { id, reading: null });
      }
    };
  };
  const listing: Watch = async (path, work) => {
    const done = await begin(path, 'listing');
    try {
      return work();
    } finally {
      done();
    }
  };
  return { begin, listing };
}

/** Statistics are answered after this long with what is there, so that rows scrolled away from are not computed. */
const ROWS_BUDGET_MS = 100;

function serveInspections(connection: MessageConnection, watch: Watch): void {
  const open = new Map<number, Inspection>();
  let last = 0;
  const inspectionOf = (id: number): Inspection => {
    const own = open.get(id);
    if (!own) {
      throw new RangeError(`Inspection ${id} is not open.`);
    }
    return own;
  };
  connection.onRequest(OpenInspection, ({ path }) =>
    answered(() =>
      watch(path, () => {
        const inspection = new Inspection(path);
        open.set(++last, inspection);
        return { inspection: last, directory: inspection.directory() };
      }),
    ),
  );
  connection.onRequest(InspectStatistics, ({ inspection, rows }, token) =>
    answered(() => inspectionOf(inspection).statisticsOf(rows, ROWS_BUDGET_MS, pausing(token))),
  );
  connection.onRequest(InspectDifferences, ({ inspection, rows }, token) =>
    answered(() => inspectionOf(inspection).differencesOf(rows, ROWS_BUDGET_MS, pausing(token))),
  );
  connection.onRequest(InspectLook, ({ inspection, look }, token) =>
    answered(() => {
      const own = inspectionOf(inspection);
      if (look.look === 'close') {
        own.close();
        open.delete(inspection);
        return null;
      }
      return lookAt(own, look, watch, pausing(token));
    }),
  );
}

function lookAt(
  inspection: Inspection,
  look: Exclude<Look, { look: 'close' }>,
  watch: Watch,
  pause: () => Promise<void>,
): Looks[keyof Looks]['result'] | Promise<Looks[keyof Looks]['result']> {
  switch (look.look) {
    case 'kind':
      return watch(inspection.path, () => inspection.kind());
    case 'findings':
      return watch(inspection.path, () => {
        const kind = inspection.kind();
        return lookAtFile(inspection.tensors, (what) => canBe(kind, what));
      });
    case 'slice':
      return inspection.slice(look.row, look.request);
    case 'histogram':
      return inspection.histogram(look.row, pause);
    case 'text':
      return inspection.text(look.row, look.start);
    case 'filters':
      return inspection.filters(look.row, look.input);
    case 'pictures':
      return inspection.pictures(look.row, look.request);
    case 'rows':
      return inspection.rows(look.row, pause);
    case 'compare':
      return watch(look.path, () => inspection.compare(look.path));
    case 'compare-nothing':
      inspection.compareNothing();
      return null;
  }
}

const KIND_WORDS: Record<FileKind, string> = {
  gradient: 'a gradient',
  checkpoint: 'a checkpoint',
  'optimiser-state': 'the state of an optimiser',
  delta: 'a difference of weights',
  unknown: 'unknown',
};

/** What surely is no checkpoint is marked, with the reason: whoever offers the list leaves it out. */
async function rankCheckpoints(params: RankParams, watch: Watch): Promise<RankedCheckpoint[]> {
  const gradients = await watch(params.gradients, () => openTensorFile(params.gradients));
  try {
    const ranked: RankedCheckpoint[] = [];
    for (const path of params.candidates) {
      ranked.push(await watch(path, () => rankOne(path, gradients)));
    }
    return ranked.sort((one, other) => other.fit - one.fit);
  } finally {
    gradients.close();
  }
}

function rankOne(path: string, gradients: TensorFile): RankedCheckpoint {
  try {
    const checkpoint = openTensorFile(path);
    try {
      const kind = fileKindOf(checkpoint, true);
      return canBe(kind, 'checkpoint')
        ? { path, kind: kind.kind, fit: fitOf(checkpoint, gradients), problem: null }
        : { path, kind: kind.kind, fit: 0, problem: `${KIND_WORDS[kind.kind]}, by its contents`, isOther: true };
    } finally {
      checkpoint.close();
    }
  } catch (error) {
    return { path, fit: 0, problem: messageOf(error) };
  }
}

/** Somebody waits for the list before anything can be picked. */
const MOST_KINDS = 50;
const KINDS_BUDGET_MS = 5000;

async function tellKinds(
  { paths, checkpoint }: KindsParams,
  watch: Watch,
  pause: () => Promise<void>,
): Promise<FileOfKind[]> {
  const end = performance.now() + KINDS_BUDGET_MS;
  const base = checkpoint === undefined ? undefined : await watch(checkpoint, () => openTensorFile(checkpoint));
  try {
    const known: FileOfKind[] = [];
    for (const path of paths.slice(0, MOST_KINDS)) {
      if (performance.now() > end) {
        break;
      }
      const own = await watch(path, () => kindOfFile(path, base));
      if (own) {
        known.push(own);
      }
      // An audit that runs in this process goes on in between.
      await pause();
    }
    return known;
  } finally {
    base?.close();
  }
}

/** Undefined for a file that cannot be read: the audit says why, if it is picked all the same. */
function kindOfFile(path: string, checkpoint: TensorFile | undefined): FileOfKind | undefined {
  try {
    const file = openTensorFile(path);
    try {
      const kind = fileKindOf(file, true);
      const fit = checkpoint ? fitOf(checkpoint, file) : null;
      const isOtherState = checkpoint !== undefined && holdsOtherState(checkpoint, file);
      return { path, kind, fit, canBeGradient: isOtherState || canBe(kind, 'gradient'), isOtherState };
    } finally {
      file.close();
    }
  } catch {
    return undefined;
  }
}
