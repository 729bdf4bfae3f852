import type { Viewer } from './facts.ts';
import { type Hole, html } from './html.ts';

/** Where pages for people lie: nothing of a release, a channel or a machine is called so. */
export const UI = '/ui';

/** What a browser may load for these pages, and where their forms may go. */
export const PAGE_POLICY =
  "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const PAGES = [
  ['/', 'Overview'],
  [`${UI}/boots`, 'Boots'],
  [`${UI}/machines`, 'Machines'],
  [`${UI}/releases`, 'Releases'],
  [`${UI}/channels`, 'Channels'],
  [`${UI}/keys`, 'Keys'],
  [`${UI}/quarantine`, 'Quarantine'],
] as const;

/** Where style and script are, by their digests. */
export interface AssetPaths {
  readonly style: string;
  readonly script: string;
}

/** What every page has. */
export interface Frame {
  readonly assets: AssetPaths;
  /** Milliseconds since 1970, by the server's clock. */
  readonly now: number;
  /** Id of the last event that this page knows. */
  readonly event: string;
  readonly viewer: Viewer;
  /** What it says above all: why it is not as it should be. */
  readonly alarm?: string;
}

export interface PageOptions extends Frame {
  readonly title: string;
  /** Which of the pages it is, or is below. */
  readonly current: string;
  /** What it is told of while it is open: `page`: pieces; `state`, `boot`: that it is to be asked for anew. */
  readonly follows: 'page' | 'state' | 'boot' | 'none';
  /** Of one boot. */
  readonly boot?: string;
  readonly body: Hole;
}

const ICON =
  'data:image/svg+xml,%3Csvg xmlns=%22http://www.w3.org/2000/svg%22 viewBox=%220 0 32 32%22%3E%3Crect width=%2232%22 height=%2232%22 rx=%227%22 fill=%22%23115e59%22/%3E%3Cpath d=%22M9 16.5l5 5 9-11%22 fill=%22none%22 stroke=%22%23fff%22 stroke-width=%223.6%22/%3E%3C/svg%3E';

/** The whole document. It holds all that there is to know; the script only keeps it so. */
export function renderDocument(options: PageOptions): string {
  const { title, current, body, assets, now, event, follows, boot, viewer, alarm } = options;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} · Bootseal</title>
<link rel="icon" href="${ICON}">
<link rel="stylesheet" href="${assets.style}">
<script type="module" src="${assets.script}"></script>
</head>
<body data-now="${now}" data-event="${event}" data-follows="${follows}"${boot !== undefined && html` data-boot="${boot}"`}>
<a class="skip" href="#content">Skip to the content</a>
<header class="top">
<a class="brand" href="/"><svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true"><rect width="32" height="32" rx="7"/><path d="M9 16.5l5 5 9-11"/></svg><span>Bootseal</span></a>
<nav aria-label="Pages"><ul>${PAGES.map(
    ([href, name]) =>
      html`<li><a href="${href}"${href === current && html` aria-current="page"`}>${name}</a></li>`,
  )}</ul></nav>
<div class="who"><span id="live" class="live" role="status"></span>${whoIs(viewer)}</div>
</header>
<main id="content" tabindex="-1">
${alarm !== undefined && html`<p class="alarm bad" role="alert">${alarm}</p>`}
${body}
</main>
<footer class="foot"><p>Machines say of themselves what these pages call <em>claimed</em>: whoever replaced a loader can have it say anything. <a href="/api/v1/release">JSON</a> · <a href="/metrics">metrics</a> · <a href="/readyz">readiness</a></p></footer>
</body>
</html>
`.toString();
}

function whoIs({ name, csrf, signIn }: Viewer): Hole {
  if (name === '') return signIn !== undefined && html`<a href="${signIn}">Sign in</a>`;
  if (csrf === undefined) return html`<span>${name}</span>`;
  return html`<form method="post" action="/api/v1/session/end"><input type="hidden" name="csrf" value="${csrf}"><span>${name}</span> <button class="plain">Sign out</button></form>`;
}
