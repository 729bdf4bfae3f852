import { endingsTable } from './ending-parts.ts';
import type { EndingRow } from './facts.ts';
import { type Frame, renderDocument, UI } from './frame.ts';
import { html } from './html.ts';
import { counted } from './values.ts';

/** What ends when, of all that is offered: certificates, keys, releases, snapshots. */
export function renderKeys(frame: Frame, endings: readonly EndingRow[]): string {
  const due = endings.filter((each) => each.due).length;
  const body = html`
<h1>Keys and dates</h1>
<p>${due === 0 ? html`<span class="good-ink">Nothing ends soon.</span>` : html`<b class="warn-ink">${counted(due, 'thing ends', 'things end')} soon, or ended.</b>`} What this server knows without any private key; <code>bootseal keys status</code> says the same of trees and key folders.</p>
${endingsTable(endings, false)}`;
  return renderDocument({ ...frame, title: 'Keys and dates', current: `${UI}/keys`, follows: 'state', body });
}
