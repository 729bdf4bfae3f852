import {
  bootCard,
  bootLink,
  bootTable,
  machineLink,
  outcomeBar,
  releaseLink,
  verifiedShare,
} from './boot-parts.ts';
import { endingsTable } from './ending-parts.ts';
import type { FailureRow, HomeFacts, ReleaseRow, ServerFacts } from './facts.ts';
import { type Frame, renderDocument, UI } from './frame.ts';
import { type Html, html } from './html.ts';
import { releaseBadges, releaseState } from './release-parts.ts';
import { table } from './table.ts';
import { clockTime, counted, dayOf, moment, pathText } from './values.ts';

/** The parts of the overview that change by themselves, by the id of their element. */
export const HOME_PIECES = [
  'summary',
  'state',
  'day',
  'now',
  'trouble',
  'more',
  'failures',
  'warnings',
  'ends',
  'releases',
  'recent',
  'server',
] as const;

export type HomePiece = (typeof HOME_PIECES)[number];

/** What is pushed to an open overview. */
export interface HomeParts {
  readonly pieces: Readonly<Record<HomePiece, string>>;
  /** Boots under way, in their order: id of the element, and all of it. */
  readonly boots: ReadonlyMap<string, string>;
}

export function homeParts(facts: HomeFacts): HomeParts {
  const pieces = homePieces(facts);
  const texts = HOME_PIECES.map((name) => [name, pieces[name].toString()] as const);
  return {
    pieces: Object.fromEntries(texts) as Record<HomePiece, string>,
    boots: new Map(facts.boots.map((row) => [`boot-${row.boot}`, bootCard(row).toString()])),
  };
}

export function renderHome(frame: Frame, facts: HomeFacts): string {
  const parts = homePieces(facts);
  const { entry } = facts;
  const body = html`
${parts.summary}
<div class="head">${parts.state}${parts.server}</div>
<div class="hero">${parts.day}${parts.now}${parts.trouble}</div>
<div class="split">
<section aria-labelledby="h-running"><h2 id="h-running">Boots in progress</h2>
<ul class="boots" id="running" data-list>${facts.boots.map(bootCard)}</ul>
${parts.more}
</section>
<div class="stack">${parts.failures}${parts.warnings}${parts.ends}</div>
</div>
${parts.releases}
${parts.recent}
<section class="card" aria-labelledby="h-fetch"><h2 id="h-fetch">How machines get it</h2>
<p>A loader built with this site’s anchors boots <a href="/boot.ipxe"><code>${facts.server.base}/boot.ipxe</code></a>;
GRUB network images read <a href="/grub.cfg"><code>/grub.cfg</code></a>.
Signed list: <a href="/releases/${pathText(entry.release)}/release.manifest">release.manifest</a>.
Files, seals and who verifies what: <a href="${UI}/releases/${pathText(entry.release)}">${entry.release}</a>.
Numbers: <a href="/metrics">metrics</a>.</p></section>`;
  return renderDocument({
    ...frame,
    title: entry.release,
    current: '/',
    follows: 'page',
    body,
  });
}

function homePieces(facts: HomeFacts): Readonly<Record<HomePiece, Html>> {
  const { day, boots, more, at, quiet, failures, warnings, endings, releases, recent, server } = facts;
  const running = boots.filter(({ running: goesOn }) => goesOn).length + more;
  const due = endings.filter((each) => each.due).length;
  return {
    summary: html`<p id="summary" class="sr" aria-live="polite">${counted(running, 'boot')} in progress. In the last 24 hours ${day.verified} verified, ${counted(day.failed, 'boot')} to look at. ${counted(warnings.length, 'warning')}.</p>`,
    state: stateStrip(facts),
    day: html`<section id="day" class="card day" aria-labelledby="h-day"><h2 id="h-day">Verified today</h2>
${verifiedShare(day)}
${day.outcomes.length > 0 && outcomeBar(day.outcomes)}</section>`,
    now: html`<section id="now" class="card count" aria-labelledby="h-now"><h2 id="h-now">In progress</h2>
<p class="huge ${running > 0 ? 'busy-ink' : 'dim'}">${running.toLocaleString('en')}</p>
<p>${running === 0 ? 'No machine boots at the moment.' : counted(running, 'machine boots', 'machines boot')}${quiet > 0 && html`, <b class="warn-ink">${quiet} of them quiet</b>`}</p>
<ul class="at">${at.map(({ stage, count }) => html`<li><b>${count.toLocaleString('en')}</b> ${stage}</li>`)}</ul></section>`,
    trouble: html`<section id="trouble" class="card count" aria-labelledby="h-trouble"><h2 id="h-trouble">To look at</h2>
<p class="huge ${day.failed > 0 ? 'bad-ink' : 'good-ink'}">${day.failed.toLocaleString('en')}</p>
<p>${day.failed === 0 ? 'No boot was refused, failed or stalled' : html`<a href="${UI}/boots?failed=1&amp;since=24h">${counted(day.failed, 'boot')}</a> refused, failed or stalled`} in the last 24 hours.</p>
<ul class="plain"><li>${warnings.length === 0 ? 'no warnings' : html`<a class="warn-ink" href="#warnings">${counted(warnings.length, 'warning')}</a>`}</li>
<li>${due === 0 ? 'nothing ends soon' : html`<a class="warn-ink" href="#ends">${counted(due, 'thing ends', 'things end')} soon</a>`}</li></ul></section>`,
    more: html`<p id="more" class="dim">${
      running === 0
        ? 'Machines appear here when they ask for something to boot.'
        : more > 0 && html`<a href="${UI}/boots?outcome=running">and ${counted(more, 'more', 'more')}</a>`
    }</p>`,
    failures: html`<section id="failures" aria-labelledby="h-failures"><h2 id="h-failures">Why boots failed <small>the last 24 hours</small></h2>
${failuresTable(failures)}</section>`,
    warnings: html`<section id="warnings" class="card" aria-labelledby="h-warnings"><h2 id="h-warnings">Warnings</h2>
${
  warnings.length === 0
    ? html`<p class="good-ink">None.</p>`
    : html`<ul class="warnings">${warnings.map((warning) => html`<li>${warning}</li>`)}</ul>`
}</section>`,
    ends: html`<section id="ends" class="card" aria-labelledby="h-ends"><h2 id="h-ends">Ends next <small><a href="${UI}/keys">all of it</a></small></h2>
${endingsTable(endings.slice(0, ENDINGS), true)}</section>`,
    releases: html`<section id="releases" aria-labelledby="h-releases"><h2 id="h-releases">Offered</h2>
${releasesTable(releases)}</section>`,
    recent: html`<section id="recent" aria-labelledby="h-recent"><h2 id="h-recent">Last boots <small><a href="${UI}/boots">all</a></small></h2>
${bootTable(recent, { caption: 'The boots that ended last', none: 'No boot has ended yet.' })}</section>`,
    server: serverCard(server),
  };
}

