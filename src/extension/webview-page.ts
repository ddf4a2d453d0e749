import { randomBytes } from 'node:crypto';
import * as vscode from 'vscode';

/** Options that every webview of ours runs with: our own bundle and nothing else. */
export function webviewOptions(extensionUri: vscode.Uri): vscode.WebviewOptions {
  return { enableScripts: true, localResourceRoots: [vscode.Uri.joinPath(extensionUri, 'dist', 'webview')] };
}

/**
 * The page of a webview.
 *
 * @param bundle name of the script and the style sheet in dist/webview
 * @param waiting what is shown until the first message
 */
export function webviewPage(
  webview: vscode.Webview,
  extensionUri: vscode.Uri,
  bundle: 'panel' | 'inspector' | 'summary',
  waiting: string,
): string {
  const nonce = randomBytes(16).toString('base64');
  const dist = vscode.Uri.joinPath(extensionUri, 'dist', 'webview');
  const uri = (name: string): string => webview.asWebviewUri(vscode.Uri.joinPath(dist, name)).toString();
  const policy = [
    "default-src 'none'",
    // Only our bundle, by nonce: nothing that a report or a file contains can run.
    `script-src 'nonce-${nonce}'`,
    // The toolkit styles its components with style elements of its own.
    `style-src ${webview.cspSource} 'unsafe-inline'`,
    // A chart becomes a PNG by way of a data: image.
    'img-src data: blob:',
    `font-src ${webview.cspSource}`,
  ].join('; ');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="${uri(`${bundle}.css`)}">
<title>GradLeak</title>
</head>
<body>
<main id="root"><p role="status">${waiting}</p></main>
<script nonce="${nonce}" src="${uri(`${bundle}.js`)}"></script>
</body>
</html>`;
}
