import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import type { PanelImage, PanelPage, StoredDefence } from '../protocol/panel-messages.js';
import type { ProjectReport } from '../protocol/project-report.js';
import type { Report } from '../protocol/report.js';
import type { EntryPreview, ProjectPage } from '../protocol/summary-messages.js';
import { portable } from './discover.js';
import { pathWithin } from './within.js';
import { withoutLocalPaths } from '../words/local-paths.js';
import { baseName } from '../words/report-words.js';

const BUNDLES = join(__dirname, 'webview');

/**
 * The results panel as one self-contained page: the webview's own bundle with the report inside. No network,
 * a content security policy that says so, and no path of this machine.
 *
 * @param bundles folder of the built webview
 */
export function renderHtml(
  report: Report,
  images: readonly PanelImage[],
  { defence, bundles = BUNDLES }: { readonly defence?: StoredDefence | undefined; readonly bundles?: string } = {},
): string {
  const { checkpoint, gradients } = report.inputs;
  const folders = [
    process.cwd(),
    ...[checkpoint, gradients].flatMap((file) => (file ? dirname(file.path) : [])).filter(isAbsolute),
  ];
  const shortened = <T>(value: T): T => withoutLocalPaths(value, folders, homedir());
  const content: PanelPage = {
    report: shortened(report),
    images: [...images],
    ...(defence ? { defence: { ...defence, report: shortened(defence.report) } } : {}),
  };
  return page('panel', 'GradLeak report', content, bundles);
}

/**
 * The summary of a project, the same way.
 *
 * @param previews see {@link previewsForPage}
 * @param hasPages whether the page of each entry is written beside this one
 */
export function renderProjectHtml(
  report: ProjectReport,
  previews: EntryPreview[],
  { hasPages = false, bundles = BUNDLES }: { hasPages?: boolean; bundles?: string } = {},
): string {
  const entries = report.entries.map(({ script, ...entry }) => ({
    ...entry,
    script: script && { ...script, file: scriptName(report.root, script.file) },
  }));
  const content: ProjectPage = {
    report: withoutLocalPaths({ ...report, entries }, [report.root], homedir()),
    previews,
    hasPages,
  };
  return page('summary', 'GradLeak project report', content, bundles);
}

function scriptName(root: string, file: string): string {
  const within = pathWithin(root, file);
  return within === undefined ? baseName(file) : portable(within);
}

function page(view: 'panel' | 'summary', title: string, content: object, bundles: string): string {
  const bundle = (name: string): string => readFileSync(join(bundles, name), 'utf8');
  // "</script" and "<!--" inside a script element would end it or change how it is parsed.
  const embed = (text: string): string => text.replace(/<\/(script|style)/gi, '<\\/$1').replace(/<!--/g, '<\\!--');
  const data = JSON.stringify(content).replace(/</g, '\\u003c');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>${embed(bundle('page-theme.css'))}</style>
<style>${embed(bundle(`${view}.css`))}</style>
</head>
<body class="gradleak-page">
<main id="root"></main>
<script type="application/json" id="gradleak-report">${data}</script>
<script>${embed(bundle(`${view}.js`))}</script>
</body>
</html>
`;
}
