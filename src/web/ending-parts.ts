import type { EndingRow } from './facts.ts';
import { type Html, html } from './html.ts';
import { type Column, table } from './table.ts';
import { dayOf } from './values.ts';

/** What ends when, the first to end first. @param brief without who needs it. */
export function endingsTable(rows: readonly EndingRow[], brief: boolean): Html {
  const columns: Column<EndingRow>[] = [
    {
      head: 'What',
      names: true,
      cell: ({ what, name }) => html`${what}<br><span class="dim">${name}</span>`,
    },
    { head: 'Ends', cell: leftOf },
    ...(brief ? [] : [{ head: 'Needed by', cell: ({ usedBy }: EndingRow) => usedBy.join(', ') }]),
    { head: 'What stops then', cell: ({ effect }) => effect },
  ];
  return table({
    caption: 'What ends by the clock',
    captionHidden: true,
    ...{ columns, rows },
    none: 'Nothing that is known here ends.',
    rowTone: ({ due }) => (due ? 'warn' : ''),
  });
}

function leftOf({ ends, daysLeft, due }: EndingRow): Html {
  if (ends === undefined) return html`<span class="dim">never</span>`;
  const left =
    daysLeft === undefined
      ? ''
      : daysLeft < 0
        ? `${-daysLeft} d ago`
        : daysLeft === 0
          ? 'today'
          : `in ${daysLeft} d`;
  return html`${due ? html`<span class="badge ${(daysLeft ?? 0) < 0 ? 'bad' : 'warn'}">${left}</span>` : left}<br><span class="dim">${dayOf(ends)}</span>`;
}
