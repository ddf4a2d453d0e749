import { STANDING_WORDS } from '../words/outcome-words.js';
import { shortPath } from '../words/report-words.js';
import { visibleInList } from '../words/visible.js';
import type { AuditStore, StoredAudit } from './audit-store.js';
import { iconNameOf } from './icon-names.js';
import { showInformation } from './notifications.js';
import { pickOne } from './questions.js';

/** Single audits of this workspace to choose from, newest first. @param title what is done with the chosen one */
export async function pickAudit(
  store: AuditStore,
  title: string,
  isOffered: (audit: StoredAudit) => boolean = () => true,
): Promise<StoredAudit | undefined> {
  const items = store
    .list()
    .filter(isOffered)
    .map((audit) => ({
      label: `$(${iconNameOf(audit.standing, audit.severity)}) ${visibleInList(shortPath(audit.gradients))}`,
      description: `${STANDING_WORDS[audit.standing]}, ${new Date(audit.made).toLocaleString()}`,
      detail: visibleInList(audit.sentence),
      audit,
    }));
  if (items.length === 0) {
    void showInformation('No audit is stored for this workspace yet.');
    return undefined;
  }
  const picked = await pickOne(items, {
    title,
    placeHolder: 'Newest first',
    matchOnDescription: true,
    matchOnDetail: true,
  });
  return picked?.audit;
}
