import type { BootRow, DayFacts, OutcomeCount, StageCell } from './facts.ts';
import { UI } from './frame.ts';
import { type Hole, type Html, html } from './html.ts';
import { type Column, table } from './table.ts';
import { clockTime, counted, macInPath, moment, pathText, shareOf, sinceThen, span } from './values.ts';

/** An outcome, by a word and a colour. */
export function badge(word: string, tone: string): Html {
  return html`<span class="badge word ${tone}">${word}</span>`;
}

/** Who it is: by name where it has one, by its card's address, else by the address that it asked from. */
export function machineLink({ machine, name, address }: Pick<BootRow, 'machine' | 'name' | 'address'>): Html {
  if (machine === '')
    return html`<span class="dim">never said who it is</span> <code>${address ?? ''}</code>`;
  const href = `${UI}/machines/${macInPath(machine)}`;
  return name === undefined
    ? html`<a href="${href}"><code class="mac">${machine}</code></a>`
    : html`<a href="${href}">${name}</a> <code class="mac dim">${machine}</code>`;
}

export function releaseLink(release: string | undefined): Hole {
  return release === undefined
    ? undefined
    : html`<a href="${UI}/releases/${pathText(release)}">${release}</a>`;
}

export function bootLink(boot: string, text: Hole): Html {
  return html`<a href="${UI}/boots/${boot}">${text}</a>`;
}

const STATE_WORDS: Readonly<Record<StageCell['state'], string>> = {
  done: 'done',
  now: 'now',
  stopped: 'stopped',
  passed: 'not seen',
  ahead: 'not yet',
};

/** The stages of a boot, in their order: eight cells that fill up. */
export function stageCells(cells: readonly StageCell[], tone: string): Html {
  return html`<ol class="stages ${tone}">${cells.map(
    ({ stage, state, ms, begin }) =>
      html`<li class="${state}"${state === 'now' && html` aria-current="step"`}><b>${stage}</b> <i>${
        state === 'now' && begin !== undefined
          ? html`<span class="sr">now, </span>${sinceThen(begin)}`
          : state === 'done' && ms !== undefined
            ? html`<span class="sr">done in </span>${span(ms)}`
            : html`<span${state !== 'stopped' && html` class="sr"`}>${STATE_WORDS[state]}</span>`
      }</i></li>`,
  )}</ol>`;
}

/** A boot that goes on, or has just ended, as it moves. */
export function bootCard(row: BootRow): Html {
  const { boot, tone, running, stage, quietSince, release, outcome, trust, code, why } = row;
  const state = running
    ? quietSince === undefined
      ? html`<span class="badge busy">${stage}</span>`
      : html`<span class="badge warn">quiet</span> <span class="warn-ink">after ${stage}, ${sinceThen(quietSince)}</span>`
    : badge(outcome, tone);
  return html`<li id="boot-${boot}" class="boot ${running ? (quietSince === undefined ? 'busy' : 'warn') : tone}">
<div class="boot-head"><h3>${machineLink(row)}</h3><p>${state}</p></div>
${stageCells(row.cells, running ? 'busy' : tone)}
<p class="boot-foot">${release === undefined ? html`<span class="dim">no release yet</span>` : releaseLink(release)}
<span class="dim">${[row.route, trust].filter((text) => text !== undefined).join(' · ')}</span>
${code !== undefined && html`<b class="bad-ink">${code}</b>`}${why !== undefined && html` <span>${why}</span>`}
<span class="dim">began ${clockTime(row.began)}</span> ${bootLink(boot, html`details<span class="sr"> of this boot</span>`)}</p>
</li>
`;
}

const COLUMNS: Readonly<Record<string, Column<BootRow>>> = {
  began: { head: 'Began', cell: ({ boot, began }) => bootLink(boot, moment(began)), names: true },
  machine: { head: 'Machine', cell: machineLink },
  outcome: { head: 'Outcome', cell: ({ outcome, tone }) => badge(outcome, tone) },
  stage: { head: 'Came to', cell: ({ stage }) => stage },
  took: {
    head: 'Took',
    cell: ({ began, ended, running }) => (running || ended === undefined ? '…' : span(ended - began)),
    kind: 'n',
  },
  release: { head: 'Release', cell: ({ release }) => releaseLink(release) },
  loader: { head: 'Loader', cell: ({ route, trust }) => trust ?? route },
  why: {
    head: 'Why',
    cell: ({ code, why }) =>
      code === undefined && why === undefined
        ? undefined
        : html`${code !== undefined && html`<b class="bad-ink">${code}</b> `}${why}`,
  },
};

/** Boots as a table. @param without names of columns that say the same in every row. */
export function bootTable(
  rows: readonly BootRow[],
  {
    caption,
    none,
    without = [],
    id,
  }: { caption: string; none: string; without?: readonly string[]; id?: string },
): Html {
  const columns = Object.entries(COLUMNS).flatMap(([name, column]) =>
    without.includes(name) ? [] : [column],
  );
  return table({
    ...{ caption, columns, rows, none },
    captionHidden: true,
    ...(id === undefined ? {} : { id }),
    rowKey: ({ boot }) => `row-${boot}`,
  });
}

/** Outcomes as one bar, to scale; the legend says the same in words. */
export function outcomeBar(outcomes: readonly OutcomeCount[]): Html {
  const total = outcomes.reduce((sum, { count }) => sum + count, 0);
  let at = 0;
  const parts = outcomes.map(({ tone, count }) => {
    const [x, width] = [(at * 100) / total, (count * 100) / total];
    at += count;
    return html`<rect class="${tone}" x="${x.toFixed(3)}%" width="${width.toFixed(3)}%" y="0" height="100%"/>`;
  });
  return html`<svg class="bar" width="100%" height="18" aria-hidden="true">${parts}</svg>
<ul class="legend">${outcomes.map(
    ({ word, tone, count }) =>
      html`<li><span class="dot ${tone}" aria-hidden="true"></span><b>${count.toLocaleString('en')}</b> ${word}</li>`,
  )}</ul>`;
}

/** `92 %`, and of what. */
export function verifiedShare({ verified, ended, served }: DayFacts): Html {
  const share = shareOf(verified, ended);
  return share === undefined
    ? html`<p class="huge dim">–</p><p>No boot of a release ended in the last 24 hours.</p>`
    : html`<p class="huge ${share === 100 ? 'good-ink' : ''}">${share}<small> %</small></p>
<p><b>${verified.toLocaleString('en')}</b> of ${counted(ended, 'boot')} of a release ${ended === 1 ? 'says' : 'say'} that all was verified. ${ended === 1 ? 'It' : 'They'} ended in the last 24 hours.</p>${served > 0 && html`<p class="dim">${counted(served, 'boot')} ${served === 1 ? 'was' : 'were'} served whole: nothing on such a machine says what came of it, where its release has no overlay.</p>`}`;
}
