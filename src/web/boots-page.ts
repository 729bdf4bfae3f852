import { bootTable, outcomeBar } from './boot-parts.ts';
import type { BootsFacts } from './facts.ts';
import { type Frame, renderDocument, UI } from './frame.ts';
import { html } from './html.ts';
import { counted } from './values.ts';

/** Boots, the newest first, as they are asked for by the query. */
export function renderBoots(frame: Frame, facts: BootsFacts): string {
  const { boots, total, outcomes, query, wrong, older, known } = facts;
  const value = (name: string): string => query[name] ?? '';
  const body = html`
<h1>Boots</h1>
<form class="filter" method="get" action="${UI}/boots" role="search" aria-label="Which boots">
<label>Machine <input name="machine" value="${value('machine')}" placeholder="52:54:00:12:34:56" autocomplete="off"></label>
<label>Outcome <select name="outcome"><option value="">any</option>${known.map(
    ({ outcome, word }) =>
      html`<option value="${outcome}"${value('outcome') === outcome && html` selected`}>${word}</option>`,
  )}</select></label>
<label>Release <input name="release" value="${value('release')}" placeholder="NAME/VERSION" autocomplete="off"></label>
<label>Since <input name="since" value="${value('since')}" placeholder="30m, 12h, 7d" size="10" autocomplete="off"></label>
${['stage', 'code'].map((name) => value(name) !== '' && html`<label>${name === 'stage' ? 'Came to' : 'Why'} <input name="${name}" value="${value(name)}" autocomplete="off"></label>`)}
<label class="check"><input type="checkbox" name="failed" value="1"${value('failed') !== '' && html` checked`}> to look at only</label>
<button>Show</button> <a href="${UI}/boots">all</a>
</form>
${wrong.map((text) => html`<p class="alarm bad" role="alert">${text}</p>`)}
<p id="count" aria-live="polite">${counted(total, 'boot')}${total > boots.length && html`; ${counted(boots.length, 'is', 'are')} shown`}. What machines say of themselves is claimed.</p>
${outcomes.length > 0 && outcomeBar(outcomes)}
${bootTable(boots, { caption: 'Boots, the newest first', none: 'No boot is on record that fits.' })}
<p class="pages">${value('before') !== '' && html`<a href="${UI}/boots?${without(query, 'before')}">the newest</a> `}${older !== undefined && html`<a rel="next" href="${UI}/boots?${older}">older ones</a>`}</p>`;
  return renderDocument({
    ...frame,
    title: 'Boots',
    current: `${UI}/boots`,
    follows: value('before') === '' ? 'boot' : 'none',
    body,
  });
}

function without(query: Readonly<Record<string, string>>, left: string): string {
  return new URLSearchParams(Object.entries(query).filter(([name]) => name !== left)).toString();
}
