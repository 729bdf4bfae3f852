import { badge, machineLink, releaseLink, stageCells } from './boot-parts.ts';
import type { BootFacts, StageRow } from './facts.ts';
import { type Frame, renderDocument, UI } from './frame.ts';
import { type Hole, type Html, html } from './html.ts';
import { table } from './table.ts';
import { bytesText, moment, sinceThen, span } from './values.ts';

/** One boot: how far it came, what was seen of each stage, and why it stopped. */
export function renderBoot(frame: Frame, facts: BootFacts): string {
  const { boot, outcome, tone, running, quietSince, code, why, advice, lines, incomplete, shared } = facts;
  const body = html`
<p class="crumbs"><a href="${UI}/boots">Boots</a></p>
<section class="strip ${running ? 'busy' : tone}" aria-labelledby="h-boot">
<h1 id="h-boot">${machineLink(facts)}</h1>
<p class="badges" aria-live="polite">${badge(outcome, tone)}${running && quietSince !== undefined && html` <span class="badge warn">quiet</span> <span>${sinceThen(quietSince)}</span>`}</p>
<p class="dim">boot <code>${boot}</code> · began ${moment(facts.began)}${facts.ended !== undefined && html` · ${span(facts.ended - facts.began)} until the last that was heard of it`}</p>
</section>
${stageCells(facts.cells, running ? 'busy' : tone)}
${
  (code !== undefined || why !== undefined || advice !== undefined) &&
  html`<section class="card reason" aria-labelledby="h-why"><h2 id="h-why">${running ? 'So far' : 'Why it stopped'}</h2>
${(code !== undefined || why !== undefined) && html`<p>${code !== undefined && html`<b class="bad-ink">${code}</b> `}${why !== undefined && html`<q>${why}</q>`}${facts.by !== undefined && html` <span class="dim">${facts.by}</span>`}</p>`}
${advice !== undefined && html`<p class="advice">${advice}</p>`}</section>`
}
<section aria-labelledby="h-stages"><h2 id="h-stages">Stages</h2>
${timeline(facts)}
${shared && html`<p class="dim">Other machines ask from its address: what came by address alone is not here.</p>`}
${incomplete !== undefined && html`<p class="warn-ink">${incomplete}</p>`}</section>
<div class="columns">
<section class="card" aria-labelledby="h-facts"><h2 id="h-facts">What it is</h2>${factsList(facts)}</section>
<section class="card" aria-labelledby="h-lines"><h2 id="h-lines">Its console <small>claimed</small></h2>
${
  lines.length === 0
    ? html`<p class="dim">Nothing was sent: loaders do by syslog, where they know how, and early userspace with its report.</p>`
    : html`<pre tabindex="0" aria-label="The last lines of its console">${lines.map((line) => `${line}\n`)}</pre>`
}</section>
</div>`;
  return renderDocument({
    ...frame,
    title: `Boot of ${facts.machine === '' ? (facts.address ?? 'a machine') : facts.machine}`,
    current: `${UI}/boots`,
    follows: 'boot',
    boot,
    body,
  });
}

function timeline({ stages, began, now, running, ended }: BootFacts): Html {
  const last = Math.max(...stages.map(({ end, begin }) => end ?? begin), running ? now : (ended ?? began));
  const whole = Math.max(1, last - began);
  return table<StageRow>({
    caption: `Stages over ${span(whole)}, each bar to scale`,
    none: 'No stage was seen.',
    rows: stages,
    columns: [
      { head: 'Stage', names: true, cell: ({ stage }) => stage },
      { head: 'After', kind: 'n', cell: ({ begin }) => `+${span(begin - began)}` },
      {
        head: 'Took',
        kind: 'n',
        cell: ({ begin, end }) => (end === undefined ? 'goes on' : span(end - begin)),
      },
      {
        head: 'When',
        cell: ({ begin, end }) =>
          scaleBar(begin - began, (end ?? (running ? now : last)) - began, whole, end),
      },
      { head: 'Bytes', kind: 'n', cell: sentText },
      { head: 'Ended', cell: ({ outcome }) => outcome },
      { head: 'Known', cell: ({ joined }) => html`<span class="dim">${joined}</span>` },
      { head: 'Asked for', cell: ({ what }) => html`<code>${what}</code>` },
    ],
  });
}

/** What left from here, and what a mirror was to send. */
function sentText({ bytes, byMirror = 0 }: { readonly bytes: number; readonly byMirror?: number }): string {
  const texts = [
    ...(bytes === 0 ? [] : [bytesText(bytes)]),
    ...(byMirror === 0 ? [] : [`${bytesText(byMirror)} by mirror`]),
  ];
  return texts.join(' + ') || '–';
}

function scaleBar(from: number, to: number, whole: number, end: number | undefined): Html {
  const x = Math.min(99, Math.max(0, (from * 100) / whole));
  const width = Math.min(100 - x, Math.max(1, ((to - from) * 100) / whole));
  return html`<svg class="scale" width="100%" height="12" aria-hidden="true"><rect class="track" width="100%" height="12"/><rect class="${end === undefined ? 'busy' : 'quiet'}" x="${x.toFixed(2)}%" width="${width.toFixed(2)}%" height="12"/></svg>`;
}

function factsList(facts: BootFacts): Html {
  const { release, rootHash, rootMode, route, loader, trust, arch, uuid, addresses, once } = facts;
  const rows: readonly (readonly [string, Hole])[] = [
    ['release', releaseLink(release)],
    ['trust (claimed)', trust],
    ['loader', [route, loader].filter((text) => text !== undefined).join(' · ')],
    ['architecture', arch],
    ['addresses', addresses.join(', ')],
    ['UUID', uuid !== undefined && html`<code>${uuid}</code>`],
    ['root image', rootMode],
    ['root hash', rootHash !== undefined && html`<code>${rootHash}</code>`],
    ['armed boot', once !== undefined && html`<code>${once}</code>`],
  ];
  return html`<dl>${rows.map(([name, value]) => value !== undefined && value !== false && value !== '' && html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}
