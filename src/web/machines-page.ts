import { badge, bootLink, bootTable, machineLink, outcomeBar, verifiedShare } from './boot-parts.ts';
import type { ArmedFacts, MachineFacts, MachineRow, MachinesFacts } from './facts.ts';
import { type Frame, renderDocument, UI } from './frame.ts';
import { type Hole, type Html, html } from './html.ts';
import { table } from './table.ts';
import { counted, macInPath, moment } from './values.ts';

/** Machines that were written down, or were ever seen: what each gets, and its last boot. */
export function renderMachines(frame: Frame, facts: MachinesFacts): string {
  const { machines, total, asked, ruled, unknown, groups } = facts;
  const body = html`
<h1>Machines</h1>
<form class="filter" method="get" action="${UI}/machines" role="search" aria-label="Which machines">
<label>Name, address or label <input name="q" value="${asked}" autocomplete="off"></label> <button>Show</button> <a href="${UI}/machines">all</a>
</form>
<p aria-live="polite">${counted(total, 'machine')}${total > machines.length && html`; ${machines.length} are shown`}. ${
    ruled
      ? html`Who is not written down gets: ${unknown}.`
      : 'Nothing is signed about machines: all of them boot what the entry names.'
  }</p>
${table<MachineRow>({
  caption: 'Machines',
  captionHidden: true,
  none: 'None that fits was written down or seen.',
  rows: machines,
  columns: [
    {
      head: 'Machine',
      names: true,
      cell: ({ mac, name }) =>
        mac === '' ? (name ?? '') : machineLink({ machine: mac, ...(name === undefined ? {} : { name }) }),
    },
    { head: 'Gets', cell: ({ gets }) => gets },
    { head: 'By', cell: ({ by }) => html`<span class="dim">${by}</span>` },
    { head: 'Labels', cell: ({ labels }) => labels.join(', ') },
    {
      head: 'Last boot',
      cell: ({ last }) =>
        last === undefined
          ? html`<span class="dim">never seen</span>`
          : html`${badge(last.outcome, last.tone)} ${bootLink(last.boot, moment(last.began))}${last.code !== undefined && html` <b class="bad-ink">${last.code}</b>`}`,
    },
  ],
})}
${
  groups.length > 0 &&
  html`<section aria-labelledby="h-groups"><h2 id="h-groups">Groups</h2>${table<(typeof groups)[number]>({
    caption: 'Groups in their order: the first that fits counts',
    none: 'None.',
    rows: groups,
    columns: [
      { head: 'Group', names: true, cell: ({ name }) => name },
      { head: 'Gets', cell: ({ gets }) => gets },
    ],
  })}</section>`
}`;
  return renderDocument({ ...frame, title: 'Machines', current: `${UI}/machines`, follows: 'state', body });
}

/** One machine: what it gets, what it is armed with, and its boots. */
export function renderMachine(frame: Frame, facts: MachineFacts): string {
  const { mac, name, labels, gets, by, uuid, serial, armed, day, boots, total, written } = facts;
  const rows: readonly (readonly [string, Hole])[] = [
    ['address', html`<code>${mac}</code>`],
    ['gets', gets],
    ['decided by', by],
    ['labels', labels.join(', ')],
    ['UUID', uuid !== undefined && html`<code>${uuid}</code>`],
    ['serial number', serial],
  ];
  const body = html`
<p class="crumbs"><a href="${UI}/machines">Machines</a></p>
<h1>${name ?? html`<code>${mac}</code>`}</h1>
${!written && html`<p class="dim">Nobody wrote it down.</p>`}
<div class="columns">
<section class="card" aria-labelledby="h-gets"><h2 id="h-gets">What it gets</h2>
<dl>${rows.map(([head, value]) => value !== undefined && value !== false && value !== '' && html`<div><dt>${head}</dt><dd>${value}</dd></div>`)}</dl>
${armed !== undefined && armedPart(armed)}
${armForms(frame, facts)}</section>
<section class="card day" aria-labelledby="h-day"><h2 id="h-day">Its boots today</h2>${verifiedShare(day)}${day.outcomes.length > 0 && outcomeBar(day.outcomes)}</section>
</div>
<section aria-labelledby="h-boots"><h2 id="h-boots">Last boots <small>${total > boots.length ? html`<a href="${UI}/boots?machine=${macInPath(mac)}">all ${total.toLocaleString('en')}</a>` : `${total} on record`}</small></h2>
${bootTable(boots, { caption: 'Boots of this machine, the newest first', none: 'It was never seen to boot.', without: ['machine'] })}</section>`;
  return renderDocument({
    ...frame,
    title: name ?? mac,
    current: `${UI}/machines`,
    follows: 'boot',
    body,
  });
}

function armedPart({ release, id, armed, ends, by, state, tone }: ArmedFacts): Html {
  return html`<h3>Boot once</h3>
<p>${badge(state, tone)} ${release} <span class="dim">armed ${moment(armed)} by ${by}, until ${moment(ends)}, id <code>${id}</code></span></p>`;
}

/** Who may arm is offered so; who may not finds nothing that would be refused. */
function armForms({ viewer }: Frame, { mac, armed, armable }: MachineFacts): Hole {
  const { csrf, mayArm } = viewer;
  if (!mayArm || csrf === undefined) return undefined;
  const form = (act: string, inside: Html): Html =>
    html`<form class="filter" method="post" action="${UI}/machines/${macInPath(mac)}"><input type="hidden" name="csrf" value="${csrf}"><input type="hidden" name="act" value="${act}">${inside}</form>`;
  if (armed?.live === true) return form('disarm', html`<button class="danger">Disarm</button>`);
  return form(
    'arm',
    html`<label>Boot once <select name="release">${armable.map((release) => html`<option>${release}</option>`)}</select></label>
<label>Afterwards <select name="afterwards"><option value="local">its own disk</option><option value="usual">what it usually boots</option></select></label>
<label class="check"><input type="checkbox" name="sure" value="1" required> this may destroy what is on its disks</label>
<button class="danger">Arm</button>`,
  );
}
