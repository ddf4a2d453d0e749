import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { TENSOR_FILE_EXTENSIONS } from '../../../src/formats/open.js';
import { contextOf } from '../../../src/extension/audit-rows.js';
import {
  AUDITS_TREE,
  COMMANDS,
  CONTEXTS,
  HINT_SWITCHES,
  INSPECTOR_VIEWS,
  INTERNAL_COMMANDS,
  LENS_SWITCHES,
  PROJECT_TREE,
  RESULTS_VIEW,
  SETTINGS,
  SUMMARY_VIEW,
  TASK_TYPE,
  TOOL_NAME,
} from '../../../src/extension/ids.js';
import { RECONSTRUCTION_OPTIONS } from '../../../src/cli/reconstruction-options.js';
import {
  ATTACKS,
  ENGINE_CHOICES,
  LAYOUTS,
  MATCHING_CHOICES,
  METHODS,
  PRESET_NAMES,
} from '../../../src/protocol/audit-request.js';
import { NORMALISATION_CHOICES } from '../../../src/protocol/normalisations.js';
import { HINTS } from '../../../src/scripts/hints.js';
import { POINT_KINDS } from '../../../src/scripts/training-points.js';

interface Setting {
  markdownDescription?: string;
  scope?: string;
  enum?: string[];
  enumItemLabels?: string[];
  enumDescriptions?: string[];
  default?: unknown;
  properties?: Record<string, { description?: string; default?: boolean; enum?: string[] }>;
}

interface Manifest {
  activationEvents: string[];
  contributes: {
    customEditors: { viewType: string; priority: string; selector: { filenamePattern: string }[] }[];
    views: Record<string, { id: string }[]>;
    taskDefinitions: { type: string }[];
    languageModelTools: { name: string }[];
    walkthroughs: { steps: { media: { markdown: string } }[] }[];
    commands: { command: string; enablement?: string }[];
    menus: Record<string, { command: string; when: string }[]>;
    keybindings: { command: string }[];
    viewsWelcome: { contents: string }[];
    configuration: { title: string; properties: Record<string, Setting> }[];
  };
  capabilities: { untrustedWorkspaces: { restrictedConfigurations: string[] } };
}

const ROOT = join(import.meta.dirname, '..', '..', '..');
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest;

function settingOf(name: string): Setting {
  const setting = manifest.contributes.configuration.map(({ properties }) => properties[name]).find(Boolean);
  if (!setting) {
    throw new Error(`no setting ${name}`);
  }
  return setting;
}

/** Names of the switches in a setting, each of which has a plain description and its default in the whole setting's too. */
function switchesOf(name: string): string[] {
  const { properties = {}, default: all } = settingOf(name);
  for (const { description } of Object.values(properties)) {
    expect(description).toMatch(/^\w.*[\w)]$/);
  }
  expect(all).toEqual(Object.fromEntries(Object.entries(properties).map(([own, { default: on }]) => [own, on])));
  return Object.keys(properties);
}

