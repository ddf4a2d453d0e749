import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { PanelImage } from '../protocol/panel-messages.js';
import type { Report } from '../protocol/report.js';
import { REPORT_FILE, readImages, readStored } from '../audit/output.js';
import { upgradeReport } from '../audit/upgrade-report.js';

/** Finished audits in the extension's storage, each a folder of its own named by its id. */

const MOST_KEPT = 50;
const ID = /^\d{14}-[0-9a-f]{8}$/;
/** Audits of a project are named by what they are of. */
const PROJECT_ID = /^[0-9a-f]{20}$/;

export class AuditStore {
  private readonly listeners = new Set<() => void>();
  private readonly audited = new Map<string, { made: number; gradients: string | undefined }>();

  /**
   * @param folder made when first written to
   * @param projectFolders folders whose `entries/` hold audits of projects
   */
  constructor(
    private readonly folder: string,
    private readonly projectFolders: () => readonly string[],
  ) {}

  /** Called when an audit has ended. */
  readonly onDidChange = (listener: () => void): { dispose: () => void } => {
    this.listeners.add(listener);
    return { dispose: () => void this.listeners.delete(listener) };
  };

  changed(): void {
    for (const listener of this.listeners) {
      listener();
    }
  }

  /** A new audit's id and empty folder; the oldest audits beyond fifty are dropped. */
  create(): { id: string; folder: string } {
    const stamp = new Date().toISOString().replace(/\D/g, '').slice(0, 14);
    const id = `${stamp}-${randomBytes(4).toString('hex')}`;
    const folder = join(this.folder, id);
    mkdirSync(folder, { recursive: true });
    for (const old of this.ids().slice(MOST_KEPT)) {
      this.remove(old);
    }
    return { id, folder };
  }

  /** Ids, newest first. */
  ids(): string[] {
    return existsSync(this.folder)
      ? readdirSync(this.folder)
          .filter((name) => ID.test(name))
          .sort()
          .reverse()
      : [];
  }

  /** The newest audit that has a report. */
  latest(): string | undefined {
    return this.ids().find((id) => existsSync(join(this.folder, id, REPORT_FILE)));
  }

  /** Undefined when the audit is gone or its report is not one of ours. */
  read(id: string): Report | undefined {
    const folder = this.folderOf(id);
    if (folder === undefined) {
      return undefined;
    }
    return upgradeReport(readStored(folder));
  }

  /** The newest finished audit of a gradient, made since a time in milliseconds. */
  newestOf(gradients: string, since: number): { id: string; report: Report } | undefined {
    const inProjects = this.projectFolders().flatMap((folder) => {
      const entries = join(folder, 'entries');
      return existsSync(entries) ? readdirSync(entries).filter((name) => PROJECT_ID.test(name)) : [];
    });
    for (const id of [...this.ids(), ...inProjects]) {
      const path = this.filePath(id, REPORT_FILE);
      const made = existsSync(path) ? statSync(path).mtimeMs : 0;
      if (made >= since && this.gradientsOf(id, made) === gradients) {
        const report = this.read(id);
        return report && { id, report };
      }
    }
    return undefined;
  }

  /** Asked for with every refresh of a lens, so reports are read once; undefined for one that was stopped. */
  private gradientsOf(id: string, made: number): string | undefined {
    const known = this.audited.get(id);
    if (known?.made === made) {
      return known.gradients;
    }
    const report = this.read(id);
    const gradients = report?.cancelled === true ? undefined : report?.inputs.gradients.path;
    this.audited.set(id, { made, gradients });
    return gradients;
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

  /** A file of an audit's folder. */
  filePath(id: string, name: string): string {
    return join(this.folderOf(id) ?? this.folder, name);
  }

  /** Reconstructed inputs with all their numbers. */
  images(id: string, report: Report): PanelImage[] {
    const folder = this.folderOf(id);
    return folder === undefined ? [] : readImages(folder, report);
  }

  remove(id: string): void {
    rmSync(join(this.folder, id), { recursive: true, force: true });
  }
}
