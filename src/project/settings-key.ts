import { contentHashIfAny } from '../formats/content-hash.js';
import type { AuditRequest } from '../protocol/audit-request.js';

/**
 * Settings as a text that changes with them and with the contents of the files that they name.
 *
 * @param root where results belong to a project at its place, as reports name files; undefined where they outlive it
 */
export async function settingsKey(
  settings: Omit<AuditRequest, 'checkpoint' | 'gradients' | 'out' | 'truth'>,
  root: string | undefined,
  pause: () => Promise<void>,
): Promise<string> {
  const { model, lpips } = settings.reconstruction ?? {};
  const files: (string | null)[] = [];
  for (const path of [model, lpips]) {
    files.push(path === undefined ? null : await contentHashIfAny(path, pause));
  }
  return JSON.stringify({ settings, files, root });
}