describe('package.json and the code', () => {
  it('name the same commands', () => {
    expect(manifest.contributes.commands.map(({ command }) => command).sort()).toEqual(
      Object.values(COMMANDS)
        .filter((command) => !INTERNAL_COMMANDS.includes(command))
        .sort(),
    );
  });

  it('offer in menus, keys and welcome texts only commands that there are', () => {
    const { menus, keybindings, viewsWelcome } = manifest.contributes;
    const linked = viewsWelcome.flatMap(({ contents }) =>
      [...contents.matchAll(/\(command:([\w.]+)\)/g)].map(([, own]) => own),
    );
    const offered = [...Object.values(menus).flat(), ...keybindings].map(({ command }) => command);
    for (const command of [...offered, ...linked]) {
      expect(Object.values(COMMANDS)).toContain(command);
    }
    expect(linked.filter((own) => own === COMMANDS.auditFile)).toHaveLength(2);
  });

  it('offer on the rows of both lists what can be done with an audit', () => {
    const rows = manifest.contributes.menus['view/item/context'] ?? [];
    const offered = (view: string, context: string): string[] =>
      rows
        .filter(({ when }) => {
          const [, views = '', words = ''] = /^view =~ \/(.+)\/ && viewItem =~ \/(.+)\/$/.exec(when) ?? [];
          return new RegExp(views).test(view) && new RegExp(words).test(context);
        })
        .map(({ command }) => command);
    const whole = { hasReport: true, hasCheckpoint: true, hasScript: true };
    const all = [
      COMMANDS.rerunAudit,
      COMMANDS.rerunAuditWith,
      COMMANDS.compareAudits,
      COMMANDS.defendAudit,
      COMMANDS.inspectGradient,
      COMMANDS.inspectCheckpoint,
      COMMANDS.openCapturingLine,
      COMMANDS.revealGradient,
      COMMANDS.exportAudit,
    ];
    expect(new Set(offered(AUDITS_TREE, contextOf({ isSingle: true, ...whole })))).toEqual(
      new Set([...all, COMMANDS.deleteAudit]),
    );
    expect(new Set(offered(PROJECT_TREE, contextOf({ isSingle: false, ...whole })))).toEqual(new Set(all));
    const failed = contextOf({ isSingle: false, hasReport: false, hasCheckpoint: true, hasScript: false });
    expect(offered(PROJECT_TREE, failed)).not.toContain(COMMANDS.exportAudit);
    expect(offered(PROJECT_TREE, failed)).not.toContain(COMMANDS.openCapturingLine);
    expect(new Set(offered(AUDITS_TREE, 'running'))).toEqual(new Set([COMMANDS.stopAudit]));
  });

  it('name the same settings, each described and scoped', () => {
    const properties = manifest.contributes.configuration.flatMap((group) => Object.entries(group.properties));
    expect(properties.map(([name]) => name).sort()).toEqual(Object.values(SETTINGS).sort());
    for (const [, { markdownDescription, scope }] of properties) {
      expect(markdownDescription).toMatch(/\w/);
      expect(scope).toMatch(/\w/);
    }
  });

  it('hide from the palette what cannot run, by keys that the code sets', () => {
    const { commands, menus } = manifest.contributes;
    const palette = new Map(menus.commandPalette?.map(({ command, when }) => [command, when]));
    const known = [
      ...Object.values(CONTEXTS),
      'isWorkspaceTrusted',
      'workspaceFolderCount',
      'activeWebviewPanelId',
      RESULTS_VIEW,
    ];
    for (const { command, enablement } of commands) {
      // A command that is greyed in menus is not listed at all.
      expect(palette.get(command) ?? '').toContain(enablement ?? '');
    }
    for (const condition of palette.values()) {
      for (const key of condition.match(/[a-zA-Z.]+/g) ?? []) {
        expect(known).toContain(key);
      }
    }
    expect(palette.get(COMMANDS.auditExample)).toBe('isWorkspaceTrusted');
    expect(palette.get(COMMANDS.inspectFile)).toBeUndefined();
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
    expect(manifest.contributes.views.gradleak?.map(({ id }) => id)).toEqual([AUDITS_TREE, PROJECT_TREE]);
    expect(manifest.contributes.taskDefinitions.map(({ type }) => type)).toEqual([TASK_TYPE]);
    expect(manifest.contributes.languageModelTools.map(({ name }) => name)).toEqual([TOOL_NAME]);
  });

  it('have a switch for every lens and every hint, and a page that explains each hint', () => {
    expect(switchesOf(SETTINGS.lenses)).toEqual([...POINT_KINDS, ...Object.values(LENS_SWITCHES)]);
    expect(switchesOf(SETTINGS.hints)).toEqual(Object.values(HINT_SWITCHES));
    expect(Object.keys(HINT_SWITCHES)).toEqual(Object.keys(HINTS));
    const page = readFileSync(join(ROOT, 'docs', 'hints.md'), 'utf8');
    for (const code of Object.keys(HINTS)) {
      expect(page).toContain(`## ${code}\n`);
    }
  });

  it.each([
    [SETTINGS.method, METHODS],
    [SETTINGS.layout, ['auto', ...LAYOUTS]],
    [SETTINGS.attack, ATTACKS],
    [SETTINGS.projectAttack, ATTACKS],
    [SETTINGS.preset, PRESET_NAMES],
    [SETTINGS.engine, ENGINE_CHOICES],
    [SETTINGS.normalisation, NORMALISATION_CHOICES],
  ])('offer with %s what the terminal takes, under plain names', (name, choices) => {
    const { enum: offered = [], enumItemLabels = [], enumDescriptions } = settingOf(name);
    expect([...offered].sort()).toEqual([...choices].sort());
    expect(enumItemLabels).toHaveLength(offered.length);
    expect(enumDescriptions ?? offered).toHaveLength(offered.length);
  });

  it('take the settings of gradient matching that the terminal takes', () => {
    const { properties = {} } = settingOf(SETTINGS.matching);
    const asOption = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    for (const [name, { description, enum: choices }] of Object.entries(properties)) {
      expect(Object.keys(RECONSTRUCTION_OPTIONS)).toContain(asOption(name));
      expect(description).toMatch(/\.$/);
      expect(choices).toEqual(MATCHING_CHOICES[name as keyof typeof MATCHING_CHOICES]);
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
      SETTINGS.queueUrl,
      SETTINGS.queueStore,
    ]);
  });

  it('let no workspace say where a queue and its results are', () => {
    expect(settingOf(SETTINGS.queueUrl).scope).toBe('machine');
    expect(settingOf(SETTINGS.queueStore).scope).toBe('machine');
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
