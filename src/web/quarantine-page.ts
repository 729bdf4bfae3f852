import { releaseLink } from './boot-parts.ts';
import type { QuarantineFacts } from './facts.ts';
import { type Frame, renderDocument, UI } from './frame.ts';
import { html } from './html.ts';
import { table } from './table.ts';
import { moment } from './values.ts';

/** What is not served, or not any more, and why: nothing is deleted to solve a problem. */
export function renderQuarantine(frame: Frame, facts: QuarantineFacts): string {
  const { releases, withdrawn, drifted, state } = facts;
  const body = html`
<h1>Quarantine</h1>
<section aria-labelledby="h-drifted"><h2 id="h-drifted">Changed on disk</h2>
${table<(typeof drifted)[number]>({
  caption: 'Files that are not what was verified, and are not served',
  captionHidden: true,
  none: 'Every file that is served is the one that was verified.',
  rows: drifted,
  rowTone: () => 'bad',
  columns: [
    { head: 'File', names: true, cell: ({ path }) => html`<code>${path}</code>` },
    { head: 'Release', cell: ({ release }) => releaseLink(release) },
    { head: 'Why', cell: ({ why }) => why },
  ],
})}</section>
${
  !state
    ? html`<p class="dim">This server serves a tree: releases are put in quarantine, and withdrawn, in a state.</p>`
    : html`<section aria-labelledby="h-releases"><h2 id="h-releases">Releases in quarantine</h2>
${table<(typeof releases)[number]>({
  caption: 'Releases in quarantine',
  captionHidden: true,
  none: 'None.',
  rows: releases,
  rowTone: ({ held }) => (held ? 'warn' : 'bad'),
  columns: [
    { head: 'Release', names: true, cell: ({ release }) => release },
    {
      head: 'Served',
      cell: ({ held }) => html`<span class="badge ${held ? 'warn' : 'bad'}">${held ? 'still' : 'no'}</span>`,
    },
    { head: 'Why', cell: ({ code, message }) => html`<b class="bad-ink">${code}</b> ${message}` },
    { head: 'Came from', cell: ({ origin }) => origin },
    { head: 'To take it back', cell: ({ command }) => html`<code>${command}</code>` },
  ],
})}</section>
<section aria-labelledby="h-withdrawn"><h2 id="h-withdrawn">Withdrawn</h2>
${table<(typeof withdrawn)[number]>({
  caption: 'Releases that an operator withdrew',
  captionHidden: true,
  none: 'None.',
  rows: withdrawn,
  columns: [
    { head: 'Release', names: true, cell: ({ release }) => release },
    { head: 'When', cell: ({ time }) => moment(time) },
    {
      head: 'Roots that run',
      cell: ({ now }) => html`<span class="badge ${now ? 'bad' : 'warn'}">${now ? 'cut' : 'go on'}</span>`,
    },
    { head: 'Why', cell: ({ reason }) => reason },
  ],
})}</section>`
}`;
  return renderDocument({
    ...frame,
    title: 'Quarantine',
    current: `${UI}/quarantine`,
    follows: 'state',
    body,
  });
}
