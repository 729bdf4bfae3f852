import { outcomeBar, releaseLink, verifiedShare } from './boot-parts.ts';
import type { ReleaseFacts, ReleaseRow } from './facts.ts';
import { type Frame, renderDocument, UI } from './frame.ts';
import { html } from './html.ts';
import { releaseBadges, releaseState } from './release-parts.ts';
import { table } from './table.ts';
import { bytesText, counted, dayOf, digest, moment, pathText } from './values.ts';

/** Every release that this server offers, or has offered since it runs. */
export function renderReleases(frame: Frame, releases: readonly ReleaseRow[]): string {
  const body = html`
<h1>Releases</h1>
<p>${counted(releases.length, 'release')} that this server verified and holds.</p>
${table<ReleaseRow>({
  caption: 'Releases',
  captionHidden: true,
  none: 'None.',
  rows: releases,
  columns: [
    { head: 'Release', names: true, cell: ({ release }) => releaseLink(release) },
    { head: 'State', cell: (row) => releaseBadges(row) },
    {
      head: 'Named by',
      cell: ({ channels, entry }) => [...channels, ...(entry ? ['the entry'] : [])].join(', '),
    },
    { head: 'Kind', cell: ({ layout, arch }) => `${layout}, ${arch}` },
    { head: 'Sealed', cell: ({ issued }) => dayOf(issued) },
    { head: 'Best before', cell: ({ bestBefore }) => dayOf(bestBefore) },
    { head: 'Size', kind: 'n', cell: ({ bytes }) => bytesText(bytes) },
  ],
})}`;
  return renderDocument({ ...frame, title: 'Releases', current: `${UI}/releases`, follows: 'state', body });
}

/** One release: what is in it, its seals, and who verifies what of it on a machine. */
export function renderRelease(frame: Frame, facts: ReleaseFacts): string {
  const { release, files, records, machine, drifted, cmdline, free, rootHash, day } = facts;
  const base = `/releases/${pathText(release)}`;
  const body = html`
<p class="crumbs"><a href="${UI}/releases">Releases</a></p>
<section class="strip ${releaseState(facts).tone}" aria-labelledby="h-release">
<h1 id="h-release">${release}</h1>
<p class="badges">${releaseBadges(facts)}</p>
<p class="dim">sealed ${moment(facts.issued)} · best before ${dayOf(facts.bestBefore)} · ${facts.layout}, ${facts.arch} · ${bytesText(facts.bytes)}</p>
${drifted.length > 0 && html`<ul class="drift">${drifted.map(({ path, why }) => html`<li><code>${path}</code>: ${why}</li>`)}</ul>`}
</section>
${
  day !== undefined &&
  html`<section class="card day" aria-labelledby="h-day"><h2 id="h-day">Its boots today</h2>${verifiedShare(day)}${day.outcomes.length > 0 && outcomeBar(day.outcomes)}<p><a href="${UI}/boots?${new URLSearchParams({ release }).toString()}">All boots of it</a></p></section>`
}
<section aria-labelledby="h-who"><h2 id="h-who">Who verifies what</h2>
${table<(typeof machine)[number]>({
  caption: 'What a machine fetches or runs, and who verifies it there',
  captionHidden: true,
  none: 'Nothing is known of it.',
  rows: machine,
  rowTone: ({ by }) => (by === 'nobody' ? 'warn' : ''),
  columns: [
    { head: 'On the machine', names: true, cell: ({ what }) => html`<code>${what}</code>` },
    {
      head: 'Verified by',
      cell: ({ by }) => html`<span class="badge ${by === 'nobody' ? 'bad' : 'good'}">${by}</span>`,
    },
    { head: 'How', cell: ({ how }) => how },
  ],
})}</section>
<section aria-labelledby="h-files"><h2 id="h-files">Files</h2>
${table<(typeof files)[number]>({
  caption: 'Payload, as the manifest lists it',
  captionHidden: true,
  none: 'None.',
  rows: files,
  rowTone: ({ drifted: why }) => (why === undefined ? '' : 'bad'),
  columns: [
    {
      head: 'File',
      names: true,
      cell: ({ path, drifted: why }) =>
        html`<a href="${base}/${pathText(path)}"><code>${path}</code></a>${why !== undefined && html`<br><span class="badge bad">not served</span> ${why}`}`,
    },
    { head: 'Role', cell: ({ role }) => role },
    { head: 'Bytes', kind: 'n', cell: ({ size }) => size.toLocaleString('en') },
    { head: 'SHA-256', cell: ({ sha256 }) => digest(sha256) },
    {
      head: 'Seals',
      cell: ({ path, seals }) =>
        seals.map(
          (name, index) =>
            html`${index > 0 && ', '}<a href="${base}/${pathText(name)}"><code>${name.slice(path.length)}</code></a>`,
        ),
    },
  ],
})}</section>
<div class="columns">
<section class="card" aria-labelledby="h-manifest"><h2 id="h-manifest">Manifest</h2>
<dl><div><dt>serial</dt><dd>${String(facts.serial)}</dd></div>
<div><dt>SHA-256</dt><dd><code>${facts.manifestSha256}</code></dd></div>
${rootHash !== undefined && html`<div><dt>root hash</dt><dd><code>${rootHash}</code></dd></div>`}
<div><dt>command line</dt><dd><code>${cmdline.join(' ')}</code></dd></div>
${free.length > 0 && html`<div><dt>free words</dt><dd><code>${free.join(', ')}</code></dd></div>`}</dl></section>
<section class="card" aria-labelledby="h-records"><h2 id="h-records">Records</h2>
<ul class="names">${records.map((name) => html`<li><a href="${base}/${pathText(name)}"><code>${name}</code></a></li>`)}</ul></section>
</div>`;
  return renderDocument({ ...frame, title: release, current: `${UI}/releases`, follows: 'state', body });
}
