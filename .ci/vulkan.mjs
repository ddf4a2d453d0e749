// A Vulkan driver that onnxruntime's WebGPU computes on: this machine's own, else one in software.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { findBrowser } from './editor.mjs';
import { installDebian } from './machine.mjs';
import { ROOT } from './setup.mjs';

const DRIVER_FOLDERS = ['/etc/vulkan/icd.d', '/usr/local/share/vulkan/icd.d', '/usr/share/vulkan/icd.d'];
const DEADLINE_MS = 120_000;

/**
 * Tries every driver in a process of its own, with the probe of dist/, and says how that ended.
 *
 * @returns what it is, and the environment that chooses it; ends this process with what is missing where none works
 */
export async function ensureVulkan() {
  const found = (await firstThatWorks()) ?? (await afterInstalling());
  if (!found) {
    console.error(
      [
        'No Vulkan driver here is one that onnxruntime computes on; the reasons are above.',
        'Known to work in software: SwiftShader, which comes with Chromium (Debian: apt-get install chromium libvulkan1).',
        "Mesa's lavapipe (mesa-vulkan-drivers) is refused where it has no dynamic indexing of arrays of images, as Mesa 22.3 of",
        'Debian 12: "vulkaninfo" then says shaderSampledImageArrayDynamicIndexing = false. Dawn, the WebGPU of onnxruntime, wants it.',
      ].join('\n'),
    );
    process.exit(1);
  }
  return found;
}

async function afterInstalling() {
  if (process.platform !== 'linux' || swiftShader()) {
    return undefined;
  }
  installDebian(
    ['chromium', 'libvulkan1'],
    'WebGPU needs a Vulkan driver; SwiftShader, which comes with Chromium, is one in software.',
  );
  return firstThatWorks();
}

async function firstThatWorks() {
  const lavapipe = DRIVER_FOLDERS.filter((folder) => existsSync(folder)).flatMap((folder) =>
    readdirSync(folder)
      .filter((file) => file.startsWith('lvp_icd'))
      .map((file) => join(folder, file)),
  );
  const candidates = [
    { name: "this machine's own driver", env: {} },
    // Loaders before 1.3.207 know the second name alone.
    ...[...lavapipe, swiftShader()].flatMap((file) =>
      file ? [{ name: file, env: { VK_DRIVER_FILES: file, VK_ICD_FILENAMES: file } }] : [],
    ),
  ];
  for (const candidate of candidates) {
    const { works, detail } = await probe(candidate.env);
    console.log(`${works ? 'taken ' : 'refused'}  ${candidate.name}: ${detail}`);
    if (works) {
      return candidate;
    }
  }
  return undefined;
}

/** Chromium has it beside its program, whose name on PATH may be a script elsewhere. */
function swiftShader() {
  const browser = findBrowser();
  const folders = [
    ...(browser ? [dirname(realpathSync(browser))] : []),
    '/usr/lib/chromium',
    '/usr/lib/chromium-browser',
    '/opt/google/chrome',
  ];
  return folders.map((folder) => join(folder, 'vk_swiftshader_icd.json')).find((file) => existsSync(file));
}

function probe(env) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [join('dist', 'engine-probe.js'), 'onnxruntime-webgpu'], {
      cwd: ROOT,
      // It ends when its standard input does.
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: DEADLINE_MS,
      killSignal: 'SIGKILL',
      env: { ...process.env, ...env },
    });
    let printed = '';
    let complaints = '';
    child.stdout.on('data', (part) => (printed += part));
    child.stderr.on('data', (part) => (complaints += part));
    child.on('close', (code, signal) => {
      const answer = /^gradleak-answer (.*)$/m.exec(printed)?.[1];
      const { works, detail } = answer
        ? JSON.parse(answer)
        : { works: false, detail: `the probe ended with ${signal ?? `exit code ${code}`}` };
      // Dawn says there what it refuses a driver for.
      const reasons = [...complaints.matchAll(/^Warning: (.*)$/gm)].map((match) => match[1]);
      const why = reasons
        .join('; ')
        .replace(/ArrayDynamicIndexing required\.?/, '$& ("Engines" in docs/testing.md says what that means)');
      resolve({ works, detail: works || why === '' ? detail.trim() : why });
    });
  });
}
