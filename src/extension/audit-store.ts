import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import requestSchema from '../protocol/audit-request.schema.json';
import type { AuditRequest } from '../protocol/audit-request.js';
import type { PanelImage, StoredDefence } from '../protocol/panel-messages.js';
import type { Report, Severity } from '../protocol/report.js';
import { replaceFile } from '../audit/output-folder.js';
import { worst } from '../audit/findings.js';
import { readDefence } from '../audit/defence/stored-defence.js';
import { REPORT_FILE, readImages, readStored } from '../audit/output.js';
import { upgradeReport } from '../audit/upgrade-report.js';
import { parseJson, readBounded, validatorOf } from '../formats/json-file.js';
import { type Standing, standingOfReport } from '../words/outcome-words.js';
import { Listeners } from './listeners.js';

/** Finished audits in the extension's storage, each a folder of its own named by its id. */

const MOST_KEPT = 50;
const ID = /^\d{14}-[0-9a-f]{8}$/;
/** Audits of a project are named by what they are of. */
const PROJECT_ID = /^[0-9a-f]{20}$/;
/** What an audit was asked for, so that it can be run again. */
const REQUEST_FILE = 'request.json';
const MOST_REQUEST_BYTES = 2 ** 20;
const REQUEST = validatorOf<AuditRequest>(requestSchema);

/** What a list says of a stored audit. */
export interface StoredAudit {
  readonly id: string;
  /** When its report was written, in milliseconds since 1970. */
  readonly made: number;
  readonly gradients: string;
  /** Undefined where the gradient was audited alone. */
  readonly checkpoint: string | undefined;
  readonly standing: Standing;
  /** Of the worst finding. */
  readonly severity: Severity | null;
  readonly sentence: string;
  /** The user stopped it. */
  readonly isStopped: boolean;
}

export class AuditStore {
  private readonly listeners = new Listeners<undefined>();
  private readonly known = new Map<string, { made: number; audit: StoredAudit | undefined }>();

  /**
   * @param folder made when first written to
   * @param projectFolders folders whose `entries/` hold audits of projects
   * @param isInUse whether something is writing to an audit's folder
   */
  constructor(
    private readonly folder: string,
    private readonly projectFolders: () => readonly string[],
    private readonly isInUse: (id: string) => boolean = () => false,
  ) {}

  /** Called when an audit has ended or was removed. */
  readonly onDidChange: (listener: () => void) => { dispose: () => void } = this.listeners.on;

  changed(): void {
    this.listeners.tell(undefined);
  }

  /** A new audit's id and empty folder; the oldest audits beyond fifty are dropped, unless something runs on them. */
  create(): { id: string; folder: string } {
    const stamp = new Date().toISOString().replace(/\D/g, '').slice(0, 14);
    const id = `${stamp}-${randomBytes(4).toString('hex')}`;
    const folder = join(this.folder, id);
    mkdirSync(folder, { recursive: true });
    for (const old of this.ids().slice(MOST_KEPT)) {
      if (!this.isInUse(old)) {
        this.remove(old);
      }
    }
    return { id, folder };
  }

  /** Ids of single audits, newest first. */
  private ids(): string[] {
    return existsSync(this.folder)
      ? readdirSync(this.folder)
          .filter((name) => ID.test(name))
          .sort()
          .reverse()
      : [];
  }

  /** Single audits that have a report, newest first. */
  list(): StoredAudit[] {
    return this.ids().flatMap((id) => this.about(id) ?? []);
  }

  /** The newest single audit that has a report. */
  latest(): StoredAudit | undefined {
    for (const id of this.ids()) {
      const audit = this.about(id);
      if (audit) {
        return audit;
      }
    }
    return undefined;
  }

  /** Undefined when the audit is gone or its report is not one of ours. */
  read(id: string): Report | undefined {
    const folder = this.folderOf(id);
    if (folder === undefined) {
      return undefined;
    }
    return upgradeReport(readStored(folder));
  }

