import { describe, expect, it } from 'vitest';
import { childArguments, chooseRuntime, runtimeEnvironment } from '../../../src/runner/runtime.js';

const node = (version: string) => (): Promise<{ version: string }> => Promise.resolve({ version });
const broken = (): Promise<never> => Promise.reject(new Error('spawn EACCES'));

describe('which runtime the child gets', () => {
  it('the configured one, when it works', async () => {
    const facts = { configured: '/opt/node', execPath: '/editor', electron: '39.0', onPath: '/usr/bin/node' };
    expect(await chooseRuntime(facts, node('v22.1.0'))).toMatchObject({ executable: '/opt/node', kind: 'configured' });
  });

  it.each([
    ['that cannot be run', broken, 'EACCES'],
    ['that is too old', node('v18.2.0'), 'v18.2.0'],
  ])('a configured one %s is an error, never a silent fall-back', async (_name, probe, said) => {
    const facts = { configured: '/opt/node', execPath: '/usr/bin/node', electron: undefined, onPath: undefined };
    await expect(chooseRuntime(facts, probe)).rejects.toThrow(said);
    await expect(chooseRuntime(facts, probe)).rejects.toThrow('gradleak.runtime.nodePath');
  });

  it('the host’s own on a plain Node, as on remotes', async () => {
    const facts = { configured: '', execPath: '/server/node', electron: undefined, onPath: '/usr/bin/node' };
    expect(await chooseRuntime(facts, broken)).toMatchObject({ executable: '/server/node', kind: 'host' });
  });

  it('the PATH’s in a desktop editor', async () => {
    const facts = { configured: '', execPath: '/editor', electron: '39.0', onPath: '/usr/bin/node' };
    expect(await chooseRuntime(facts, node('v24.0.0'))).toMatchObject({ executable: '/usr/bin/node', kind: 'path' });
  });

  it.each([
    [undefined, broken],
    ['/usr/bin/node', broken],
    ['/usr/bin/node', node('v16.0.0')],
    ['/usr/bin/node', node('not a version')],
  ])('Electron as Node when nothing else works, with reasons', async (onPath, probe) => {
    const choice = await chooseRuntime({ configured: '', execPath: '/editor', electron: '39.0', onPath }, probe);
    expect(choice).toMatchObject({ executable: '/editor', kind: 'electron' });
    expect(choice.reasons.length).toBe(3);
  });
});

describe('the child’s environment', () => {
  const env = { PATH: '/bin', ELECTRON_RUN_AS_NODE: '1', NODE_OPTIONS: '--require ./evil.js' };
  it('tells Electron to be a Node', () => {
    expect(runtimeEnvironment('electron', { PATH: '/bin' })).toEqual({ PATH: '/bin', ELECTRON_RUN_AS_NODE: '1' });
  });
  it('keeps the switch and foreign options from a real Node', () => {
    expect(runtimeEnvironment('path', env)).toEqual({ PATH: '/bin' });
  });
});

describe('the arguments of the child', () => {
  it('open a port for a debugger only when a number was given', () => {
    expect(childArguments('runner.js', {})).toEqual(['--enable-source-maps', 'runner.js']);
    expect(childArguments('runner.js', { GRADLEAK_INSPECT: '9230' })).toContain('--inspect=9230');
    expect(childArguments('runner.js', { GRADLEAK_INSPECT: '0.0.0.0:1 --eval' })).toHaveLength(2);
  });
});
