import { type Frame, renderDocument, UI } from './frame.ts';
import { html } from './html.ts';

/** A page for people that is not there, or what it would show. */
export function renderNotFound(frame: Frame, what: string): string {
  const body = html`
<h1>Not here</h1>
<p>${what}</p>
<p><a href="/">Overview</a> · <a href="${UI}/boots">Boots</a> · <a href="${UI}/machines">Machines</a></p>`;
  return renderDocument({ ...frame, title: 'Not here', current: '', follows: 'none', body });
}
