import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { TENSOR_FILE_EXTENSIONS } from '../../../src/formats/open.js';
import {
  COMMANDS,
  HINT_SETTINGS,
  INSPECTOR_VIEWS,
  INTERNAL_COMMANDS,
  LENS_SETTINGS,
  PROJECT_TREE,
  RESULTS_VIEW,
  SETTINGS,
  SUMMARY_VIEW,
  TASK_TYPE,
  TOOL_NAME,
} from '../../../src/extension/ids.js';
import { HINTS } from '../../../src/scripts/hints.js';
import { POINT_KINDS } from '../../../src/scripts/training-points.js';

interface Manifest {
  activationEvents: string[];
  contributes: {
    customEditors: { viewType: string; priority: string; selector: { filenamePattern: string }[] }[];
    views: Record<string, { id: string }[]>;
    taskDefinitions: { type: string }[];
    languageModelTools: { name: string }[];
    walkthroughs: { steps: { media: { markdown: string } }[] }[];
    commands: { command: string }[];
    menus: Record<string, { command: string; when: string }[]>;
    configuration: { properties: Record<string, { markdownDescription?: string; scope?: string }> }[];
  };
  capabilities: { untrustedWorkspaces: { restrictedConfigurations: string[] } };
}

const ROOT = join(import.meta.dirname, '..', '..', '..');
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest;

describe('package.json and the code', () => {
  it('name the same commands', () => {
    expect(manifest.contributes.commands.map(({ command }) => command).sort()).toEqual(
      Object.values(COMMANDS)
        .filter((command) => !INTERNAL_COMMANDS.includes(command))
        .sort(),
    );
  });

  it('name the same settings, each described and scoped', () => {
    const properties = manifest.contributes.configuration.flatMap((group) => Object.entries(group.properties));
    expect(properties.map(([name]) => name).sort()).toEqual(
      [...Object.values(SETTINGS), ...Object.values(LENS_SETTINGS), ...Object.values(HINT_SETTINGS)].sort(),
    );
    for (const [, { markdownDescription, scope }] of properties) {
      expect(markdownDescription).toMatch(/\w/);
      expect(scope).toMatch(/\w/);
    }
  });

  it('activate for restored panels and Python files only', () => {
    expect(manifest.activationEvents).toEqual([
      `onWebviewPanel:${RESULTS_VIEW}`,
      `onWebviewPanel:${SUMMARY_VIEW}`,
      'onLanguage:python',
    ]);
  });

  it('name the same views, task type and tool', () => {
    expect(manifest.contributes.customEditors.map(({ viewType }) => viewType)).toEqual([...INSPECTOR_VIEWS]);
    expect(manifest.contributes.views.gradleak?.map(({ id }) => id)).toEqual([PROJECT_TREE]);
    expect(manifest.contributes.taskDefinitions.map(({ type }) => type)).toEqual([TASK_TYPE]);
    expect(manifest.contributes.languageModelTools.map(({ name }) => name)).toEqual([TOOL_NAME]);
  });

  it('have a switch for every lens and every hint, and a page that explains each hint', () => {
    expect(Object.keys(LENS_SETTINGS).sort()).toEqual([...POINT_KINDS].sort());
    expect(Object.keys(HINT_SETTINGS)).toEqual(Object.keys(HINTS));
    const page = readFileSync(join(ROOT, 'docs', 'hints.md'), 'utf8');
    for (const code of Object.keys(HINTS)) {
      expect(page).toContain(`## ${code}\n`);
    }
  });

  it('open by default what nobody else owns', () => {
    const [own, shared] = manifest.contributes.customEditors;
    expect(own?.priority).toBe('default');
    expect(own?.selector.map(({ filenamePattern }) => filenamePattern)).toEqual(
      expect.arrayContaining(['*.pt', '*.pth', '*.safetensors', '*.npz', '*.npy']),
    );
    expect(shared?.priority).toBe('option');
  });

  it('ship every page of the walkthrough', () => {
    for (const { media } of manifest.contributes.walkthroughs.flatMap(({ steps }) => steps)) {
      expect(readFileSync(join(ROOT, media.markdown), 'utf8')).toMatch(/^# /);
    }
  });

  it('restrict the executable in untrusted workspaces', () => {
    expect(manifest.capabilities.untrustedWorkspaces.restrictedConfigurations).toEqual([
      SETTINGS.nodePath,
      SETTINGS.engine,
      SETTINGS.tfjsFolder,
      SETTINGS.model,
      SETTINGS.lpips,
    ]);
  });

  it('offer the audit on the file types that the readers know', () => {
    const when =
      manifest.contributes.menus['explorer/context']?.find(({ command }) => command === COMMANDS.auditFile)?.when ?? '';
    const pattern = new RegExp(/resourceExtname =~ \/(.+?)\/ /.exec(when)?.[1] ?? 'none');
    for (const extension of TENSOR_FILE_EXTENSIONS.filter((known) => known !== '.pkl')) {
      expect(extension).toMatch(pattern);
    }
  });
});