/** Ends that are shown on the overview. */
const ENDINGS = 6;

/** What a glance from far away must tell: whether machines boot, and under whose word. */
function stateStrip({ entry, server }: HomeFacts): Html {
  const { tone } = releaseState(entry);
  const worst = server.notReady !== undefined ? 'bad' : tone;
  return html`<section id="state" class="strip ${worst}" aria-labelledby="h-state">
<h1 id="h-state">${entry.release}</h1>
<p class="badges">${server.notReady !== undefined && html`<span class="badge bad">not ready: ${server.notReady}</span>`}
${releaseBadges(entry)}
<span class="badge ${server.unverifiedLoadersAllowed ? 'warn' : 'good'}">${server.unverifiedLoadersAllowed ? 'UNVERIFIED loaders are allowed' : 'unverified loaders are refused'}</span></p>
<p class="dim">sealed ${moment(entry.issued)} · best before ${dayOf(entry.bestBefore)} · ${entry.arch}</p>
${entry.drifted.length > 0 && html`<ul class="drift">${entry.drifted.map(({ path, why }) => html`<li><code>${path}</code>: ${why}</li>`)}</ul>`}
</section>`;
}

export function failuresTable(failures: readonly FailureRow[]): Html {
  return table<FailureRow>({
    caption: 'Boots of the last 24 hours that did not end well, by reason',
    captionHidden: true,
    none: 'None.',
    rows: failures,
    rowTone: () => 'bad',
    columns: [
      {
        head: 'Why',
        names: true,
        cell: ({ reason, outcome, stage, query }) =>
          html`<a href="${UI}/boots?${query}"><b class="bad-ink">${reason}</b></a><br><span class="dim">${outcome} at ${stage}</span>`,
      },
      {
        head: 'How many',
        cell: ({ count, machines }) =>
          html`<b>${counted(count, 'boot')}</b><br><span class="dim">${counted(machines, 'machine')}</span>`,
        kind: 'nowrap',
      },
      {
        head: 'Last',
        cell: ({ lastBoot, lastBegan, lastMachine }) =>
          html`${bootLink(lastBoot, clockTime(lastBegan))}${lastMachine !== '' && html`<br>${machineLink({ machine: lastMachine })}`}`,
      },
      {
        head: 'What to do',
        cell: ({ said, advice }) =>
          html`${said !== undefined && html`<q class="dim">${said}</q>`}${advice !== undefined && html`<p class="do">${advice}</p>`}`,
      },
    ],
  });
}

function releasesTable(rows: readonly ReleaseRow[]): Html {
  return table<ReleaseRow>({
    caption: 'Releases that are offered',
    captionHidden: true,
    none: 'None.',
    rows,
    columns: [
      { head: 'Release', names: true, cell: ({ release }) => releaseLink(release) },
      { head: 'State', cell: (row) => releaseBadges(row) },
      { head: 'Named by', cell: ({ channels }) => channels.join(', ') },
      { head: 'Architecture', cell: ({ arch }) => arch },
      { head: 'Best before', cell: ({ bestBefore }) => dayOf(bestBefore) },
    ],
  });
}

function serverCard(server: ServerFacts): Html {
  const { notReady, state, notFollowed, notWritten, lost } = server;
  const line = (good: string, bad: string, why: string | undefined): Html =>
    html`<li><span class="badge ${why === undefined ? 'good' : 'bad'}">${why === undefined ? good : bad}</span>${why !== undefined && html` ${why}`}</li>`;
  const gone = lost > 0 ? `${counted(lost, 'receipt')} had no room` : undefined;
  return html`<section id="server" class="card" aria-labelledby="h-server"><h2 id="h-server">This server</h2>
<ul class="plain states">
${line('ready', 'not ready', notReady)}
${line(state ? 'follows its state' : 'serves a tree', 'does not follow its state', notFollowed)}
${line(state ? 'receipts are written' : 'receipts are in memory', 'receipts are not written', notWritten ?? gone)}
</ul></section>`;
}
