// Third-party notices: the licences of all packages that a VSIX holds, and which licences it may hold.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './setup.mjs';

/** SPDX names. They let a package be passed on within another, with its notice. */
const ALLOWED = ['0BSD', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', 'MIT'];
/** Licences without an SPDX name, by package: terms that were read, and ask for no more than their notice. */
const READ = { h5wasm: 'SEE LICENSE IN LICENSE.txt' };
/** Packages that come without the text of their licence, by what they say in their sources or package.json. */
const HOLDERS = {
  '@aws-sdk/credential-provider-http': 'Copyright Amazon.com, Inc. or its affiliates',
  '@aws-sdk/credential-provider-login': 'Copyright Amazon.com, Inc. or its affiliates',
  '@aws-sdk/nested-clients': 'Copyright Amazon.com, Inc. or its affiliates',
  '@microsoft/fast-element': 'Copyright (c) Microsoft Corporation',
  '@microsoft/fast-foundation': 'Copyright (c) Microsoft Corporation',
  '@microsoft/fast-web-utilities': 'Copyright (c) Microsoft Corporation',
  '@tensorflow/tfjs-backend-cpu': 'Copyright Google LLC',
  '@tensorflow/tfjs-backend-wasm': 'Copyright Google LLC',
  '@tensorflow/tfjs-core': 'Copyright Google LLC',
  'onnxruntime-common': 'Copyright (c) Microsoft Corporation',
  'onnxruntime-node': 'Copyright (c) Microsoft Corporation',
  seedrandom: 'Copyright 2019 David Bau',
  tr46: 'Copyright (c) Sebastian Mayr',
};
/** Binaries hold code of others, whose notices are not in their npm package. */
const FURTHER = {
  'onnxruntime-node': (version) =>
    `Notices of what its binaries hold: https://github.com/microsoft/onnxruntime/blob/v${version}/ThirdPartyNotices.txt`,
};
const NOTICE_FILE = /^(licen[cs]e|copying|notice|copyright|third-?party-?notices)/i;
const RULE = '='.repeat(80);

/**
 * The folders of the packages that files are of.
 *
 * @param files relative to the repository, as esbuild names what it bundled
 */
export function packagesOf(files) {
  const folders = files.flatMap((file) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? []);
  return [...new Set(folders)].sort();
}

/**
 * The notices of packages, one after the other.
 *
 * @param folders of the packages, relative to the repository or absolute
 * @throws Error with a sentence for whoever packages, when one may not be shipped or its licence has no text
 */
export function noticesOf(folders) {
  const notices = folders.map((folder) => noticeOf(join(folder.startsWith('node_modules') ? ROOT : '', folder)));
  return [
    'GradLeak holds the packages below, in whole or in part, under the licences that follow.',
    ...new Set(notices),
  ].join(`\n\n${RULE}\n\n`);
}

function noticeOf(folder) {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const own = `${name} ${version}`;
  if (!ALLOWED.includes(license) && (license === undefined || READ[name] !== license)) {
    throw new Error(
      `${own} has the licence ${JSON.stringify(license ?? 'none')}, which is not on the allow list: replace the package, or read its terms and add them in .ci/notices.mjs.`,
    );
  }
  const texts = readdirSync(folder)
    .filter((file) => NOTICE_FILE.test(file))
    .sort()
    .map((file) => withoutEmptyEnds(readFileSync(join(folder, file), 'utf8')));
  return [
    `${own} (${license})`,
    ...(texts.length > 0 ? texts : [standardText(own, name, license)]),
    ...(name in FURTHER ? [FURTHER[name](version)] : []),
  ].join('\n\n');
}

function standardText(own, name, license) {
  const holder = HOLDERS[name];
  if (holder === undefined || (license !== 'MIT' && license !== 'Apache-2.0')) {
    throw new Error(
      `${own} comes without the text of its licence: find who holds its copyright and name them in .ci/notices.mjs.`,
    );
  }
  // Our own licence is the standard text of MIT.
  const text =
    license === 'MIT'
      ? readFileSync(join(ROOT, 'LICENSE'), 'utf8').replace(/^Copyright.*$/m, holder)
      : `${holder}\n\n${readFileSync(join(ROOT, '.ci', 'licences', 'Apache-2.0.txt'), 'utf8')}`;
  return withoutEmptyEnds(text);
}

function withoutEmptyEnds(text) {
  return text.replace(/^(?:\s*\n)+/, '').trimEnd();
}
