import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { TENSOR_FILE_EXTENSIONS } from '../../../src/formats/open.js';
import { COMMANDS, RESULTS_VIEW, SETTINGS } from '../../../src/extension/ids.js';

interface Manifest {
  activationEvents: string[];
  contributes: {
    commands: { command: string }[];
    menus: Record<string, { command: string; when: string }[]>;
    configuration: { properties: Record<string, { markdownDescription?: string; scope?: string }> }[];
  };
  capabilities: { untrustedWorkspaces: { restrictedConfigurations: string[] } };
}

const manifest = JSON.parse(
  readFileSync(join(import.meta.dirname, '..', '..', '..', 'package.json'), 'utf8'),
) as Manifest;

describe('package.json and the code', () => {
  it('name the same commands', () => {
    expect(manifest.contributes.commands.map(({ command }) => command).sort()).toEqual(Object.values(COMMANDS).sort());
  });

  it('name the same settings, each described and scoped', () => {
    const properties = manifest.contributes.configuration.flatMap((group) => Object.entries(group.properties));
    expect(properties.map(([name]) => name).sort()).toEqual(Object.values(SETTINGS).sort());
    for (const [, { markdownDescription, scope }] of properties) {
      expect(markdownDescription).toMatch(/\w/);
      expect(scope).toMatch(/\w/);
    }
  });

  it('activate for nothing but a restored panel', () => {
    expect(manifest.activationEvents).toEqual([`onWebviewPanel:${RESULTS_VIEW}`]);
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
