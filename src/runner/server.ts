import { type MessageConnection, ResponseError } from 'vscode-jsonrpc';
import { CancelledError, UnusableInputError, messageOf } from '../protocol/errors.js';
import {
  AuditRun,
  HelloRequest,
  PROTOCOL_VERSION,
  ProbeEngines,
  ProgressNotification,
  RUNNER_ERRORS,
  RankCheckpoints,
  type RankedCheckpoint,
} from '../protocol/runner-messages.js';
import { fitOf } from '../audit/matching.js';
import { mismatchError, runAudit } from '../audit/run-audit.js';
import { TOOL_VERSION } from '../audit/version.js';
import { CPU_ENGINES, GPU_ENGINES, probeEngine } from '../engine/choose.js';
import { openTensorFile } from '../formats/open.js';

/** The child process's side of the protocol. */

/** Answers requests on a connection until it closes. */
export function serve(connection: MessageConnection): void {
  connection.onRequest(HelloRequest, () => ({
    protocolVersion: PROTOCOL_VERSION,
    toolVersion: TOOL_VERSION,
    node: process.version,
    pid: process.pid,
  }));
  connection.onRequest(AuditRun, async ({ id, request }, token) => {
    try {
      const { report } = await runAudit(request, {
        progress: (progress) => void connection.sendNotification(ProgressNotification, { id, progress }),
        async pause() {
          // A macrotask, so that the cancel message can be read in between.
          await new Promise<void>((resolve) => {
            setImmediate(resolve);
          });
          if (token.isCancellationRequested) {
            throw new CancelledError();
          }
        },
      });
      return {
        folder: request.out,
        mismatch: mismatchError(report)?.message ?? null,
        cancelled: report.cancelled === true,
      };
    } catch (error) {
      return toResponseError(error);
    }
  });
  connection.onRequest(ProbeEngines, async ({ tfjsFolder }) => {
    const options = tfjsFolder === null ? {} : { tfjsFolder };
    return Promise.all([...GPU_ENGINES, ...CPU_ENGINES].map((id) => probeEngine(id, options)));
  });
  connection.onRequest(RankCheckpoints, ({ gradients, candidates }) => {
    try {
      return rankCheckpoints(gradients, candidates);
    } catch (error) {
      return toResponseError(error);
    }
  });
  connection.listen();
}

function rankCheckpoints(gradientPath: string, candidates: readonly string[]): RankedCheckpoint[] {
  const gradients = openTensorFile(gradientPath);
  try {
    return candidates
      .map((path): RankedCheckpoint => {
        try {
          const checkpoint = openTensorFile(path);
          try {
            return { path, fit: fitOf(checkpoint, gradients), problem: null };
          } finally {
            checkpoint.close();
          }
        } catch (error) {
          return { path, fit: 0, problem: messageOf(error) };
        }
      })
      .sort((one, other) => other.fit - one.fit);
  } finally {
    gradients.close();
  }
}

function toResponseError(error: unknown): ResponseError<UnusableInputError['parts']> {
  if (error instanceof CancelledError) {
    return new ResponseError(RUNNER_ERRORS.cancelled, error.message);
  }
  if (error instanceof UnusableInputError) {
    return new ResponseError(RUNNER_ERRORS.unusableInput, error.message, error.parts);
  }
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return new ResponseError(RUNNER_ERRORS.fault, detail);
}
