import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { PanelImage } from '../protocol/panel-messages.js';
import type { Report } from '../protocol/report.js';
import { REPORT_FILE, readImages } from '../audit/output.js';

/** Finished audits in the extension's storage, each a folder of its own named by its id. */

const MOST_KEPT = 50;
const ID = /^\d{14}-[0-9a-f]{8}$/;

export class AuditStore {
  /** @param folder made when first written to */
  constructor(private readonly folder: string) {}

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
    // The id comes back from a webview, so it must not lead anywhere else.
    if (!ID.test(id)) {
      return undefined;
    }
    try {
      const stored: unknown = JSON.parse(readFileSync(join(this.folder, id, REPORT_FILE), 'utf8'));
      return isReport(stored) ? stored : undefined;
    } catch {
      return undefined;
    }
  }

  /** A file of an audit's folder. */
  filePath(id: string, name: string): string {
    return join(this.folder, id, name);
  }

  /** Reconstructed inputs with all their numbers. */
  images(id: string, report: Report): PanelImage[] {
    return ID.test(id) ? readImages(join(this.folder, id), report) : [];
  }

  remove(id: string): void {
    rmSync(join(this.folder, id), { recursive: true, force: true });
  }
}

function isReport(stored: unknown): stored is Report {
  return typeof stored === 'object' && stored !== null && 'schemaVersion' in stored && stored.schemaVersion === 1;
}