  /** What a list says of an audit. Asked for with every refresh of a lens or a list, so reports are read once. */
  about(id: string): StoredAudit | undefined {
    const made = this.madeAt(id);
    if (made === undefined) {
      this.known.delete(id);
      return undefined;
    }
    const known = this.known.get(id);
    if (known?.made === made) {
      return known.audit;
    }
    const report = this.read(id);
    const audit = report && describe(id, made, report);
    this.known.set(id, { made, audit });
    return audit;
  }

  /** When an audit's report was written. */
  private madeAt(id: string): number | undefined {
    return statSync(this.filePath(id, REPORT_FILE), { throwIfNoEntry: false })?.mtimeMs;
  }

  /** The newest audit of a gradient that was not stopped, made since a time in milliseconds. */
  newestOf(gradients: string, since: number): { id: string; report: Report } | undefined {
    const found = this.everyId().find((id) => {
      // Reports that are too old are not read, which may be thousands.
      const audit = (this.madeAt(id) ?? -Infinity) >= since ? this.about(id) : undefined;
      return audit && !audit.isStopped && audit.gradients === gradients;
    });
    const report = found === undefined ? undefined : this.read(found);
    return found === undefined || !report ? undefined : { id: found, report };
  }

  /** The newest audit that a file took part in, as the gradient or as the checkpoint. */
  newestWith(path: string): StoredAudit | undefined {
    const dated = this.everyId().map((id) => ({ id, made: this.madeAt(id) ?? -Infinity }));
    dated.sort((one, other) => other.made - one.made);
    for (const { id } of dated) {
      const audit = this.about(id);
      if (audit && (audit.gradients === path || audit.checkpoint === path)) {
        return audit;
      }
    }
    return undefined;
  }

  private everyId(): string[] {
    const inProjects = this.projectFolders().flatMap((folder) => {
      const entries = join(folder, 'entries');
      return existsSync(entries) ? readdirSync(entries).filter((name) => PROJECT_ID.test(name)) : [];
    });
    return [...this.ids(), ...inProjects];
  }

  /** Keeps what a single audit was asked for. */
  keepRequest(id: string, request: AuditRequest): void {
    replaceFile(join(this.folder, id, REQUEST_FILE), `${JSON.stringify(request, undefined, 1)}\n`);
  }

  /** Undefined for an audit of a project, and for one of another version that asked for something else. */
  request(id: string): AuditRequest | undefined {
    try {
      const request = parseJson(readBounded(this.filePath(id, REQUEST_FILE), MOST_REQUEST_BYTES));
      return REQUEST.is(request) ? request : undefined;
    } catch {
      return undefined;
    }
  }

  /** The id comes back from a webview, so it must not lead anywhere else. */
  private folderOf(id: string): string | undefined {
    if (ID.test(id)) {
      return join(this.folder, id);
    }
    return PROJECT_ID.test(id)
      ? this.projectFolders()
          .map((folder) => join(folder, 'entries', id))
          .find((folder) => existsSync(folder))
      : undefined;
  }

  /** The folder of a single audit; undefined for an audit of a project, which belongs to the project's report. */
  ownFolder(id: string): string | undefined {
    return ID.test(id) ? join(this.folder, id) : undefined;
  }

  /** A file of an audit's folder. */
  filePath(id: string, name: string): string {
    return join(this.folderOf(id) ?? this.folder, name);
  }

  /** Reconstructed inputs with all their numbers. */
  images(id: string, report: Report): PanelImage[] {
    const folder = this.folderOf(id);
    return folder === undefined ? [] : readImages(folder, report);
  }

  /** The defences that were tried on an audit's update; undefined where none were. */
  defence(id: string): StoredDefence | undefined {
    const folder = this.folderOf(id);
    return folder === undefined ? undefined : readDefence(folder);
  }

  remove(id: string): void {
    rmSync(join(this.folder, id), { recursive: true, force: true });
  }
}

function describe(id: string, made: number, report: Report): StoredAudit {
  return {
    id,
    made,
    gradients: report.inputs.gradients.path,
    checkpoint: report.inputs.checkpoint?.path,
    standing: standingOfReport(report),
    severity: worst(report.findings),
    sentence: report.verdict.sentence,
    isStopped: report.cancelled === true,
  };
}
