import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PanelImage } from '../protocol/panel-messages.js';
import type { ProjectReport } from '../protocol/project-report.js';
import type { Report } from '../protocol/report.js';

const BUNDLES = join(__dirname, 'webview');

/**
 * The results panel as one self-contained page: the webview's own bundle with the report inside. No network,
 * and a content security policy that says so.
 *
 * @param bundles folder of the built webview
 */
export function renderHtml(report: Report, images: readonly PanelImage[], bundles = BUNDLES): string {
  return page('panel', 'GradLeak report', { report, images }, bundles);
}

/** The summary of a project, the same way. */
export function renderProjectHtml(report: ProjectReport): string {
  return page('summary', 'GradLeak project report', report, BUNDLES);
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
